"""What clients send and get about bookings."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, JsonValue, SecretStr

from app.auth.schemas import EmailAddress, PhoneNumber
from app.bookings.rules import Action, Status
from app.catalog.schemas import Money
from app.core.schemas import Input, Instant, Line, Output, Paragraphs, Version, Zone, example

_EXAMPLE_ID = "0199f0c0-0000-7000-8000-000000000001"

Answers = Annotated[dict[str, JsonValue], Field(max_length=100)]


class Guest(Input):
    """Somebody without an account, whom a link in a mail lets manage the booking."""

    name: Line = Field(examples=["Ada Lovelace"])
    email: EmailAddress
    phone: PhoneNumber | None = None
    time_zone: Zone | None = Field(None, description="In which the mails tell the time.")


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
    guest: Guest | None = Field(
        None,
        description=(
            "Whom it is for, if they have no account: visitors, where the service admits guests,"
            " and staff."
        ),
        examples=[None],
    )
    answers: Answers = Field(
        {}, description="By the keys of the service's questions.", examples=[{}]
    )
    notes: Paragraphs = Field("", examples=["First visit"])
    hold_id: UUID | None = Field(
        None, description="A hold of this time, which becomes the booking.", examples=[None]
    )
    hold_secret: SecretStr | None = Field(
        None, max_length=200, description="Of a visitor's hold.", examples=[None]
    )


Why = Annotated[Paragraphs, Field(max_length=500)]


class Cancellation(Input):
    model_config = example(reason="I am ill.")

    reason: Why = ""


class Declination(Input):
    model_config = example(reason="We are closed for stocktaking.")

    reason: Why = Field("", description="The customer reads it.")


class Reschedule(Input):
    model_config = example(start="2026-11-24T09:00:00+01:00")

    start: Instant
    provider_id: UUID | None = Field(
        None,
        description="Default: the same one if they are free then, else as for a new booking.",
        examples=[None],
    )
    duration_minutes: int | None = Field(
        None, ge=1, le=10_080, description="Default: as before.", examples=[30]
    )


class Reassignment(Input):
    model_config = example(provider_id=_EXAMPLE_ID)

    provider_id: UUID = Field(examples=[_EXAMPLE_ID])


class NamedService(Output):
    id: UUID
    name: str


class NamedProvider(Output):
    id: UUID
    display_name: str


class NamedLocation(Output):
    id: UUID
    name: str
    address: str = Field("", exclude=True)
    """For calendars, which show the way there."""


class NamedResource(Output):
    id: UUID
    name: str
    kind: str


class Customer(Output):
    id: UUID | None = Field(description="Null: a guest without an account, or not to be told.")
    name: str
    email: str
    phone: str | None


class Policy(Output):
    """The service's rules as they were when it was booked; they bind all but staff."""

    cancel_until_minutes: int
    reschedule_until_minutes: int = 0
    max_reschedules: int | None = None


class AllowedActionOut(Output):
    action: Action
    until: datetime | None = Field(description="Null: no deadline for this caller.")


class Cancelled(Output):
    """Who called it off, or declined it, and why."""

    by: str = Field(description="`customer`, `guest` or `staff`.")
    reason: str
    at: datetime


class Assigned(Output):
    """Why this provider: the strategy, and what was decisive in it when the booking was made."""

    strategy: str = Field(
        description="The service's `assignment`, or `requested`: the caller chose.",
        examples=["round_robin"],
    )
    candidates: int = Field(description="How many could have given it.")
    rank: int = Field(description="Their place among these; those before were booked meanwhile.")
    booked: int | None = Field(description="Turns they had in the last 30 days.")
    credited: float | None = Field(description="Turns a newcomer counts as having had.")
    weight: int | None
    booked_minutes: int | None = Field(description="Booked in the week, in minutes.")


class BookingOut(Output):
    """A booking. `start` and `end` are in the wall time of `time_zone`."""

    id: UUID
    reference: str = Field(examples=["7KQ2M9XR4B"])
    status: Status
    service: NamedService
    provider: NamedProvider
    providers: list[NamedProvider] = Field(description="All who give it, the first one included.")
    location: NamedLocation | None
    resources: list[NamedResource]
    start: datetime
    end: datetime
    time_zone: str
    duration_minutes: int
    seats: int
    customer: Customer | None
    answers: dict[str, JsonValue] = Field(description="By the keys of the service's questions.")
    notes: str
    price: Money | None
    policy: Policy
    source: str = Field(description="Who booked it: `customer`, `guest` or `staff`.")
    assignment: Assigned | None = Field(description="Why this provider; staff only.")
    sequence: int = Field(description="The calendar entry's revision (RFC 5545).")
    version: Version
    series_id: UUID | None
    allowed_actions: list[AllowedActionOut]
    cancelled: Cancelled | None
    created_at: datetime
    updated_at: datetime


class BookingCreated(BookingOut):
    """A new booking; a guest's comes with what lets the guest come back to it."""

    manage_token: str | None = Field(
        None,
        description=(
            "For guests only: lets them see, cancel and move it at `/manage/{token}`."
            " Mailed as a link, too; it changes when the booking moves."
        ),
    )


class HistoryActor(Output):
    type: str = Field(description="`user`, `guest`, `anonymous` or `system`.")
    id: UUID | None = Field(description="The account; customers are told no one else's.")


class HistoryItem(Output):
    """Something that happened to a booking, and what it changed."""

    at: datetime
    type: str = Field(examples=["booking.rescheduled"])
    actor: HistoryActor
    before: dict[str, JsonValue] | None
    after: dict[str, JsonValue] | None
