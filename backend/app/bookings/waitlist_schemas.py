"""What clients send and get about waiting lists."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import Field, model_validator

from app.bookings.schemas import Answers, NamedProvider, NamedService
from app.core.schemas import Input, Instant, Output, Paragraphs, Version, example

MAXIMUM_WINDOWS: Final = 10
MAXIMUM_DAYS: Final = 31
_EXAMPLE_ID = "0199f0c0-0000-7000-8000-000000000001"
_WINDOW = {"start": "2026-11-23T08:00:00+01:00", "end": "2026-11-23T12:00:00+01:00"}


class EntryStatus(StrEnum):
    WAITING = "waiting"
    OFFERED = "offered"
    ACCEPTED = "accepted"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Window(Input):
    """When the appointment may take place, from its start to its end."""

    start: Instant
    end: Instant = Field(description=f"At most {MAXIMUM_DAYS} days after the start.")

    @model_validator(mode="after")
    def _is_a_window(self) -> Self:
        if not timedelta() < self.end - self.start <= timedelta(days=MAXIMUM_DAYS):
            raise ValueError(f"it ends after it starts, and at most {MAXIMUM_DAYS} days later")
        return self


class WaitlistJoin(Input):
    model_config = example(service_id=_EXAMPLE_ID, windows=[{**_WINDOW}])

    service_id: UUID = Field(examples=[_EXAMPLE_ID])
    windows: Annotated[list[Window], Field(min_length=1, max_length=MAXIMUM_WINDOWS)] = Field(
        examples=[[_WINDOW]]
    )
    provider_id: UUID | None = Field(
        None, description="Default: anybody's time will do.", examples=[None]
    )
    duration_minutes: int | None = Field(
        None, ge=1, le=10_080, description="Default: the service's first.", examples=[30]
    )
    seats: int = Field(1, ge=1, le=1000, description="Of one group session.")


class Acceptance(Input):
    model_config = example(notes="Thank you!")

    answers: Answers = Field(
        {}, description="By the keys of the service's questions.", examples=[{}]
    )
    notes: Paragraphs = ""


class WindowOut(Output):
    start: datetime
    end: datetime


class OfferOut(Output):
    """A time that is kept for who waited for it."""

    start: datetime
    end: datetime
    time_zone: str
    provider: NamedProvider
    until: datetime = Field(description="Then the next in line is asked.")


class WaitlistOut(Output):
    """Somebody's place in a waiting list."""

    id: UUID
    status: EntryStatus
    service: NamedService
    provider: NamedProvider | None
    customer_id: UUID
    windows: list[WindowOut] = Field(
        description="Merged. What was offered in vain is no longer among them."
    )
    duration_minutes: int | None
    seats: int
    offer: OfferOut | None
    booking_id: UUID | None
    version: Version
    created_at: datetime
    updated_at: datetime
