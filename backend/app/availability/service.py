"""Free times, honest and exact, and the decision who gives them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability import repository
from app.availability.answers import Answer, AnswerCache, FreeTimes
from app.availability.errors import NoSeatsLeft, SlotHeld, SlotTaken, SlotUnavailable
from app.availability.plan import Candidate, Plan, PlannedProvider
from app.availability.repository import Around, How
from app.availability.rules import Reason, fresh_until, merge_providers
from app.availability.schemas import instant, minute
from app.availability.wall_clock import Minute, day_start, local_date
from app.core.clock import Clock
from app.core.errors import NotFound, ValidationFailed

MAXIMUM_DAYS = 62
_DAY = 24 * 60
_CLOCK_CHANGES = 2 * 60
_TAKEN = frozenset({Reason.BUSY, Reason.BUFFER})
_MARGIN = timedelta(days=2)
"""No zone is two days from UTC."""
_LONGEST = timedelta(days=7)
"""The longest duration a service can have."""
_FARTHEST_NEXT = 366 * _DAY
_WEEK_AROUND = 8 * _DAY
"""What holds a local day's whole week, in any zone."""


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


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a provider cannot give a time; without a provider: why nobody can."""

    provider_id: UUID | None
    reason: Reason


@dataclass(frozen=True, slots=True)
class Wish:
    """A time that somebody would like to have. Without a provider, anyone's will do."""

    service_id: UUID
    start: datetime
    provider_id: UUID | None = None
    location_id: UUID | None = None
    duration_minutes: int | None = None
    seats: int = 1
    without: UUID | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """A start that can be had, with everyone who could give it, the preferred ones first."""

    plan: Plan
    start: datetime
    duration: int
    seats: int
    candidates: Sequence[Candidate]

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

    @property
    def is_contested(self) -> bool:
        """Whether one insert cannot decide it: then locks must, before another look."""
        plan = self.plan
        return (
            plan.is_shared
            or plan.is_collective
            or bool(plan.requirements)
            or plan.limits.bind_provider
            or plan.limits.bind_customer
            or plan.has_stale_holds
        )


@dataclass(frozen=True, slots=True)
class Taking:
    """How an opening is taken: the parameters of one of `repository.takings`.

    `subjects` is how many rows it has if all goes well. `allocation_id` is what is owned then.
    """

    how: How
    allocation_id: UUID
    subjects: int
    parameters: dict[str, Any]


