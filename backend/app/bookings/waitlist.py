"""Who on a waiting list is to be offered which time. Pure: the clock is an argument.

Instants are whole minutes since the epoch (`wall_clock.Minute`).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.availability.plan import Plan
from app.availability.rules import Interval
from app.availability.wall_clock import Minute


@dataclass(frozen=True, slots=True)
class Waiting:
    """What somebody waits for: the appointment wholly in one of the windows, in order."""

    windows: Sequence[Interval]
    provider_id: UUID | None
    duration: int | None
    seats: int


class Vacancies:
    """What is free of a service from now on, as far as people wait for it.

    What was computed for one is there for all who want the same.
    """

    def __init__(self, plan: Plan, now: datetime, last: Minute) -> None:
        self._plan = plan
        self._now = now.timestamp()
        # What begins at this very moment cannot be kept for anybody.
        self._span = (int(self._now // 60) + 1, last)
        self._starts: dict[tuple[UUID | None, int, int], Sequence[Minute]] = {}

    def first_for(self, waiting: Waiting) -> Minute | None:
        """The first start that would do."""
        duration = waiting.duration or self._plan.durations[0]
        if duration not in self._plan.durations:
            return None
        starts = self._free(waiting.provider_id, duration, waiting.seats)
        for begin, until in waiting.windows:
            position = bisect_left(starts, begin)
            if position < len(starts) and starts[position] + duration <= until:
                return starts[position]
        return None

    def _free(self, provider_id: UUID | None, duration: int, seats: int) -> Sequence[Minute]:
        key = (provider_id, duration, seats)
        if key not in self._starts:
            free: set[Minute] = set()
            for group in self._plan.groups(provider_id):
                free |= self._plan.free(group, duration, seats, self._now, *self._span).keys()
            self._starts[key] = sorted(free)
        return self._starts[key]
