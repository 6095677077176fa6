"""Everything a decision about a service's times needs, as one read brings it.

Pure: what is free, for whom, and who could give it. The clock is an argument, in seconds since the
epoch; instants are whole minutes since then (`wall_clock.Minute`).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from app.availability.rules import (
    Closed,
    Interval,
    Reason,
    SlotRules,
    WorkingHours,
    free_slots,
    full_periods,
    judge,
    outside_booking_period,
    overlaps,
    scarce_starts,
)
from app.availability.wall_clock import Minute

COLLECTIVE: Final = "collective"


@dataclass(frozen=True, slots=True)
class Session:
    """A group session of the service that has begun to fill; `during` is with its buffers."""

    id: UUID
    start: Minute
    end: Minute
    during: Interval
    seats_left: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What is taken of a subject's time, each list sorted by start.

    `busy` has everything but time off and the service's own sessions; `held` is the part of it
    that is only held. `given` are the starts of what is given of the service, for its limits.
    `is_stale`: something that has ended is still in the way of an insert. `expiries` are when what
    of it ends by itself will.
    """

    busy: Sequence[Interval] = ()
    held: Sequence[Interval] = ()
    time_off: Sequence[Interval] = ()
    sessions: Sequence[Session] = ()
    given: Sequence[Minute] = ()
    is_stale: bool = False
    expiries: Sequence[Minute] = ()

    @property
    def closed(self) -> Sequence[Interval]:
        """The busy times, sessions included."""
        if not self.sessions:
            return self.busy
        return sorted((*self.busy, *(session.during for session in self.sessions)))

    def between(self, begin: Minute, until: Minute) -> "Taken":
        """The part that overlaps `[begin, until)`; of what limits count, all."""
        return replace(
            self,
            busy=_between(self.busy, begin, until),
            held=_between(self.held, begin, until),
            time_off=_between(self.time_off, begin, until),
            sessions=[s for s in self.sessions if s.during[0] < until and begin < s.during[1]],
        )

    def plus(self, during: Interval, start: Minute) -> "Taken":
        """With one more time taken, for something of the service that begins at `start`."""
        return replace(self, busy=sorted((*self.busy, during)), given=(*self.given, start))


def _between(intervals: Sequence[Interval], begin: Minute, until: Minute) -> Sequence[Interval]:
    """Those that overlap `[begin, until)`, of intervals that are in order by either end."""
    first = bisect_right(intervals, begin, key=lambda interval: interval[1])
    return intervals[first : bisect_left(intervals, until, key=lambda interval: interval[0])]


NOTHING: Final = Taken()


@dataclass(frozen=True, slots=True)
class PlannedProvider:
    """A provider of the service, with hours and, where they were asked for, taken times.

    `records` is what a room above wanted to know of them besides.
    """

    id: UUID
    user_id: UUID | None
    display_name: str
    weight: int
    priority: int
    location_ids: Sequence[UUID]
    hours: WorkingHours
    versions: tuple[int, int, int]
    taken: Taken = NOTHING
    records: Any = None


@dataclass(frozen=True, slots=True)
class PlannedResource:
    """A room or device of a kind that the service needs."""

    id: UUID
    kind: str
    location_id: UUID | None
    versions: tuple[int, int]
    taken: Taken = NOTHING


@dataclass(frozen=True, slots=True)
class Limits:
    """How often a service may be given or had; None: no limit."""

    per_day: int | None = None
    per_week: int | None = None
    per_customer_per_day: int | None = None
    per_customer_active: int | None = None

    @property
    def bind_provider(self) -> bool:
        return self.per_day is not None or self.per_week is not None

    @property
    def bind_customer(self) -> bool:
        return self.per_customer_per_day is not None or self.per_customer_active is not None


@dataclass(frozen=True, slots=True)
class Candidate:
    """Those who could give a slot together: the provider asked first, all others, resources.

    `session` is the group session that would be joined.
    """

    providers: Sequence[PlannedProvider]
    resource_ids: Sequence[UUID]
    location_id: UUID | None
    session: Session | None = None

    @property
    def lead(self) -> PlannedProvider:
        return self.providers[0]

    @property
    def provider_ids(self) -> list[UUID]:
        return [provider.id for provider in self.providers]

    @property
    def subject_ids(self) -> list[UUID]:
        return [*self.provider_ids, *self.resource_ids]


