"""Plans made up at random: what they offer, what they refuse and whom they pick agree."""

from dataclasses import dataclass, replace
from datetime import date
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.availability.plan import (
    COLLECTIVE,
    Limits,
    Plan,
    PlannedProvider,
    PlannedResource,
    Session,
    Taken,
)
from app.availability.rules import Interval, WorkingHours, merge_providers
from tests.unit.availability import oracle
from tests.unit.availability.oracle import to_datetime, to_minute
from tests.unit.availability.test_rules_properties import examples, working_hours

DAY = date(2026, 3, 28)  # clocks change in Paris on the next day
START = to_minute(oracle.midnight("Europe/Paris", DAY)) + 12 * 60
END = START + 24 * 60
HERE, THERE = UUID(int=1), UUID(int=2)
DURATIONS = (30, 60)


@dataclass(frozen=True)
class Asked:
    plan: Plan
    duration: int
    seats: int
    now: float
    provider_id: UUID | None

    @property
    def groups(self) -> list[list[PlannedProvider]]:
        return [list(group) for group in self.plan.groups(self.provider_id)]

    def free(self, group: list[PlannedProvider]) -> dict[int, int]:
        return dict(self.plan.free(group, self.duration, self.seats, self.now, START, END))


five_minutes = st.integers(0, 320).map(lambda n: START - 60 + n * 5)


@st.composite
def busy_times(draw: st.DrawFn, most: int) -> list[Interval]:
    """Sorted and without overlap, as the constraint keeps them."""
    points = sorted(draw(st.sets(five_minutes, max_size=2 * most)))
    return list(zip(points[::2], points[1::2], strict=False))


@st.composite
def taken_times(draw: st.DrawFn, shared: Session | None, *, sessions: bool) -> Taken:
    """Busy times, some of them held, some time off, some group sessions of the service."""
    kinds: dict[str, list[Interval]] = {"busy": [], "held": [], "off": [], "session": []}
    blocked = draw(busy_times(most=7))
    if shared is not None:
        begin, end = shared.during
        blocked = [(one, two) for one, two in blocked if two <= begin or end <= one]
    for interval in blocked:
        known = ["busy", "held", "off"] + (["session"] if sessions else [])
        kinds[draw(st.sampled_from(known))].append(interval)
    own = [
        Session(
            id=UUID(int=100 + begin),
            start=begin + 5 * draw(st.integers(0, 1)),
            end=begin + 5 + draw(st.sampled_from(DURATIONS)),
            during=(begin, end),
            seats_left=draw(st.integers(0, 3)),
        )
        for begin, end in kinds["session"]
    ]
    everything = own if shared is None else [*own, shared]
    return Taken(
        busy=sorted(kinds["busy"] + kinds["held"]),
        held=kinds["held"],
        time_off=kinds["off"],
        sessions=sorted(everything, key=lambda session: session.start),
        given=draw(st.lists(five_minutes, max_size=3)),
    )


places = st.sampled_from([(), (HERE,), (THERE,), (HERE, THERE)])


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    capacity = draw(st.sampled_from([1, 1, 3]))
    duration = draw(st.sampled_from(DURATIONS))
    start = draw(five_minutes)
    shared = None
    if capacity > 1 and draw(st.booleans()):
        shared = Session(UUID(int=99), start, start + duration, (start - 5, start + 65), 2)
    hours = st.just(WorkingHours("Europe/Paris", (((0, 1440),),) * 7)) | working_hours(
        draw(st.sampled_from(["Europe/Paris", "America/St_Johns"])), DAY
    )
    providers = [
        PlannedProvider(
            id=UUID(int=10 + number),
            user_id=None,
            display_name="",
            weight=1,
            priority=0,
            location_ids=draw(places),
            hours=draw(hours),
            versions=(1, 1, 1),
            # What not all share is a session that a member joined before the service was shared.
            taken=draw(
                taken_times(shared if draw(st.integers(0, 3)) else None, sessions=capacity > 1)
            ),
        )
        for number in range(draw(st.integers(0, 3)))
    ]
    resources = [
        PlannedResource(
            id=UUID(int=50 + number),
            kind=draw(st.sampled_from(["room", "laser"])),
            location_id=draw(st.sampled_from([None, HERE, THERE])),
            versions=(1, 1),
            taken=draw(taken_times(None, sessions=capacity > 1)),
        )
        for number in range(draw(st.integers(0, 4)))
    ]
    plan = Plan(
        service_id=UUID(int=7),
        service_name="",
        version=1,
        durations=DURATIONS,
        buffer_before=draw(st.sampled_from([0, 0, 10])),
        buffer_after=draw(st.sampled_from([0, 0, 25])),
        slot_interval=draw(st.sampled_from([None, 15, 20])),
        min_notice=draw(st.sampled_from([0, 0, 90])),
        window_days=draw(st.sampled_from([None, None, 0, 1])),
        capacity=capacity,
        assignment=draw(st.sampled_from(["any", COLLECTIVE])),
        approval="automatic",
        allow_guests=False,
        limits=draw(
            st.just(Limits())
            | st.builds(Limits, st.none() | st.integers(1, 2), st.none() | st.integers(1, 3))
        ),
        policy={},
        questions=(),
        location_ids=draw(places),
        requirements=draw(
            st.sampled_from([(), (("room", 1),), (("room", 2),), (("room", 1), ("laser", 1))])
        ),
        price_amount=None,
        price_currency=None,
        location_id=draw(st.sampled_from([None, None, HERE])),
        location_zone=None,
        location_version=None,
        providers=providers,
        resources=resources,
    )
    return Asked(
        plan,
        duration,
        draw(st.sampled_from([1, 1, 2, 4])),
        now=START * 60 + draw(st.sampled_from([-86_400, 0, 3600, 3601.5])),
        provider_id=draw(st.sampled_from([None, None, UUID(int=10), UUID(int=11)])),
    )


