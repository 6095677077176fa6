"""Free times, honest and exact."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability import plan_repository, taken_repository
from app.availability.answers import FreeTimes
from app.availability.plan import Plan
from app.availability.plan_repository import Outline
from app.availability.rules import fresh_until, merge_providers
from app.availability.schemas import instant, minute
from app.availability.service import WEEK_AROUND, dates_around, found
from app.availability.wall_clock import Minute, day_start, local_date
from app.core.caching import Answer, AnswerCache, Found
from app.core.clock import Clock
from app.core.errors import NotFound, ValidationFailed
from app.core.prepared import Readers
from app.core.together import Rounds

MAXIMUM_DAYS = 62
_DAY = 24 * 60
_CLOCK_CHANGES = 2 * 60
_FARTHEST_NEXT = 366 * _DAY


@dataclass(frozen=True, slots=True)
class Question:
    """Which times of a service are free. Dates are whole days in the answer's zone.

    `without` is a booking (or hold) whose own time counts as free, for who wants to move it.
    """

    service_id: UUID
    start: date | datetime
    end: date | datetime
    time_zone: str | None = None
    duration_minutes: int | None = None
    provider_ids: tuple[UUID, ...] = ()
    location_id: UUID | None = None
    seats: int = 1
    without: UUID | None = None


@dataclass(frozen=True, slots=True)
class NextQuestion:
    """Which are the first free times of a service."""

    service_id: UUID
    count: int
    time_zone: str | None = None
    duration_minutes: int | None = None
    provider_ids: tuple[UUID, ...] = ()
    location_id: UUID | None = None
    seats: int = 1

    def until(self, start: datetime, end: datetime) -> Question:
        return Question(
            self.service_id,
            start,
            end,
            self.time_zone,
            self.duration_minutes,
            self.provider_ids,
            self.location_id,
            self.seats,
        )


Outlines: TypeAlias = Rounds[Hashable, Outline | None]
"""Reads of outlines that are on their way."""


class FreeTimesService:
    def __init__(
        self,
        where: AsyncSession | Readers,
        outlines: Outlines,
        answers: AnswerCache,
        clock: Clock,
        business_zone: str,
    ) -> None:
        self._where = where
        self._outlines = outlines
        self._answers = answers
        self._clock = clock
        self._business_zone = business_zone

    async def free_times(self, question: Question) -> tuple[Answer, Found]:
        """The free times of a range.

        One round trip for the service, its providers and their calendars' versions, shared by all
        who ask the same at the same time; if no answer made from these versions is at hand, one
        more for all that is taken.

        Raises:
            NotFound: no such service (or location).
            ValidationFailed: the range is empty or too long, or the duration is not offered.
        """
        return await self._answer("free_times", question, FreeTimes.render)

    async def free_days(self, question: Question) -> tuple[Answer, Found]:
        """How many slots each day of a range has. Round trips and errors as in `free_times`."""
        return await self._answer("free_days", question, FreeTimes.render_days)

    async def _answer(
        self, what: str, question: Question, render: Callable[[FreeTimes], Answer]
    ) -> tuple[Answer, Found]:
        outline = await self._outline(question)
        now = self._clock()

        async def make() -> Answer:
            plan = found(outline.plan(), question.location_id)
            zone = self._zone(plan, question)
            start, end = _range(question, zone)
            duration = _duration(plan, question.duration_minutes)
            return render(await self._compute(plan, zone, duration, start, end, now, question))

        # What the zone, the range and the duration are follows from the question and the plan.
        key = (self._business_zone, question, outline.versions)
        return await self._answers.get(what, key, now.timestamp(), make)

    async def next_times(self, question: NextQuestion) -> FreeTimes:
        """The first free times from now on.

        Two round trips, and one more for each further two months that have to be looked through,
        up to a year from now.

        Raises:
            NotFound, ValidationFailed: as `free_times`.
        """
        now = self._clock()
        first = minute(now)
        last = first + _FARTHEST_NEXT
        whole = question.until(now, instant(last))
        plan = found((await self._outline(whole)).plan(), whole.location_id)
        zone = self._zone(plan, whole)
        duration = _duration(plan, whole.duration_minutes)
        start, times = first, None
        while times is None or (len(times.free) < question.count and start < last):
            end = min(start + MAXIMUM_DAYS * _DAY, last)
            more = await self._compute(plan, zone, duration, start, end, now, whole)
            times = more if times is None else times.followed_by(more)
            start = end
        return times.first_ones(question.count)

    def _zone(self, plan: Plan, question: Question) -> str:
        return question.time_zone or plan.location_zone or self._business_zone

    async def _outline(self, question: Question) -> Outline:
        days = dates_around(question.start, question.end)
        asked = (question.service_id, days, question.provider_ids, question.location_id)
        outline = await self._outlines.ask(
            asked, lambda: plan_repository.outline(self._where, *asked)
        )
        if outline is None:
            raise NotFound("There is no such service.")
        return outline

    async def _compute(
        self,
        plan: Plan,
        zone: str,
        duration: int,
        start: Minute,
        end: Minute,
        now: datetime,
        question: Question,
    ) -> FreeTimes:
        rules = plan.rules(duration)
        margin = WEEK_AROUND if plan.limits.bind_provider else 0
        during = Range(
            instant(start - rules.buffer_before - margin),
            instant(end + duration + rules.buffer_after + margin),
        )
        taken = await taken_repository.taken_times(
            self._where, plan, during, now=now, without=question.without
        )
        plan = plan.with_taken(taken)
        seconds = now.timestamp()
        wanted = question.provider_ids
        groups = plan.groups(wanted[0] if plan.is_collective and wanted else None)
        per_group = [
            plan.free(group, duration, question.seats, seconds, start, end) for group in groups
        ]
        free = merge_providers([list(slots) for slots in per_group])
        everyone = tuple(range(len(plan.providers)))
        zones = {p.hours.zone for p in plan.providers}
        expiries = [e for subject in taken.values() for e in subject.expiries]
        return FreeTimes(
            service_id=plan.service_id,
            zone=zone,
            duration=duration,
            provider_ids=[p.id for p in plan.providers],
            first=local_date(zone, start),
            last=local_date(zone, end - 1),
            free=[(s, everyone) for s, _ in free] if plan.is_collective else free,
            seats=_seats(per_group) if plan.is_shared else None,
            fresh_until=fresh_until(rules, zones, seconds, end, [s for s, _ in free[:1]], expiries),
        )


def _seats(per_group: Sequence[Any]) -> dict[Minute, int]:
    """The most seats that one of those who are free then has left."""
    seats: dict[Minute, int] = {}
    for slots in per_group:
        for start, left in slots.items():
            seats[start] = max(left, seats.get(start, 0))
    return seats


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