@dataclass(frozen=True, slots=True)
class Plan:
    """A service and those who give it, the preferred ones first."""

    service_id: UUID
    service_name: str
    version: int
    durations: Sequence[int]
    buffer_before: int
    buffer_after: int
    slot_interval: int | None
    min_notice: int
    window_days: int | None
    capacity: int
    assignment: str
    approval: str
    allow_guests: bool
    limits: Limits
    policy: Mapping[str, Any]
    questions: Sequence[Mapping[str, Any]]
    location_ids: Sequence[UUID]
    requirements: Sequence[tuple[str, int]]
    price_amount: int | None
    price_currency: str | None
    location_id: UUID | None
    location_zone: str | None
    location_version: int | None
    providers: Sequence[PlannedProvider]
    resources: Sequence[PlannedResource] = field(default=())

    def rules(self, duration: int) -> SlotRules:
        return SlotRules(
            duration=duration,
            interval=self.slot_interval or duration,
            buffer_before=self.buffer_before,
            buffer_after=self.buffer_after,
            min_notice=self.min_notice,
            window_days=self.window_days,
        )

    @property
    def is_collective(self) -> bool:
        return self.assignment == COLLECTIVE

    @property
    def is_shared(self) -> bool:
        """Whether several bookings may share one time: a group session."""
        return self.capacity > 1

    @property
    def subjects(self) -> list["PlannedProvider | PlannedResource"]:
        return [*self.providers, *self.resources]

    @property
    def subject_ids(self) -> list[UUID]:
        return [subject.id for subject in self.subjects]

    @property
    def has_stale_time(self) -> bool:
        return any(subject.taken.is_stale for subject in self.subjects)

    def groups(self, provider_id: UUID | None = None) -> list[Sequence[PlannedProvider]]:
        """Those who would give a slot together: each alone, or all of them.

        With `provider_id` that one comes first in the group of all, or is the only choice.
        """
        if not self.is_collective:
            return [(p,) for p in self.providers if provider_id in {None, p.id}]
        lead = sorted(self.providers, key=lambda p: p.id != provider_id)
        is_choice = provider_id is None or (bool(lead) and lead[0].id == provider_id)
        return [lead] if lead and is_choice else []

    def location_of(self, provider: PlannedProvider) -> UUID | None:
        """Where this provider would give it: as asked for, or the only place there is."""
        if self.location_id is not None:
            return self.location_id
        both = [i for i in provider.location_ids if i in self.location_ids]
        places = both or (provider.location_ids or self.location_ids)
        return places[0] if len(places) == 1 else None

    def with_taken(self, taken: Mapping[UUID, Taken]) -> "Plan":
        """The same plan, with what is taken of each subject's time."""
        return replace(
            self,
            providers=[replace(p, taken=taken.get(p.id, NOTHING)) for p in self.providers],
            resources=[replace(r, taken=taken.get(r.id, NOTHING)) for r in self.resources],
        )

    def at_any_notice(self) -> "Plan":
        return replace(self, min_notice=0, window_days=None)

    def without_providers(self) -> "Plan":
        return replace(self, providers=[])

    # --- Many times --------------------------------------------------------------------------
    def near(self, start: Minute, duration: int) -> "Plan":
        """The same plan for a decision about one start: what is taken far from it is left out.

        A subject's times don't overlap, so it is found by bisection: a decision among many costs
        no more than one alone. What the limits count stays whole.
        """
        begin, until = start - self.buffer_before, start + duration + self.buffer_after
        return self.with_taken({s.id: s.taken.between(begin, until) for s in self.subjects})

    def having(self, candidate: Candidate, start: Minute, duration: int) -> "Plan":
        """The same plan once this candidate has been given that start as well."""
        during = (start - self.buffer_before, start + duration + self.buffer_after)
        theirs = set(candidate.subject_ids)
        return self.with_taken(
            {
                s.id: s.taken.plus(during, start) if s.id in theirs else s.taken
                for s in self.subjects
            }
        )

    # --- Free times --------------------------------------------------------------------------
    def free(
        self,
        group: Sequence[PlannedProvider],
        duration: int,
        seats: int,
        now: float,
        start: Minute,
        end: Minute,
    ) -> Mapping[Minute, int]:
        """The starts in `[start, end)` that this group could give, and the seats left at each."""
        rules = self.rules(duration)
        slots: dict[Minute, int] = {}
        if seats <= self.capacity:
            scarce = self._scarce(rules, self.location_of(group[0]))
            common: set[Minute] | None = None
            for provider in group:
                closed = [*self._full(provider), *scarce]
                taken = provider.taken
                free = free_slots(
                    rules, provider.hours, taken.closed, taken.time_off, now, start, end, closed
                )
                if len(group) == 1:
                    slots = dict.fromkeys(free, self.capacity)
                else:
                    common = set(free) if common is None else common & set(free)
            if common is not None:
                slots = dict.fromkeys(sorted(common), self.capacity)
        joined = {
            session.start: session.seats_left
            for session in group[0].taken.sessions
            if start <= session.start < end
            and session.seats_left >= seats
            and session.end - session.start == duration
            and self._why_not_join(group, session, rules, now) is None
        }
        return dict(sorted((slots | joined).items())) if joined else slots

    # --- One slot ----------------------------------------------------------------------------
    def why_not(
        self,
        group: Sequence[PlannedProvider],
        duration: int,
        seats: int,
        now: float,
        start: Minute,
    ) -> Reason | None:
        """Why this group cannot give that start: the reason that comes last in their judging."""
        rules = self.rules(duration)
        session = self.session_at(group, start, duration)
        if session is not None:
            why = self._why_not_join(group, session, rules, now)
            return why or (Reason.BUSY if session.seats_left < seats else None)
        if seats > self.capacity:
            return Reason.NOT_OFFERED
        scarce = self._scarce(rules, self.location_of(group[0]))
        reasons = [
            judge(
                rules,
                provider.hours,
                provider.taken.closed,
                provider.taken.time_off,
                now,
                start,
                [*self._full(provider), *scarce],
            )
            for provider in group
        ]
        order = list(Reason)
        # The first in the order of judging: what one of them can never do, all together cannot.
        return min((why for why in reasons if why), key=order.index, default=None)

    def session_at(
        self, group: Sequence[PlannedProvider], start: Minute, duration: int
    ) -> Session | None:
        """The group session that begins then, if it is everybody's."""
        for session in group[0].taken.sessions:
            if session.start == start and session.end - start == duration:
                others = ({s.id for s in provider.taken.sessions} for provider in group[1:])
                return session if all(session.id in ids for ids in others) else None
        return None

    def candidate(
        self, group: Sequence[PlannedProvider], duration: int, start: Minute
    ) -> Candidate:
        """The group with the first resources that are free at a start that they can give."""
        rules, location = self.rules(duration), self.location_of(group[0])
        session = self.session_at(group, start, duration)
        chosen: list[UUID] = []
        if session is None:
            begin, until = start - rules.buffer_before, start + duration + rules.buffer_after
            for kind, quantity in self.requirements:
                free = [
                    resource.id
                    for resource in self._eligible(kind, location)
                    if not overlaps(resource.taken.closed, begin, until)
                ]
                chosen += free[:quantity]
        return Candidate(group, chosen, location, session)

    def is_held(self, group: Sequence[PlannedProvider], duration: int, start: Minute) -> bool:
        """Whether it is (also) a hold, which ends by itself, that is in the way."""
        rules = self.rules(duration)
        begin, until = start - rules.buffer_before, start + duration + rules.buffer_after
        return any(overlaps(provider.taken.held, begin, until) for provider in group)

    def _why_not_join(
        self,
        group: Sequence[PlannedProvider],
        session: Session,
        rules: SlotRules,
        now: float,
    ) -> Reason | None:
        """Only time itself keeps anybody out: the session takes place, whatever has changed."""
        if self.session_at(group, session.start, rules.duration) is None:
            return Reason.BUSY
        zones = (provider.hours.zone for provider in group)
        periods = (outside_booking_period(rules, zone, now, session.start) for zone in zones)
        return next((why for why in periods if why), None)

    def _full(self, provider: PlannedProvider) -> list[Closed]:
        if not self.limits.bind_provider:
            return []
        limits = self.limits
        full = full_periods(
            provider.hours.zone,
            provider.taken.given,
            per_day=limits.per_day,
            per_week=limits.per_week,
        )
        return [(Reason.LIMIT_REACHED, full)] if full else []

    def _scarce(self, rules: SlotRules, location: UUID | None) -> list[Closed]:
        closed: list[Closed] = []
        for kind, quantity in self.requirements:
            taken = [resource.taken.closed for resource in self._eligible(kind, location)]
            scarce = scarce_starts(rules, taken, quantity)
            if scarce:
                closed.append((Reason.RESOURCE_BUSY, scarce))
        return closed

    def _eligible(self, kind: str, location: UUID | None) -> list[PlannedResource]:
        """The resources of a kind that can be used there: its own, and those of no place."""
        return [
            resource
            for resource in self.resources
            if resource.kind == kind
            and (location is None or resource.location_id in {None, location})
        ]
