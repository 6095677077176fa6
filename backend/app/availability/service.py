"""Who gives a time, and how it is taken and given back."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability import many_repository, plan_repository, repository
from app.availability.errors import NoSeatsLeft, SlotHeld, SlotTaken, SlotUnavailable
from app.availability.plan import Candidate, Plan, PlannedProvider
from app.availability.plan_repository import Around
from app.availability.rules import Reason
from app.availability.schemas import instant, minute
from app.availability.wall_clock import Minute, day_start, local_date
from app.core.clock import Clock
from app.core.errors import NotFound
from app.core.prepared import Readers

_TAKEN = frozenset({Reason.BUSY, Reason.BUFFER})
_MARGIN = timedelta(days=2)
"""No zone is two days from UTC."""
_LONGEST = timedelta(days=7)
"""The longest duration a service can have."""
WEEK_AROUND = 8 * 24 * 60
"""What holds a local day's whole week, in any zone; in minutes."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A time that somebody would like to have. Without a provider, anyone's will do.

    `is_agreed`: it has been promised already, so notice and booking window do not matter.
    """

    service_id: UUID
    start: datetime
    provider_id: UUID | None = None
    location_id: UUID | None = None
    duration_minutes: int | None = None
    seats: int = 1
    without: UUID | None = None
    is_agreed: bool = False


@dataclass(frozen=True, slots=True)
class Opening:
    """A start that can be had, with everyone who could give it, the preferred ones first.

    `is_locked`: nobody else who takes the subjects' locks decides about them until commit.
    """

    plan: Plan
    start: datetime
    duration: int
    seats: int
    candidates: Sequence[Candidate]
    is_locked: bool = False

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
            or plan.has_stale_time
        )


Inquiry = plan_repository.Inquiry
Look = plan_repository.Look
Ask: TypeAlias = Callable[[Plan, datetime], Inquiry | None]
"""What a room above wants to know of those who give a service, when a start is looked at again."""

Refusal: TypeAlias = SlotTaken | SlotHeld | NoSeatsLeft | SlotUnavailable
"""Why a time cannot be had."""


@dataclass(frozen=True, slots=True)
class Taking:
    """How an opening is taken: the parameters of one of `repository.takings`.

    `subjects` is how many rows it has if all goes well. `allocation_id` is what is owned then.
    """

    how: repository.How
    allocation_id: UUID
    subjects: int
    parameters: dict[str, Any]


class AvailabilityService:
    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def opening(
        self,
        wish: Wish,
        *,
        customer_id: UUID | None = None,
        locking: Collection[UUID] = (),
        ask: Ask | None = None,
    ) -> Opening:
        """Who could give the service at this start.

        One round trip where one insert will decide; where more must be decided together, three:
        the subjects' locks are taken, and it is looked at again. With them comes the lock of the
        customer it is for, where the service limits customers: theirs are counted one after the
        other. `locking` asks for all that in any case, and names more ids to lock (the calendars
        that a booking leaves); so does what `ask` wants to know, if it is to choose between
        several. It is read by the second look, so that it takes no round trip of its own.

        Raises:
            NotFound: no such service, or location.
            SlotTaken, SlotHeld, NoSeatsLeft: it would be free, had nobody taken it.
            SlotUnavailable: it cannot be booked, with the reason.
        """
        opening = await self._look(wish)
        inquiry = ask(opening.plan, opening.start) if ask is not None else None
        must_choose = inquiry is not None and len(opening.candidates) > 1
        if locking or must_choose or opening.is_contested:
            subjects = opening.plan.subject_ids
            ids = [*subjects, *locking]
            if customer_id is not None and opening.plan.limits.bind_customer:
                ids.append(customer_id)
            await repository.lock_subjects(self._session, ids)
            opening = await self._look(wish, clear=subjects, inquiry=inquiry)
        return opening

    async def _look(
        self, wish: Wish, clear: Sequence[UUID] = (), inquiry: Inquiry | None = None
    ) -> Opening:
        plan, duration = await plan_around(
            self._session, wish, self._clock(), clear, inquiry=inquiry
        )
        if duration not in plan.durations or not plan.groups(wish.provider_id):
            raise SlotUnavailable(Reason.NOT_OFFERED)
        if wish.start.timestamp() % 60:
            raise SlotUnavailable(Reason.NOT_ALIGNED)
        begins, now = minute(wish.start), self._clock().timestamp()
        groups = plan.groups(wish.provider_id)
        verdicts = [plan.why_not(group, duration, wish.seats, now, begins) for group in groups]
        free = [g for g, why in zip(groups, verdicts, strict=True) if why is None]
        if not free:
            raise refusal(plan, groups, duration, begins, [why for why in verdicts if why])
        candidates = [plan.candidate(group, duration, begins) for group in free]
        return Opening(plan, wish.start, duration, wish.seats, candidates, bool(clear))

    async def kept(
        self, wish: Wish, *, provider_ids: Sequence[UUID], resource_ids: Sequence[UUID]
    ) -> Opening:
        """The opening that a hold has taken, with the service as it is now. One round trip.

        What was judged when it was held is not judged again, but that it is not past.

        Raises:
            NotFound: the service is no longer offered.
            SlotUnavailable: it is past, or a provider no longer gives the service.
        """
        plan = await plan_repository.plan(
            self._session,
            wish.service_id,
            now=self._clock(),
            days=dates_around(wish.start, wish.start),
            provider_ids=provider_ids,
        )
        if plan is None:
            raise NotFound("There is no such service.")
        if wish.start < self._clock():
            raise SlotUnavailable(Reason.PAST)
        providers = {provider.id: provider for provider in plan.providers}
        if not providers.keys() >= set(provider_ids):
            raise SlotUnavailable(Reason.NOT_OFFERED)
        candidate = Candidate(
            [providers[provider_id] for provider_id in provider_ids],
            list(resource_ids),
            wish.location_id,
        )
        duration = wish.duration_minutes or plan.durations[0]
        return Opening(plan, wish.start, duration, wish.seats, [candidate])

    async def lock(self, subject_ids: Sequence[UUID]) -> None:
        """Until commit, decide alone about these subjects; once in a transaction, and late."""
        await repository.lock_subjects(self._session, subject_ids)

    async def extend(
        self, claim_id: UUID, allocation_id: UUID, subject_ids: Sequence[UUID], until: datetime
    ) -> bool:
        """Let what a hold has taken end later. One round trip; False: it has ended already."""
        return await repository.extend(
            self._session, claim_id, allocation_id, subject_ids, now=self._clock(), until=until
        )

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

    async def release_many(self, claims: Sequence[tuple[UUID, UUID]]) -> None:
        """`release` for many `(claim_id, allocation_id)`, in two round trips as well."""
        await many_repository.release(self._session, claims)

    async def undo(self, taking: Taking) -> None:
        """Remove the part that was taken when the rest was not to be had."""
        if taking.how in {How.EXCLUSIVE, How.SESSION}:
            await repository.undo(self._session, taking.allocation_id)


many_takings = many_repository.many_takings
"""The same for many times at once; `taken_many` are the parameters of these takings."""
json_value = many_repository.json_value

keeping = repository.keeping
"""The statement that lets a request's time be taken for good, to be made part of another."""