class AvailabilityService:
    def __init__(
        self, session: AsyncSession, cache: AnswerCache, clock: Clock, business_zone: str
    ) -> None:
        self._session = session
        self._cache = cache
        self._clock = clock
        self._business_zone = business_zone

    # --- Free times --------------------------------------------------------------------------
    async def free_times(self, question: Question) -> Answer:
        """The free times of a range.

        One round trip for the service, its providers and their calendars' versions; if no answer
        made from these versions is at hand, one more for all that is taken.

        Raises:
            NotFound: no such service (or location).
            ValidationFailed: the range is empty or too long, or the duration is not offered.
        """
        plan = await self._plan(question)
        zone = self._zone(plan, question)
        start, end = _range(question, zone)
        duration = _duration(plan, question.duration_minutes)
        now = self._clock()
        key = (
            *(plan.service_id, plan.version, plan.location_version, duration, zone, start, end),
            *(question.seats, question.without),
            *((s.id, s.versions) for s in plan.subjects),
        )
        answer = self._cache.get(key, now.timestamp())
        if answer is None:
            free = await self._compute(plan, zone, duration, start, end, now, question)
            answer = free.render()
            self._cache.put(key, answer)
        return answer

    async def free_days(self, question: Question) -> Answer:
        """How many slots each day of a range has. Two round trips; raises as `free_times`."""
        free = await self._free_times(question)
        return free.render_days()

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
        plan = await self._plan(whole)
        zone = self._zone(plan, whole)
        duration = _duration(plan, whole.duration_minutes)
        start, found = first, None
        while found is None or (len(found.free) < question.count and start < last):
            end = min(start + MAXIMUM_DAYS * _DAY, last)
            more = await self._compute(plan, zone, duration, start, end, now, whole)
            found = more if found is None else found.followed_by(more)
            start = end
        return found.first_ones(question.count)

    async def _free_times(self, question: Question) -> FreeTimes:
        plan = await self._plan(question)
        zone = self._zone(plan, question)
        start, end = _range(question, zone)
        duration = _duration(plan, question.duration_minutes)
        return await self._compute(plan, zone, duration, start, end, self._clock(), question)

    def _zone(self, plan: Plan, question: Question) -> str:
        return question.time_zone or plan.location_zone or self._business_zone

    async def _plan(self, question: Question) -> Plan:
        plan = await repository.plan(
            self._session,
            question.service_id,
            now=self._clock(),
            days=_days(question.start, question.end),
            provider_ids=question.provider_ids,
            location_id=question.location_id,
        )
        if plan is None:
            raise NotFound("There is no such service.")
        if question.location_id is not None and plan.location_id is None:
            raise NotFound("There is no such location.")
        return _at_its_locations(plan)

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
        margin = _WEEK_AROUND if plan.limits.bind_provider else 0
        during = Range(
            instant(start - rules.buffer_before - margin),
            instant(end + duration + rules.buffer_after + margin),
        )
        taken = await repository.taken_times(
            self._session, plan, during, now=now, without=question.without
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

    # --- One time ----------------------------------------------------------------------------
    async def opening(
        self, wish: Wish, *, locking: Collection[UUID] = (), lock: bool = False
    ) -> Opening:
        """Who could give the service at this start.

        One round trip where one insert will decide; where more must be decided together, three:
        the subjects' locks are taken, and it is looked at again. `lock` asks for that in any case,
        `locking` names more ids to lock (a customer whose bookings are counted, the calendars that
        a booking leaves).

        Raises:
            NotFound: no such service, or location.
            SlotTaken, SlotHeld, NoSeatsLeft: it would be free, had nobody taken it.
            SlotUnavailable: it cannot be booked, with the reason.
        """
        opening = await self._look(wish)
        if lock or locking or opening.is_contested:
            subjects = opening.plan.subject_ids
            await repository.lock_subjects(self._session, [*subjects, *locking])
            opening = await self._look(wish, clear=subjects)
        return opening

    async def _look(self, wish: Wish, clear: Sequence[UUID] = ()) -> Opening:
        plan, duration = await self._plan_around(wish, clear)
        if duration not in plan.durations or not plan.groups(wish.provider_id):
            raise SlotUnavailable(Reason.NOT_OFFERED)
        if wish.start.timestamp() % 60:
            raise SlotUnavailable(Reason.NOT_ALIGNED)
        begins, now = minute(wish.start), self._clock().timestamp()
        groups = plan.groups(wish.provider_id)
        verdicts = [plan.why_not(group, duration, wish.seats, now, begins) for group in groups]
        free = [g for g, why in zip(groups, verdicts, strict=True) if why is None]
        if not free:
            raise _refusal(plan, groups, duration, begins, [why for why in verdicts if why])
        candidates = [plan.candidate(group, duration, begins) for group in free]
        return Opening(plan, wish.start, duration, wish.seats, candidates)

    async def _plan_around(self, wish: Wish, clear: Sequence[UUID] = ()) -> tuple[Plan, int]:
        plan = await repository.plan(
            self._session,
            wish.service_id,
            now=self._clock(),
            days=_days(wish.start, wish.start),
            provider_ids=[wish.provider_id] if wish.provider_id else [],
            location_id=wish.location_id,
            around=Around(wish.start, wish.duration_minutes, clear),
            without=wish.without,
        )
        if plan is None:
            raise NotFound("There is no such service.")
        if wish.location_id is not None and plan.location_id is None:
            raise NotFound("There is no such location.")
        return _at_its_locations(plan), wish.duration_minutes or plan.durations[0]

    async def obstacles(self, wish: Wish) -> tuple[bool, list[Obstacle]]:
        """Whether a time can be had, and why those who cannot give it cannot.

        One round trip, and the same judgement as in `opening`. Raises NotFound.
        """
        plan, duration = await self._plan_around(wish)
        groups = plan.groups(wish.provider_id)
        if duration not in plan.durations or not groups:
            return False, [Obstacle(wish.provider_id, Reason.NOT_OFFERED)]
        if wish.start.timestamp() % 60:
            return False, [Obstacle(wish.provider_id, Reason.NOT_ALIGNED)]
        begins, now = minute(wish.start), self._clock().timestamp()
        verdicts = [
            (group[0].id, plan.why_not(group, duration, wish.seats, now, begins))
            for group in groups
        ]
        refused = [Obstacle(lead, why) for lead, why in verdicts if why is not None]
        return len(refused) < len(groups), refused

    async def release(self, claim_id: UUID, allocation_id: UUID) -> None:
        """Give back what a booking or hold has taken, and raise the calendars' versions.

        Two round trips, the first for the subjects' locks: what is declared time off becomes that
        instead of free, and nobody declares it meanwhile.
        """
        await repository.lock_allocation(self._session, allocation_id)
        if claim_id == allocation_id:
            await repository.release(self._session, allocation_id)
        else:
            await repository.release_seats(self._session, claim_id, allocation_id)

    async def undo(self, taking: Taking) -> None:
        """Remove the part that was taken when the rest was not to be had."""
        if taking.how in {How.EXCLUSIVE, How.SESSION}:
            await repository.undo(self._session, taking.allocation_id)


takings = repository.takings
"""The statements that take time, for a room above to make part of its own."""


def taking(
    opening: Opening,
    candidate: Candidate,
    claim_id: UUID,
    *,
    session_id: UUID,
    held_until: datetime | None = None,
) -> Taking:
    """How a booking or hold (`claim_id`) takes an opening; a new session gets `session_id`.

    `held_until` is when a hold ends.
    """
    plan, session = opening.plan, candidate.session
    common = {
        "taken_claim_id": claim_id,
        "taken_seats": opening.seats,
        "taken_lead_id": candidate.lead.id,
        "taken_claim_expires_at": held_until,
    }
    if session is not None:
        parameters = common | {"taken_id": session.id}
        return Taking(How.SEATS, session.id, len(candidate.provider_ids), parameters)
    how = How.SESSION if plan.is_shared else How.EXCLUSIVE
    taken_id = session_id if plan.is_shared else claim_id
    is_hold = held_until is not None and not plan.is_shared
    row = {
        "taken_id": taken_id,
        "taken_subject_ids": candidate.subject_ids,
        "taken_during": opening.during,
        "taken_kind": "hold" if is_hold else "booking",
        "taken_capacity": plan.capacity,
        "taken_seats": opening.seats,
        "taken_expires_at": held_until if is_hold else None,
        "taken_service_id": plan.service_id,
        "taken_starts_at": opening.start,
        "taken_ends_at": opening.end,
    }
    if plan.is_shared:
        row |= common
    return Taking(how, taken_id, len(candidate.subject_ids), row)


def local_day_around(zone: str, moment: datetime) -> tuple[datetime, datetime]:
    """The local day that holds the moment, as the instants of its beginning and its end."""
    day = local_date(zone, minute(moment))
    return instant(day_start(zone, day)), instant(day_start(zone, day + timedelta(days=1)))


def _at_its_locations(plan: Plan) -> Plan:
    """Nobody gives a service where it is not offered."""
    elsewhere = plan.location_ids and plan.location_id not in {None, *plan.location_ids}
    return plan.without_providers() if elsewhere else plan


def _seats(per_group: Sequence[Any]) -> dict[Minute, int]:
    """The most seats that one of those who are free then has left."""
    seats: dict[Minute, int] = {}
    for slots in per_group:
        for start, left in slots.items():
            seats[start] = max(left, seats.get(start, 0))
    return seats


def _days(start: date | datetime, end: date | datetime) -> tuple[date, date]:
    """The dates, in whichever zone, of all that may matter to a slot of this range."""
    return _utc_date(start) - _MARGIN, _utc_date(end) + _MARGIN + _LONGEST


def _utc_date(moment: date | datetime) -> date:
    return moment.astimezone(UTC).date() if isinstance(moment, datetime) else moment


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


def _refusal(
    plan: Plan,
    groups: Sequence[Sequence[PlannedProvider]],
    duration: int,
    start: Minute,
    reasons: Sequence[Reason],
) -> SlotTaken | SlotHeld | NoSeatsLeft | SlotUnavailable:
    """The reason that came closest to a yes: `Reason` lists them in the order of judging."""
    order = list(Reason)
    closest = max(reasons, key=order.index)
    if closest not in _TAKEN:
        return SlotUnavailable(closest)
    if any(plan.session_at(group, start, duration) for group in groups):
        return NoSeatsLeft()
    if any(plan.is_held(group, duration, start) for group in groups):
        return SlotHeld()
    return SlotTaken()
