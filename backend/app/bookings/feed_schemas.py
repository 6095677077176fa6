"""What clients send and get about calendar feeds."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from app.core.schemas import Input, Line, Output, example


class Shows(StrEnum):
    BOOKINGS = "bookings"
    """What its owner has booked."""
    CALENDAR = "calendar"
    """What others have booked with its owner."""


class CalendarFeedCreate(Input):
    model_config = example(shows="bookings", name="My phone")

    shows: Shows = Field(
        Shows.BOOKINGS, description="What I have booked, or what is in the calendar I own."
    )
    name: Line | None = Field(None, description="To tell one from another.", examples=["My phone"])


class CalendarFeedOut(Output):
    """A feed as its owner sees it: everything but its address."""

    id: UUID
    shows: Shows
    name: str | None
    created_at: datetime


class CalendarFeedCreated(CalendarFeedOut):
    """A new feed; its address is shown this once."""

    url: str = Field(description="Whoever knows it can read the feed.", repr=False)
