"""What clients send and get about working hours."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from app.core.schemas import Input, Output, Version, Zone, example
from app.schedules.rules import DayHours, Weekday

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


class WeekdayHours(Input):
    weekday: Weekday
    intervals: list[WorkingInterval] = Field(max_length=48)

    @classmethod
    def of(cls, day: DayHours) -> Self:
        weekday, hours = day
        return cls(weekday=weekday, intervals=[WorkingInterval(start=s, end=e) for s, e in hours])

    def hours(self) -> DayHours:
        return self.weekday, [(interval.start, interval.end) for interval in self.intervals]


class ScheduleIn(Input):
    """A week of working hours; days that are not named are closed, touching intervals merge."""

    model_config = example(
        time_zone="Europe/Paris",
        weekly=[{"weekday": "monday", "intervals": [{"start": "09:00", "end": "17:00"}]}],
    )

    time_zone: Zone
    weekly: list[WeekdayHours] = Field(max_length=7)

    @model_validator(mode="after")
    def _each_day_once(self) -> Self:
        if len({day.weekday for day in self.weekly}) < len(self.weekly):
            raise ValueError("each weekday once")
        return self


class ScheduleOut(Output):
    provider_id: UUID
    time_zone: str
    weekly: list[WeekdayHours]
    version: Version
    updated_at: datetime
