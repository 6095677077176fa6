"""What clients send and get about the offer."""

import re
import unicodedata
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from app.core.schemas import UNCHANGED, Input, Line, Output, Paragraphs, Version, Zone, example

_DAY = 24 * 60
_WEEK = 7 * _DAY
_YEAR = 366 * _DAY

Duration = Annotated[int, Field(ge=1, le=_WEEK)]
Durations = Annotated[
    list[Duration],
    AfterValidator(lambda durations: list(dict.fromkeys(durations))),
    Field(min_length=1, max_length=20, description="The first is the default."),
]
Buffer = Annotated[int, Field(ge=0, le=_DAY)]
Slug = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", min_length=1, max_length=100)
]
SlotInterval = Annotated[int, Field(ge=1, le=_DAY)]
Notice = Annotated[int, Field(ge=0, le=_YEAR)]
WindowDays = Annotated[int, Field(ge=0, le=3660)]


class Money(Input):
    amount: int = Field(ge=0, le=10**15, description="Minor units.", examples=[4500])
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217.", examples=["EUR"])


class ServiceCreate(Input):
    model_config = example(
        name="First consultation",
        durations_minutes=[30, 60],
        buffer_after_minutes=10,
        min_notice_minutes=120,
        booking_window_days=60,
        cancel_until_minutes=1440,
        price={"amount": 4500, "currency": "EUR"},
    )

    name: Line = Field(examples=["First consultation"])
    slug: Slug | None = Field(
        None, description="Default: made from the name.", examples=["first-consultation"]
    )
    description: Paragraphs = ""
    durations_minutes: Durations = Field(examples=[[30, 60]])
    buffer_before_minutes: Buffer = 0
    buffer_after_minutes: Buffer = Field(0, examples=[10])
    slot_interval_minutes: SlotInterval | None = Field(
        None, description="Minutes between starts; default: the duration.", examples=[15]
    )
    min_notice_minutes: Notice = Field(0, examples=[120])
    booking_window_days: WindowDays | None = Field(
        None,
        description="Bookable until the end of this many days from today, in the provider's zone.",
        examples=[60],
    )
    cancel_until_minutes: Notice = Field(
        0, description="Customers may cancel until this long before the start.", examples=[1440]
    )
    price: Money | None = None
    is_active: bool = True

    @model_validator(mode="after")
    def _has_slug(self) -> Self:
        if self.slug is None:
            self.slug = slug_of(self.name)
        return self


class ServicePatch(Input):
    """The fields to change; a field that is not named stays as it is."""

    model_config = example(durations_minutes=[45], price=None)

    name: Line = UNCHANGED
    slug: Slug = UNCHANGED
    description: Paragraphs = UNCHANGED
    durations_minutes: Durations = UNCHANGED
    buffer_before_minutes: Buffer = UNCHANGED
    buffer_after_minutes: Buffer = UNCHANGED
    slot_interval_minutes: SlotInterval | None = None
    min_notice_minutes: Notice = UNCHANGED
    booking_window_days: WindowDays | None = None
    cancel_until_minutes: Notice = UNCHANGED
    price: Money | None = None
    is_active: bool = UNCHANGED


class ServiceOut(Output):
    """A service that can be booked."""

    id: UUID
    name: str
    slug: str
    description: str
    durations_minutes: list[int]
    buffer_before_minutes: int
    buffer_after_minutes: int
    slot_interval_minutes: int | None
    min_notice_minutes: int
    booking_window_days: int | None
    cancel_until_minutes: int
    price: Money | None
    is_active: bool
    version: Version
    created_at: datetime
    updated_at: datetime


class LocationCreate(Input):
    model_config = example(
        name="Clinic Paris", address="12 rue de la Paix, Paris", time_zone="Europe/Paris"
    )

    name: Line = Field(examples=["Clinic Paris"])
    address: Paragraphs = Field("", examples=["12 rue de la Paix, Paris"])
    time_zone: Zone


class LocationPatch(Input):
    model_config = example(name="Clinic Opéra")

    name: Line = UNCHANGED
    address: Paragraphs = UNCHANGED
    time_zone: Zone = UNCHANGED


class LocationOut(Output):
    id: UUID
    name: str
    address: str
    time_zone: str
    version: Version
    created_at: datetime
    updated_at: datetime


def slug_of(name: str) -> str:
    """`Séance d'essai (30 min)` → `seance-d-essai-30-min`."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:100].strip("-") or "service"
