"""What clients send and get about time off."""

from datetime import datetime, timedelta
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from app.core.schemas import Input, Instant, Output, Paragraphs, Version, example
from app.schedules.schemas import BookingsOutside

LONGEST = timedelta(days=2 * 366)


class TimeOffCreate(Input):
    model_config = example(
        start="2026-12-24T00:00:00+01:00", end="2027-01-02T00:00:00+01:00", reason="Holidays"
    )

    start: Instant
    end: Instant = Field(description="After the start, by at most two years.")
    reason: Annotated[Paragraphs, StringConstraints(max_length=500)] = Field(
        "", description="Only the provider and who may change every schedule see it."
    )

    @model_validator(mode="after")
    def _ends_in_time(self) -> Self:
        if not timedelta() < self.end - self.start <= LONGEST:
            raise ValueError("time off ends after it starts, by at most two years")
        return self


class TimeOffOut(Output):
    id: UUID
    provider_id: UUID
    start: datetime
    end: datetime
    reason: str
    version: Version
    created_at: datetime
    updated_at: datetime


class TimeOffCreated(TimeOffOut):
    bookings_outside: BookingsOutside