@examples(120)
@given(questions())
def test_what_is_offered_and_what_is_refused_are_all_there_is(asked: Asked) -> None:
    for group in asked.groups:
        free = asked.free(group)
        assert list(free) == sorted(free)
        assert all(START <= start < END for start in free)
        for start in {*range(START, END, 5), *free}:
            why = asked.plan.why_not(group, asked.duration, asked.seats, asked.now, start)
            assert (start in free) == (why is None), (to_datetime(start), why)


@examples(120)
@given(questions())
def test_every_offer_has_the_seats_that_were_asked_for(asked: Asked) -> None:
    for group in asked.groups:
        for start, left in asked.free(group).items():
            session = asked.plan.session_at(group, start, asked.duration)
            assert left == (asked.plan.capacity if session is None else session.seats_left)
            assert left >= asked.seats


@examples(150)
@given(questions())
def test_whoever_is_picked_is_free_and_so_are_their_rooms(asked: Asked) -> None:
    plan = asked.plan
    before, after = plan.buffer_before, asked.duration + plan.buffer_after
    for group in asked.groups:
        for start in asked.free(group):
            candidate = plan.candidate(group, asked.duration, start)
            during = oracle.minutes(to_datetime(start - before), to_datetime(start + after))
            assert list(candidate.providers) == group
            if candidate.session is not None:
                # Who joins needs nothing that the session does not have.
                assert candidate.resource_ids == []
                assert candidate.session.start == start
                assert all(candidate.session in p.taken.sessions for p in group)
                continue
            for provider in group:
                blocked = [*provider.taken.closed, *provider.taken.time_off]
                assert not during & oracle.all_minutes(blocked)
            chosen = [r for r in plan.resources if r.id in candidate.resource_ids]
            assert len(chosen) == len(candidate.resource_ids)
            for kind, quantity in plan.requirements:
                assert sum(resource.kind == kind for resource in chosen) == quantity
            for resource in chosen:
                assert not during & oracle.all_minutes(resource.taken.closed)
                assert candidate.location_id is None or resource.location_id in {
                    None,
                    candidate.location_id,
                }


@examples(100)
@given(questions())
def test_a_range_may_be_asked_in_parts(asked: Asked) -> None:
    middle = START + 11 * 60 + 7
    for group in asked.groups:
        parts = [
            asked.plan.free(group, asked.duration, asked.seats, asked.now, *bounds)
            for bounds in ((START, middle), (middle, END))
        ]
        assert asked.free(group) == {**parts[0], **parts[1]}


@examples(100)
@given(questions())
def test_more_that_is_taken_never_frees_anything(asked: Asked) -> None:
    """Removing all that is taken of a resource, or a limit, only adds starts."""
    plan = asked.plan
    idle = replace(
        plan,
        limits=Limits(),
        resources=[replace(resource, taken=Taken()) for resource in plan.resources],
    )
    for group in asked.groups:
        assert set(asked.free(group)) <= set(replace(asked, plan=idle).free(group))


@examples(60)
@given(questions())
def test_all_together_is_what_each_alone_has_in_common(asked: Asked) -> None:
    plan = replace(asked.plan, assignment=COLLECTIVE, capacity=1, requirements=())
    plan = plan.with_taken({p.id: replace(p.taken, sessions=()) for p in plan.providers})
    alone, together = (
        replace(asked, plan=replace(plan, assignment=how), provider_id=None, seats=1)
        for how in ("any", COLLECTIVE)
    )
    merged = merge_providers([list(alone.free(group)) for group in alone.groups])
    everybody = [start for start, who in merged if len(who) == len(plan.providers)]
    assert [start for group in together.groups for start in together.free(group)] == everybody
