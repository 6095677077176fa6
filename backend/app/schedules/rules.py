"""Working hours: from the contract's words to the engine's integers, and back."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TypeAlias


class Weekday(StrEnum):
    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


_WEEKDAYS = tuple(Weekday)

Interval: TypeAlias = tuple[int, int]
"""Half-open `(start, end)`."""

WeekMinutes: TypeAlias = Sequence[Sequence[Interval]]
"""Seven days, Monday first, of sorted and merged intervals in minutes of the day."""

DayHours: TypeAlias = tuple[Weekday, list[tuple[str, str]]]
"""A weekday and its intervals as wall times: `("09:00", "24:00")`."""


def to_minutes(weekly: Iterable[DayHours]) -> WeekMinutes:
    """The week as the engine reads it; days that are not named are closed."""
    named = {
        weekday: normalise((_minutes(start), _minutes(end)) for start, end in hours)
        for weekday, hours in weekly
    }
    return [named.get(weekday, ()) for weekday in _WEEKDAYS]


def from_minutes(week: WeekMinutes) -> list[DayHours]:
    """The week in words, without its closed days."""
    return [
        (weekday, [(_text(start), _text(end)) for start, end in day])
        for weekday, day in zip(_WEEKDAYS, week, strict=True)
        if day
    ]


def normalise(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Sorts intervals and merges those that overlap or touch; empty ones vanish."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if start >= end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return tuple(merged)


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