def kept(claim_id: UUID, allocation_id: UUID, subject_ids: Sequence[UUID]) -> dict[str, Any]:
    """The parameters of `keeping`: of seats, the first provider has all."""
    is_shared = claim_id != allocation_id
    return {
        "kept_claim_id": claim_id,
        "kept_rows": 1 if is_shared else len(subject_ids),
        "kept_subject_ids": list(subject_ids),
    }


def taken_many(takings: Sequence[Taking]) -> list[dict[str, Any]]:
    return [many_repository.row_of(taking.how, taking.parameters) for taking in takings]


How = repository.How
takings = repository.takings
"""The statements that take time, for a room above to make part of its own."""


def taking(
    opening: Opening,
    candidate: Candidate,
    claim_id: UUID,
    *,
    session_id: UUID,
    until: datetime | None = None,
    is_hold: bool = False,
) -> Taking:
    """How a booking or hold (`claim_id`) takes an opening; a new session gets `session_id`.

    `until` is when a hold, or a booking that waits for approval, ends by itself.
    """
    plan, session = opening.plan, candidate.session
    common = {
        "taken_claim_id": claim_id,
        "taken_seats": opening.seats,
        "taken_lead_id": candidate.lead.id,
        "taken_claim_expires_at": until,
    }
    if session is not None:
        parameters = common | {"taken_id": session.id}
        return Taking(How.SEATS, session.id, len(candidate.provider_ids), parameters)
    how = How.SESSION if plan.is_shared else How.EXCLUSIVE
    taken_id = session_id if plan.is_shared else claim_id
    row = {
        "taken_id": taken_id,
        "taken_subject_ids": candidate.subject_ids,
        "taken_during": opening.during,
        "taken_kind": "hold" if is_hold and not plan.is_shared else "booking",
        "taken_capacity": plan.capacity,
        "taken_seats": opening.seats,
        "taken_expires_at": None if plan.is_shared else until,
        "taken_service_id": plan.service_id,
        "taken_starts_at": opening.start,
        "taken_ends_at": opening.end,
    }
    if plan.is_shared:
        row |= common
    return Taking(how, taken_id, len(candidate.subject_ids), row)


