"""What clients send and get about free times. The answer itself is rendered by `answers.py`."""

from datetime import UTC, date, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field

from app.availability.rules import Reason
from app.core.schemas import Day as Date
from app.core.schemas import Instant, Output, Query, Zone

_FIRST_DAY, _LAST_DAY = date(1970, 1, 2), date(2199, 12, 30)


Duration = Annotated[int, Field(ge=1, le=10_080)]
Seats = Annotated[int, Field(ge=1, le=1000, description="How many are wanted together.")]
# As many as a URL has room for.
ProviderIds = Annotated[list[UUID], Field(max_length=100)]
AnswersZone = Annotated[
    Zone, Field(description="Of the answer; default: the location's or business's.")
]


def _supported(day: date) -> date:
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise ValueError("a date lies in the years 1970 to 2199")
    return day


class Slot(Output):
    """A time that can be booked, and the indexes in `provider_ids` of who is free then."""

    start: datetime = Field(examples=["2026-11-23T09:00:00+01:00"])
    end: datetime = Field(examples=["2026-11-23T09:30:00+01:00"])
    seats_left: int = Field(examples=[1])
    providers: list[int] = Field(examples=[[0, 2]])


class Day(Output):
    date: date
    slots: list[Slot]


class DayCount(Output):
    """How many slots a day has."""

    date: date
    slots: int = Field(examples=[12])


class NextOut(Output):
    """The first free times from now on."""

    service_id: UUID
    time_zone: str
    duration_minutes: int
    provider_ids: list[UUID]
    slots: list[Slot]


class ObstacleOut(Output):
    """Why this provider cannot give the time."""

    provider_id: UUID | None = Field(description="Null: nobody gives the service.")
    reason: Reason
    detail: str = Field(examples=["Another appointment, or its buffer, is in the way."])


class ExplanationOut(Output):
    """Whether a time can be booked, and why those who cannot give it cannot."""

    available: bool
    reasons: list[ObstacleOut]


class AvailabilityOut(Output):
    """The free times of every day of the range; a day without any is there as well."""

    service_id: UUID
    time_zone: str
    duration_minutes: int
    provider_ids: list[UUID]
    days: list[Day]


Moment = Annotated[Date, AfterValidator(_supported)] | Instant
"""A date (the whole day, in the answer's zone) or an instant."""


DETAILS: dict[Reason, str] = {
    Reason.PAST: "It is past.",
    Reason.BEYOND_WINDOW: "It is farther ahead than can be booked.",
    Reason.MIN_NOTICE: "It is too soon: the service asks for more notice.",
    Reason.HOLIDAY: "It is a public holiday.",
    Reason.OUTSIDE_WORKING_HOURS: "It is not, or not wholly, within working hours.",
    Reason.NOT_ALIGNED: "No slot begins then.",
    Reason.TIME_OFF: "The provider is away.",
    Reason.BUSY: "It is taken.",
    Reason.BUFFER: "The time needed before or after it is taken.",
    Reason.LIMIT_REACHED: "No more of this service is given on that day or in that week.",
    Reason.RESOURCE_BUSY: "A room or device that it needs is taken.",
    Reason.NOT_OFFERED: "It is not offered like this.",
}


class Asked(Query):
    """What can be asked about free times."""

    service_id: UUID
    start: Moment = Field(description="A date or an instant.")
    end: Moment = Field(description="A date (inclusive) or an instant (exclusive).")
    time_zone: AnswersZone | None = None
    duration_minutes: Duration | None = None
    provider_id: ProviderIds = Field(default_factory=list)
    location_id: UUID | None = None
    seats: Seats = 1
    exclude_booking_id: UUID | None = Field(
        None, description="A booking that is to be moved: its own time counts as free."
    )


def minute(instant: datetime) -> int:
    """Minutes since the epoch, rounded up: the first whole minute at or after the instant."""
    return -int(-instant.timestamp() // 60)


def instant(minute_of_epoch: int) -> datetime:
    return datetime.fromtimestamp(minute_of_epoch * 60, UTC)
