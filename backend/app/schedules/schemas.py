"""What clients send and get about working hours."""

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from app.core.schemas import Input, Output, Version, Zone, example
from app.schedules import holidays
from app.schedules.rules import DayHours, WallTimes, Weekday

# Not `\d`, which is every digit of Unicode.
_TIME = r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$"

StartTime = Annotated[str, StringConstraints(pattern=_TIME), Field(examples=["09:00"])]
EndTime = Annotated[
    str,
    StringConstraints(pattern=r"^(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"),
    Field(description="After the start, at most `24:00`.", examples=["17:00"]),
]


class WorkingInterval(Input):
    """Part of a day, in wall time."""

    start: StartTime
    end: EndTime

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.end <= self.start:
            raise ValueError("an interval ends after it starts")
        return self


DayIntervals = Annotated[list[WorkingInterval], Field(max_length=48)]


def in_words(hours: WallTimes) -> list[WorkingInterval]:
    return [WorkingInterval(start=start, end=end) for start, end in hours]


def wall_times(intervals: Sequence[WorkingInterval]) -> WallTimes:
    return [(interval.start, interval.end) for interval in intervals]


class WeekdayHours(Input):
    weekday: Weekday
    intervals: DayIntervals

    @classmethod
    def of(cls, day: DayHours) -> Self:
        weekday, hours = day
        return cls(weekday=weekday, intervals=in_words(hours))

    def hours(self) -> DayHours:
        return self.weekday, wall_times(self.intervals)


def _known_calendar(code: str) -> str:
    if not holidays.is_known(code):
        raise ValueError("not a country, or part of one, whose holidays are known")
    return code


HolidayCalendar = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$"),
    AfterValidator(_known_calendar),
]


class ScheduleIn(Input):
    """A week of working hours; days that are not named are closed, touching intervals merge."""

    model_config = example(
        time_zone="Europe/Paris",
        weekly=[{"weekday": "monday", "intervals": [{"start": "09:00", "end": "17:00"}]}],
        holiday_calendar="FR",
    )

    time_zone: Zone
    weekly: list[WeekdayHours] = Field(max_length=7)
    holiday_calendar: HolidayCalendar | None = Field(
        None,
        description=(
            "Closed on the public holidays of a country (`FR`) or a part of one (`DE-BY`), "
            "in ISO 3166; null: open on them."
        ),
        examples=["FR"],
    )

    @model_validator(mode="after")
    def _each_day_once(self) -> Self:
        if len({day.weekday for day in self.weekly}) < len(self.weekly):
            raise ValueError("each weekday once")
        return self


class ScheduleOut(Output):
    provider_id: UUID
    time_zone: str
    weekly: list[WeekdayHours]
    holiday_calendar: str | None
    version: Version
    updated_at: dt.datetime


class BookingOutside(Output):
    """A booking that stays as it is although its provider does not work then."""

    id: UUID
    reference: str
    start: dt.datetime = Field(examples=["2026-11-23T09:00:00+01:00"])
    end: dt.datetime = Field(examples=["2026-11-23T09:30:00+01:00"])


BookingsOutside = Annotated[
    list[BookingOutside],
    Field(description="Bookings ahead that stay as they are, though the hours leave them outside."),
]


class ScheduleChanged(ScheduleOut):
    bookings_outside: BookingsOutside


class OverrideIn(Input):
    """The hours of one date; they replace that weekday's, and a holiday."""

    model_config = example(intervals=[{"start": "10:00", "end": "14:00"}])

    intervals: DayIntervals = Field(description="Empty: closed.")


class OverrideOut(Output):
    date: dt.date
    intervals: list[WorkingInterval]
    version: Version
    created_at: dt.datetime
    updated_at: dt.datetime


class OverrideChanged(OverrideOut):
    bookings_outside: BookingsOutside


class OverrideRemoved(Output):
    bookings_outside: BookingsOutside
