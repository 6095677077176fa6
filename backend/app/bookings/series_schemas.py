"""What clients send and get about series of bookings."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from app.bookings.recurrence import MAXIMUM_LENGTH, MAXIMUM_OCCURRENCES
from app.bookings.schemas import Answers, BookingOut, NamedProvider, NamedService, Why
from app.core.schemas import Input, Instant, Output, Paragraphs, Version, example

_EXAMPLE_ID = "0199f0c0-0000-7000-8000-000000000001"


class OnConflict(StrEnum):
    """What becomes of a series of which not everything can be had."""

    FAIL = "fail"
    SKIP = "skip"


class Scope(StrEnum):
    ALL = "all"
    FOLLOWING = "following"


class SeriesCreate(Input):
    model_config = example(
        service_id=_EXAMPLE_ID,
        start="2026-11-23T09:00:00+01:00",
        rrule="FREQ=WEEKLY;COUNT=10",
        on_conflict="skip",
    )

    service_id: UUID = Field(examples=[_EXAMPLE_ID])
    start: Instant = Field(description="The first occurrence, which the rule must name as well.")
    rrule: Annotated[str, StringConstraints(max_length=MAXIMUM_LENGTH)] = Field(
        description="An RFC 5545 rule that repeats days and says when it ends (COUNT, or UNTIL as "
        f"a date or an instant in UTC); at most {MAXIMUM_OCCURRENCES} occurrences. They are at the "
        "same wall time in the provider's zone.",
        examples=["FREQ=WEEKLY;COUNT=10"],
    )
    provider_id: UUID | None = Field(
        None,
        description="Default: one of those who can give the most of it. One gives them all.",
        examples=[None],
    )
    location_id: UUID | None = Field(
        None, description="Where, if there is a choice.", examples=[None]
    )
    duration_minutes: int | None = Field(
        None, ge=1, le=10_080, description="Default: the service's first.", examples=[30]
    )
    seats: int = Field(1, ge=1, le=1000, description="Of each group session.")
    customer_id: UUID | None = Field(
        None, description="Whom it is for; staff only. Default: the caller.", examples=[None]
    )
    answers: Answers = Field(
        {}, description="By the keys of the service's questions.", examples=[{}]
    )
    notes: Paragraphs = Field("", examples=["Physiotherapy"])
    on_conflict: OnConflict = Field(
        OnConflict.FAIL,
        description="`fail`: all or nothing. `skip`: what cannot be had is left out, and listed.",
    )


class SkippedOut(Output):
    """An occurrence that was left as it was, and why."""

    start: datetime
    code: str = Field(examples=["slot_taken"])
    reason: str | None = Field(examples=["time_off"])


class SeriesOut(Output):
    """A series, and its bookings in order. Each may since have gone its own way."""

    id: UUID
    rrule: str
    service: NamedService
    provider: NamedProvider
    time_zone: str
    start: datetime = Field(description="Of the first occurrence of the rule.")
    duration_minutes: int
    bookings: list[BookingOut]
    version: Version
    created_at: datetime
    updated_at: datetime


class SeriesCreated(SeriesOut):
    skipped: list[SkippedOut] = Field(description="What could not be had; see `on_conflict`.")


class SeriesCancellation(Input):
    model_config = example(scope="following", **{"from": "2026-12-01T00:00:00+01:00"})

    scope: Scope
    from_: Instant | None = Field(
        None, alias="from", description="Of `following`: those that start then or later."
    )
    reason: Why = ""

    @model_validator(mode="after")
    def _following_says_from_when(self) -> Self:
        if (self.scope is Scope.FOLLOWING) != (self.from_ is not None):
            raise ValueError("`from` goes with the scope `following`, and with no other")
        return self


class SeriesCancelled(Output):
    """What was cancelled of a series, and what could not be any more."""

    id: UUID
    cancelled: list[BookingOut]
    skipped: list[SkippedOut]
