"""Who gets a booking that nobody in particular was asked for. Pure: the records are arguments.

A strategy orders those who could give it; the first is asked first, and whoever loses a race makes
way for the next. Higher priority goes before all else. Every order is total and ends with the
plan's own, so that the same records always give the same answer.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, Final
from uuid import UUID

REQUESTED: Final = "requested"
"""What is kept as the strategy when the caller named the provider."""
ROUND_ROBIN: Final = "round_robin"
LEAST_BUSY: Final = "least_busy"
STRATEGIES_WITH_RECORDS: Final = frozenset({ROUND_ROBIN, LEAST_BUSY})

TURNS_REMEMBERED: Final = timedelta(days=30)
"""How far back turns are counted: whoever was away for longer does not have to catch up."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who could be assigned. `joins`: they have a group session with seats left then."""

    provider_id: UUID
    priority: int = 0
    weight: int = 1
    joins: bool = False


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns somebody had of a service, and when they began to give it.

    `booked` says how many turns in each era; era n begins when the n-th of the newcomers joins, and
    era 0 is before any did. `joined` is the first era that they were there for.
    """

    booked: Mapping[int, int]
    joined: int = 0
    last: datetime | None = None

    @property
    def count(self) -> int:
        return sum(self.booked.values())

    def before(self, era: int) -> int:
        return sum(count for number, count in self.booked.items() if number < era)


@dataclass(frozen=True, slots=True)
class Load:
    """The minutes somebody has been given in a week, and when last they were given any."""

    minutes: int
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A contender in their place, with what was decisive, for whoever asks why."""

    provider_id: UUID
    facts: Mapping[str, Any]


def by_turns(
    contenders: Sequence[Contender], team: Sequence[Contender], records: Mapping[UUID, Turns]
) -> list[Ranked]:
    """Whoever had the fewest turns for their weight; of several, who has waited longest.

    `team` are all who give the service, and `records` theirs. A newcomer counts as if they had had
    as many turns as the others, per weight, in the time before they joined: they owe nobody.
    """
    credit = _credits(team, records)

    def load(contender: Contender) -> Fraction:
        had = records[contender.provider_id].count + credit[contender.provider_id]
        return had / contender.weight

    return _ranked(
        contenders,
        lambda c: (load(c), *_waiting(records[c.provider_id].last)),
        lambda c: {
            "booked": records[c.provider_id].count,
            "credited": round(float(credit[c.provider_id]), 2),
            "weight": c.weight,
        },
    )


def by_load(contenders: Sequence[Contender], loads: Mapping[UUID, Load]) -> list[Ranked]:
    """Whoever has the fewest booked minutes in the week; of several, who has waited longest."""
    return _ranked(
        contenders,
        lambda c: (loads[c.provider_id].minutes, *_waiting(loads[c.provider_id].last)),
        lambda c: {"booked_minutes": loads[c.provider_id].minutes},
    )


def _ranked(
    contenders: Sequence[Contender],
    key: Callable[[Contender], tuple[Any, ...]],
    facts: Callable[[Contender], dict[str, Any]],
) -> list[Ranked]:
    # To join a session that takes place anyway costs nobody time. `sorted` keeps the plan's order.
    order = sorted(contenders, key=lambda c: (-c.priority, not c.joins, *key(c)))
    return [Ranked(contender.provider_id, facts(contender)) for contender in order]


def _waiting(last: datetime | None) -> tuple[bool, float]:
    """Sorts those who have never been booked first, then by how long ago it was."""
    return (last is not None, last.timestamp() if last else 0.0)


def _credits(team: Sequence[Contender], records: Mapping[UUID, Turns]) -> dict[UUID, Fraction]:
    """What each counts as having had in the time before they joined.

    The earliest first, since their credit is part of what later ones are measured by; only those
    of one's own priority tell what one would have had.
    """
    credit: dict[UUID, Fraction] = {}
    groups: defaultdict[int, list[Contender]] = defaultdict(list)
    for member in team:
        groups[member.priority].append(member)
    for group in groups.values():
        for newcomer in sorted(group, key=lambda c: records[c.provider_id].joined):
            era = records[newcomer.provider_id].joined
            others = [c for c in group if records[c.provider_id].joined < era]
            had = sum(records[c.provider_id].before(era) + credit[c.provider_id] for c in others)
            weight = sum(c.weight for c in others)
            average = Fraction(had) / weight if weight else Fraction(0)
            credit[newcomer.provider_id] = average * newcomer.weight
    return credit
