"""What clients send and get about holds."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from app.bookings.schemas import NamedProvider, NamedService
from app.core.schemas import Input, Instant, Output, Version, example

_EXAMPLE_ID = "0199f0c0-0000-7000-8000-000000000001"
DEFAULT_SECONDS = 300

Seconds = Annotated[int, Field(ge=60, le=900, examples=[300])]


class HoldCreate(Input):
    model_config = example(service_id=_EXAMPLE_ID, start="2026-11-23T09:00:00+01:00")

    service_id: UUID = Field(examples=[_EXAMPLE_ID])
    start: Instant
    provider_id: UUID | None = Field(
        None, description="Default: one of those who are free then.", examples=[None]
    )
    location_id: UUID | None = Field(
        None, description="Where, if there is a choice.", examples=[None]
    )
    duration_minutes: int | None = Field(
        None, ge=1, le=10_080, description="Default: the service's first.", examples=[30]
    )
    seats: int = Field(1, ge=1, le=1000, description="Of a group session.")
    ttl_seconds: Seconds = Field(DEFAULT_SECONDS, description="How long it is held.")


class HoldExtension(Input):
    model_config = example(ttl_seconds=300)

    ttl_seconds: Seconds = Field(description="How long it is held from now on.")


class HoldOut(Output):
    """A time that is kept for the caller. `start` and `end` are in the wall time of `time_zone`."""

    id: UUID
    service: NamedService
    provider: NamedProvider
    location_id: UUID | None
    start: datetime
    end: datetime
    time_zone: str
    duration_minutes: int
    seats: int
    expires_at: datetime = Field(description="When it is free again by itself.")
    is_extended: bool = Field(description="Whether its one extension has been used.")
    version: Version
    created_at: datetime
    updated_at: datetime


class HoldCreated(HoldOut):
    secret: str = Field(
        description=(
            "Shown this once. A visitor's hold is used with it: as `hold_secret` to book, as"
            " `X-Hold-Secret` to extend or end it."
        )
    )
