"""What clients send and get about bookings."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from app.bookings.rules import Action, Status
from app.catalog.schemas import Money
from app.core.schemas import Input, Instant, Output, Paragraphs, Version, example

_EXAMPLE_ID = "0199f0c0-0000-7000-8000-000000000001"


class BookingCreate(Input):
    model_config = example(
        service_id=_EXAMPLE_ID, start="2026-11-23T09:00:00+01:00", notes="First visit"
    )

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
    customer_id: UUID | None = Field(
        None, description="Whom it is for; staff only. Default: the caller.", examples=[None]
    )
    notes: Paragraphs = Field("", examples=["First visit"])


class Cancellation(Input):
    model_config = example(reason="I am ill.")

    reason: Annotated[Paragraphs, Field(max_length=500)] = ""


class NamedService(Output):
    id: UUID
    name: str


class NamedProvider(Output):
    id: UUID
    display_name: str


class Customer(Output):
    id: UUID
    name: str
    email: str
    phone: str | None


class Policy(Output):
    """The service's rules as they were when it was booked."""

    cancel_until_minutes: int
    reschedule_until_minutes: int = 0
    max_reschedules: int | None = None


class AllowedActionOut(Output):
    action: Action
    until: datetime | None = Field(description="Null: no deadline for this caller.")


class Cancelled(Output):
    by: str = Field(description="`customer` or `staff`.")
    reason: str
    at: datetime


class BookingOut(Output):
    """A booking. `start` and `end` are in the wall time of `time_zone`."""

    id: UUID
    reference: str = Field(examples=["7KQ2M9XR4B"])
    status: Status
    service: NamedService
    provider: NamedProvider
    start: datetime
    end: datetime
    time_zone: str
    duration_minutes: int
    seats: int
    customer: Customer | None
    notes: str
    price: Money | None
    policy: Policy
    source: str = Field(description="`customer` or `staff`.")
    sequence: int = Field(description="The calendar entry's revision (RFC 5545).")
    version: Version
    allowed_actions: list[AllowedActionOut]
    cancelled: Cancelled | None
    created_at: datetime
    updated_at: datetime
