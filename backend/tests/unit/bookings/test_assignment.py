"""Who is asked first: fair by weight, kind to newcomers, and the same for the same records."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bookings.assignment import Contender, Load, Turns, by_load, by_turns

MONDAY = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
A, B, C = (UUID(int=n) for n in (1, 2, 3))


class Team:
    """A service's providers, who are given one booking after the other."""

    def __init__(self, *members: Contender) -> None:
        self.members = list(members)
        self.records = {m.provider_id: Turns({}) for m in members}
        self.eras = 0
        self.now = MONDAY

    def give(self, number: int, free: Sequence[UUID] = ()) -> Counter[UUID]:
        given: Counter[UUID] = Counter()
        for _ in range(number):
            contenders = [m for m in self.members if not free or m.provider_id in free]
            first = by_turns(contenders, self.members, self.records)[0].provider_id
            given[first] += 1
            record, self.now = self.records[first], self.now + HOUR
            booked = Counter(record.booked) + Counter({self.eras: 1})
            self.records[first] = replace(record, booked=booked, last=self.now)
        return given

    def join(self, member: Contender) -> None:
        self.eras += 1
        self.members.append(member)
        self.records[member.provider_id] = Turns({}, joined=self.eras)


def test_weights_of_two_to_one_share_30_bookings_20_to_10() -> None:
    team = Team(Contender(A, weight=2), Contender(B))
    assert team.give(30) == {A: 20, B: 10}


@given(
    weights=st.lists(st.integers(1, 5), min_size=2, max_size=6),
    number=st.integers(1, 120),
)
def test_nobody_is_ever_more_than_a_turn_from_their_share(weights: list[int], number: int) -> None:
    team = Team(*(Contender(UUID(int=n), weight=w) for n, w in enumerate(weights)))
    given_to = team.give(number)
    loads = [given_to[m.provider_id] / m.weight for m in team.members]
    assert max(loads) - min(loads) <= max(1 / w for w in weights) + 1e-9


def test_equals_take_turns_in_one_order() -> None:
    team = Team(Contender(B), Contender(A), Contender(C))
    order = [next(iter(team.give(1))) for _ in range(6)]
    assert order == [B, A, C, B, A, C]


def test_who_was_away_for_a_while_is_given_what_they_missed() -> None:
    team = Team(Contender(A), Contender(B))
    team.give(4, free=[A])
    assert team.give(4) == {B: 4}


def test_a_newcomer_is_not_flooded() -> None:
    team = Team(Contender(A), Contender(B))
    team.give(40)
    team.join(Contender(C))
    assert team.give(30) == {A: 10, B: 10, C: 10}


def test_a_newcomer_has_their_weight_from_the_first_day() -> None:
    team = Team(Contender(A), Contender(B))
    team.give(40)
    team.join(Contender(C, weight=2))
    assert team.give(40) == {A: 10, B: 10, C: 20}


def test_newcomers_after_newcomers_owe_nobody_anything_either() -> None:
    team = Team(Contender(A))
    team.give(30)
    team.join(Contender(B))
    team.give(10)
    team.join(Contender(C))
    assert team.give(30) == {A: 10, B: 10, C: 10}


def test_a_newcomer_is_measured_by_their_own_priority() -> None:
    team = Team(Contender(A, priority=1), Contender(B))
    team.give(40)
    team.join(Contender(C))
    assert team.give(10, free=[B, C]) == {B: 5, C: 5}


def test_higher_priority_goes_first_however_much_they_had() -> None:
    team = Team(Contender(A), Contender(B, priority=1))
    assert team.give(9) == {B: 9}


def test_a_session_that_takes_place_anyway_is_joined_first() -> None:
    contenders = [Contender(A), Contender(B, joins=True)]
    records = {A: Turns({}), B: Turns({0: 5})}
    assert [r.provider_id for r in by_turns(contenders, contenders, records)] == [B, A]


@given(booked=st.permutations([(A, 3), (B, 3), (C, 4)]), at_the_same_time=st.booleans())
def test_the_same_records_give_the_same_answer(
    *, booked: list[tuple[UUID, int]], at_the_same_time: bool
) -> None:
    contenders = [Contender(A), Contender(B), Contender(C)]
    last = {A: MONDAY, B: MONDAY if at_the_same_time else MONDAY - HOUR, C: MONDAY - 2 * HOUR}
    records = {i: Turns({0: n}, last=last[i]) for i, n in booked}
    order = [r.provider_id for r in by_turns(contenders, contenders, records)]
    assert order == ([A, B, C] if at_the_same_time else [B, A, C])


def test_the_least_busy_has_the_fewest_minutes() -> None:
    contenders = [Contender(A), Contender(B), Contender(C)]
    loads = {A: Load(60), B: Load(30, MONDAY), C: Load(30, MONDAY - HOUR)}
    ranked = by_load(contenders, loads)
    assert [r.provider_id for r in ranked] == [C, B, A]
    assert [r.facts for r in ranked] == [{"booked_minutes": n} for n in (30, 30, 60)]


@pytest.mark.parametrize(("last", "first"), [({A: MONDAY, B: None}, B), ({A: None, B: None}, A)])
def test_who_has_never_been_booked_has_waited_longest(
    last: dict[UUID, datetime | None], first: UUID
) -> None:
    contenders = [Contender(A), Contender(B)]
    loads = {i: Load(0, moment) for i, moment in last.items()}
    assert by_load(contenders, loads)[0].provider_id == first
