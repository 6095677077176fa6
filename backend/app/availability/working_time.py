"""Working time as intervals, whatever is booked of it. Pure, as `rules` is, and in its terms."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.availability.rules import Interval, WorkingHours
from app.availability.wall_clock import Minute, local_day, local_ordinal


@dataclass(frozen=True, slots=True)
class WorkingTime:
    """The hours of a provider, and the time off that interrupts them (sorted by start)."""

    hours: WorkingHours
    time_off: Sequence[Interval]

    def between(self, start: Minute, end: Minute) -> list[Interval]:
        """What is worked in `[start, end)`, in order and without overlap."""
        return list(_without(self._hours(start, end), self.time_off))

    def _hours(self, start: Minute, end: Minute) -> Iterator[Interval]:
        zone = self.hours.zone
        for ordinal in range(local_ordinal(zone, start), local_ordinal(zone, end - 1) + 1):
            day = local_day(zone, ordinal)
            for opens, closes in self.hours.on(day.day):
                begins = max(start, day.instant(opens))
                ends = min(end, day.instant(closes))
                if begins < ends:
                    yield begins, ends


def _without(intervals: Iterable[Interval], removed: Sequence[Interval]) -> Iterator[Interval]:
    """The parts of the intervals that none of the removed ones covers; those may overlap."""
    for start, end in intervals:
        free_from = start
        for begin, until in removed:
            if begin >= end:
                break
            if until > free_from:
                if free_from < begin:
                    yield free_from, begin
                free_from = until
        if free_from < end:
            yield free_from, end
