"""Free times, honest and exact, and the statements that take them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability import repository
from app.availability.answers import Answer, AnswerCache, render
from app.availability.errors import SlotTaken, SlotUnavailable
from app.availability.plan import Plan, PlannedProvider
from app.availability.rules import Reason, free_slots, fresh_until, judge, merge_providers
from app.availability.schemas import instant, minute
from app.availability.wall_clock import Minute, day_start, local_date
from app.core.clock import Clock
from app.core.errors import NotFound, ValidationFailed

MAXIMUM_DAYS = 62
_DAY = 24 * 60
_CLOCK_CHANGES = 2 * 60
_TAKEN = frozenset({Reason.BUSY, Reason.BUFFER})


@dataclass(frozen=True, slots=True)
class Question:
    """Which times of a service are free. Dates are whole days in the answer's zone."""

    service_id: UUID
    start: date | datetime
    end: date | datetime
    time_zone: str | None = None
    duration_minutes: int | None = None
    provider_ids: tuple[UUID, ...] = ()
    location_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """A start that can be had, with everyone who could give it, the preferred ones first."""

    plan: Plan
    start: datetime
    duration: int
    providers: Sequence[PlannedProvider]

    @property
    def end(self) -> datetime:
        return self.start + timedelta(minutes=self.duration)

    @property
    def during(self) -> Range[datetime]:
        """What it takes of a calendar: the appointment with its buffers."""
        return Range(
            self.start - timedelta(minutes=self.plan.buffer_before),
            self.end + timedelta(minutes=self.plan.buffer_after),
        )


class AvailabilityService:
    def __init__(
        self, session: AsyncSession, cache: AnswerCache, clock: Clock, business_zone: str
    ) -> None:
        self._session = session
        self._cache = cache
        self._clock = clock
        self._business_zone = business_zone

    async def free_times(self, question: Question) -> Answer:
        """The free times of a range.

        One round trip for the service, its providers and their calendars' versions; if no answer
        made from these versions is at hand, one more for all that is taken.

        Raises:
            NotFound: no such service (or location).
            ValidationFailed: the range is empty or too long, or the duration is not offered.
        """
        plan = await self._plan(question)
        zone = question.time_zone or plan.location_zone or self._business_zone
        start, end = _range(question, zone)
        duration = _duration(plan, question.duration_minutes)
        now = self._clock().timestamp()
        key = (
            *(plan.service_id, plan.version, plan.location_version, duration, zone, start, end),
            *((p.id, p.versions) for p in plan.providers),
        )
        answer = self._cache.get(key, now)
        if answer is None:
            answer = await self._compute(plan, zone, duration, start, end, now)
            self._cache.put(key, answer)
        return answer

    async def opening(
        self,
        service_id: UUID,
        start: datetime,
        *,
        provider_id: UUID | None = None,
        duration_minutes: int | None = None,
    ) -> Opening:
        """Who could give the service at this start, in one round trip.

        Raises:
            NotFound: no such service.
            SlotTaken: it would be free, had nobody booked it.
            SlotUnavailable: it cannot be booked, with the reason.
        """
        plan = await repository.plan(
            self._session,
            service_id,
            provider_ids=[provider_id] if provider_id else [],
            busy_around=(start, duration_minutes),
        )
        if plan is None:
            raise NotFound("There is no such service.")
        duration = duration_minutes or plan.durations[0]
        if duration not in plan.durations or not plan.providers:
            raise SlotUnavailable(Reason.NOT_OFFERED)
        if start.timestamp() % 60:
            raise SlotUnavailable(Reason.NOT_ALIGNED)
        rules, now, begins = plan.rules(duration), self._clock().timestamp(), minute(start)
        verdicts = [judge(rules, p.hours, p.busy, p.time_off, now, begins) for p in plan.providers]
        free = [p for p, why in zip(plan.providers, verdicts, strict=True) if why is None]
        if not free:
            raise _refusal([why for why in verdicts if why])
        return Opening(plan, start, duration, free)

    async def release(self, subject_id: UUID, allocation_id: UUID) -> None:
        """Give taken time back. The caller raises the calendar's version."""
        await repository.release(self._session, subject_id, allocation_id)

    async def _plan(self, question: Question) -> Plan:
        plan = await repository.plan(
            self._session,
            question.service_id,
            provider_ids=question.provider_ids,
            location_id=question.location_id,
        )
        if plan is None:
            raise NotFound("There is no such service.")
        if question.location_id is not None and plan.location_zone is None:
            raise NotFound("There is no such location.")
        return plan

    async def _compute(
        self, plan: Plan, zone: str, duration: int, start: Minute, end: Minute, now: float
    ) -> Answer:
        rules = plan.rules(duration)
        taken = await repository.taken_times(
            self._session,
            [p.id for p in plan.providers],
            Range(
                instant(start - rules.buffer_before), instant(end + duration + rules.buffer_after)
            ),
        )
        free = merge_providers(
            [
                free_slots(
                    rules,
                    p.hours,
                    taken.get((p.id, False), ()),
                    taken.get((p.id, True), ()),
                    now,
                    start,
                    end,
                )
                for p in plan.providers
            ]
        )
        zones = {p.hours.zone for p in plan.providers}
        return render(
            service_id=plan.service_id,
            zone=zone,
            duration=duration,
            provider_ids=[p.id for p in plan.providers],
            first=local_date(zone, start),
            last=local_date(zone, end - 1),
            free=free,
            fresh_until=fresh_until(rules, zones, now, end, [s for s, _ in free[:1]]),
        )


TAKING_TIME = repository.TAKING
"""The statement that takes time, for a room above to make part of its own; no row: it is taken."""


def taking(opening: Opening, provider_id: UUID, allocation_id: UUID) -> dict[str, Any]:
    """The parameters of `TAKING_TIME` for an opening in a provider's calendar."""
    return {
        "taken_id": allocation_id,
        "taken_subject_id": provider_id,
        "taken_during": opening.during,
        "taken_kind": "booking",
    }


def _range(question: Question, zone: str) -> tuple[Minute, Minute]:
    start = _bound(question.start, zone, is_end=False)
    end = _bound(question.end, zone, is_end=True)
    if start >= end:
        raise ValidationFailed.at("#/end", "the range ends after it starts")
    if end - start > MAXIMUM_DAYS * _DAY + _CLOCK_CHANGES:
        raise ValidationFailed.at("#/end", f"at most {MAXIMUM_DAYS} days")
    return start, end


def _bound(moment: date | datetime, zone: str, *, is_end: bool) -> Minute:
    if isinstance(moment, datetime):
        return minute(moment)
    return day_start(zone, moment + timedelta(days=1) if is_end else moment)


def _duration(plan: Plan, wanted: int | None) -> int:
    if wanted is None:
        return plan.durations[0]
    if wanted not in plan.durations:
        raise ValidationFailed.at("#/duration_minutes", "not one of the service's durations")
    return wanted


def _refusal(reasons: Sequence[Reason]) -> SlotTaken | SlotUnavailable:
    """The reason that came closest to a yes: `Reason` lists them in the order of judging."""
    order = list(Reason)
    closest = max(reasons, key=order.index)
    return SlotTaken() if closest in _TAKEN else SlotUnavailable(closest)
