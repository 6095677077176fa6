"""What reports say."""

from collections.abc import Sequence
from datetime import date
from typing import Generic, TypeVar
from uuid import UUID

from pydantic import Field

from app.admin.reports import GroupBy
from app.core.schemas import Output

RowT = TypeVar("RowT", bound="Row")


class Row(Output):
    """What is said of one period, service or provider."""

    key: date | UUID = Field(
        description="The first day of the period, or the id of the service or provider."
    )
    name: str | None = Field(description="The service's or provider's; null for a period.")


class Sum(Output):
    amount: int = Field(description="Minor units.", examples=[4500])
    currency: str = Field(examples=["EUR"])


class BookingsRow(Row):
    """Bookings that begin in the range, by their status now."""

    bookings: int = Field(description="All of them, whatever became of them.")
    pending: int = 0
    confirmed: int = 0
    checked_in: int = 0
    completed: int = 0
    no_show: int = 0
    cancelled: int = 0
    declined: int = 0
    expired: int = 0
    seats: int = Field(0, description="Of what is confirmed, checked in or completed.")
    minutes: int = Field(0, description="Of the same.")
    value: list[Sum] = Field([], description="The prices of the same, one sum a currency.")


class UtilisationRow(Row):
    """How much of the working time is booked."""

    working_minutes: int = Field(description="By the schedules as they are now, less time off.")
    booked_minutes: int = Field(
        description="Confirmed, checked in, completed or missed, without buffers. A group session"
        " counts once."
    )
    rate: float | None = Field(
        description="Booked of working time; above 1 where more is given than the hours say, null"
        " where nobody works.",
        examples=[0.625],
    )


class NoShowsRow(Row):
    """Who came, and who did not."""

    attended: int = Field(description="Completed, or checked in.")
    no_shows: int
    unresolved: int = Field(description="Over, and nobody has said what became of it.")
    rate: float | None = Field(
        description="No-shows of all whose outcome is known; null where none is.", examples=[0.04]
    )


class Report(Output, Generic[RowT]):
    """A row for each period of the range, or for each service or provider that it concerns."""

    start: date
    end: date
    time_zone: str
    group_by: GroupBy
    rows: Sequence[RowT]