def taking_held(
    claim_id: UUID,
    *,
    hold_id: UUID,
    allocation_id: UUID,
    subjects: int,
    now: datetime,
    until: datetime | None,
) -> Taking:
    """How a booking (`claim_id`) takes over what a hold has taken of so many subjects.

    `until` is when a booking that waits for approval ends by itself.
    """
    parameters = {
        "taken_hold_id": hold_id,
        "taken_claim_id": claim_id,
        "taken_now": now,
        "taken_claim_expires_at": until,
    }
    if hold_id == allocation_id:
        return Taking(How.HELD, claim_id, subjects, parameters)
    # The session stays as it is; the seats are kept with its first provider.
    return Taking(How.HELD_SEATS, allocation_id, 1, parameters)


def local_day_around(zone: str, moment: datetime) -> tuple[datetime, datetime]:
    """The local day that holds the moment, as the instants of its beginning and its end."""
    day = local_date(zone, minute(moment))
    return instant(day_start(zone, day)), instant(day_start(zone, day + timedelta(days=1)))


def local_week_around(zone: str, moment: datetime) -> tuple[datetime, datetime]:
    """The local week, from Monday, that holds the moment, as the instants of its bounds."""
    day = local_date(zone, minute(moment))
    monday = day - timedelta(days=day.weekday())
    return instant(day_start(zone, monday)), instant(day_start(zone, monday + timedelta(days=7)))


async def plan_around(
    where: AsyncSession | Readers,
    wish: Wish,
    now: datetime,
    clear: Sequence[UUID] = (),
    last: datetime | None = None,
    inquiry: Inquiry | None = None,
) -> tuple[Plan, int]:
    """The plan for a wish, with what is taken around it, and the duration in minutes.

    One round trip. `clear`: subjects of whose time is removed what has ended, by who has their
    locks, and may have an `inquiry`. With `last`, it is good for decisions about all starts up to
    that one. Raises NotFound.
    """
    plan = await plan_repository.plan(
        where,
        wish.service_id,
        now=now,
        days=dates_around(wish.start, last or wish.start),
        provider_ids=[wish.provider_id] if wish.provider_id else [],
        location_id=wish.location_id,
        around=Around(wish.start, wish.duration_minutes, clear, inquiry),
        without=wish.without,
    )
    plan = found(plan, wish.location_id)
    if wish.is_agreed:
        plan = plan.at_any_notice()
    return plan, wish.duration_minutes or plan.durations[0]


def found(plan: Plan | None, location_id: UUID | None) -> Plan:
    """The plan, without those who do not give the service where it is wanted. Raises NotFound."""
    if plan is None:
        raise NotFound("There is no such service.")
    if location_id is not None and plan.location_id is None:
        raise NotFound("There is no such location.")
    return _at_its_locations(plan)


def _at_its_locations(plan: Plan) -> Plan:
    """Nobody gives a service where it is not offered."""
    elsewhere = plan.location_ids and plan.location_id not in {None, *plan.location_ids}
    return plan.without_providers() if elsewhere else plan


def dates_around(start: date | datetime, end: date | datetime) -> tuple[date, date]:
    """The dates, in whichever zone, of all that may matter to a slot of this range."""
    return _utc_date(start) - _MARGIN, _utc_date(end) + _MARGIN + _LONGEST


def _utc_date(moment: date | datetime) -> date:
    return moment.astimezone(UTC).date() if isinstance(moment, datetime) else moment


def refusal(
    plan: Plan,
    groups: Sequence[Sequence[PlannedProvider]],
    duration: int,
    start: Minute,
    reasons: Sequence[Reason],
) -> Refusal:
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
