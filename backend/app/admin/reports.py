"""Reports' arithmetic: periods of local days, and how much of them is worked and booked. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from enum import StrEnum
from itertools import islice
from typing import Final, TypeAlias

Interval: TypeAlias = tuple[int, int]
"""Half-open `(start, end)` in minutes since the epoch."""

LocalDay: TypeAlias = tuple[date, int, int]
"""A date with the `(start, end)` of its local day."""


class GroupBy(StrEnum):
    """What a report has a row for."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    SERVICE = "service"
    PROVIDER = "provider"


PERIODS: Final = frozenset({GroupBy.DAY, GroupBy.WEEK, GroupBy.MONTH})


def period_of(by: GroupBy, day: date) -> date:
    """The first day of the period that holds this one; weeks begin on Monday (ISO 8601)."""
    if by is GroupBy.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if by is GroupBy.MONTH else day


def periods(by: GroupBy, first: date, last: date) -> list[date]:
    """The first days of all periods that the dates from `first` through `last` touch, in order."""
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return list(dict.fromkeys(period_of(by, day) for day in days))


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time without overlaps, in order: a group session is given once."""
    result: list[Interval] = []
    for start, end in sorted(intervals):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((start, end))
    return result


def minutes_by_period(
    by: GroupBy, days: Sequence[LocalDay], intervals: Iterable[Interval]
) -> Counter[date]:
    """How many minutes of the intervals lie in each period.

    The days follow each other, and the intervals are in order and do not overlap.
    """
    minutes: Counter[date] = Counter()
    position = 0
    for start, end in intervals:
        while position < len(days) and days[position][2] <= start:
            position += 1
        for day, begins, ends in islice(days, position, None):
            if begins >= end:
                break
            minutes[period_of(by, day)] += min(end, ends) - max(start, begins)
    return minutes


def total(intervals: Iterable[Interval]) -> int:
    return sum(end - start for start, end in intervals)


def rate(part: int, whole: int) -> float | None:
    """A share from 0 to 1, to four places; None of nothing."""
    return round(part / whole, 4) if whole else None
