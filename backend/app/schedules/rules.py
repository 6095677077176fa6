"""Working hours: from the contract's words to the engine's integers, and back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
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

DayMinutes: TypeAlias = Sequence[Interval]
"""Sorted and merged intervals in minutes of the day."""

WeekMinutes: TypeAlias = Sequence[DayMinutes]
"""Seven days, Monday first."""

WallTimes: TypeAlias = list[tuple[str, str]]
"""Intervals of a day as wall times: `("09:00", "24:00")`."""

DayHours: TypeAlias = tuple[Weekday, WallTimes]
"""A weekday and its intervals."""


@dataclass(frozen=True, slots=True)
class Hours:
    """All that says when somebody works, on the clocks of a zone.

    An override replaces its date, a holiday of the calendar closes one that has none.
    """

    time_zone: str
    weekly: WeekMinutes
    overrides: Mapping[date, DayMinutes]
    holiday_calendar: str | None


def to_minutes(weekly: Iterable[DayHours]) -> WeekMinutes:
    """The week as the engine reads it; days that are not named are closed."""
    named = {weekday: day_to_minutes(hours) for weekday, hours in weekly}
    return [named.get(weekday, ()) for weekday in _WEEKDAYS]


def from_minutes(week: WeekMinutes) -> list[DayHours]:
    """The week in words, without its closed days."""
    return [
        (weekday, day_from_minutes(day))
        for weekday, day in zip(_WEEKDAYS, week, strict=True)
        if day
    ]


def day_to_minutes(hours: Iterable[tuple[str, str]]) -> DayMinutes:
    """A day as the engine reads it."""
    return normalise((_minutes(start), _minutes(end)) for start, end in hours)


def day_from_minutes(day: DayMinutes) -> WallTimes:
    """A day in words."""
    return [(_text(start), _text(end)) for start, end in day]


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
