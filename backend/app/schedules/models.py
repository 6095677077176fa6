"""When providers work, and the version of each calendar."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import ForeignKey, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Versioned
from app.schedules.rules import DayMinutes, WeekMinutes


class Schedule(Versioned, Base):
    """A provider's weekly hours, in wall time of `time_zone`.

    `weekly` holds seven lists, Monday first, of `[start, end]` in minutes of the day, sorted and
    merged: what the engine reads, without a conversion.
    """

    __tablename__ = "schedules"

    provider_id: Mapped[UUID] = mapped_column(
        ForeignKey("providers.id", ondelete="CASCADE"), primary_key=True
    )
    time_zone: Mapped[str]
    weekly: Mapped[WeekMinutes] = mapped_column(JSONB())
    holiday_calendar: Mapped[str | None]


class Override(Versioned, Base):
    """The hours of one date, in wall time of the schedule's zone; they replace that day's.

    `intervals` are as a day of `Schedule.weekly`; none: closed.
    """

    __tablename__ = "schedule_overrides"

    provider_id: Mapped[UUID] = mapped_column(
        ForeignKey("providers.id", ondelete="CASCADE"), primary_key=True
    )
    day: Mapped[date] = mapped_column(primary_key=True)
    intervals: Mapped[DayMinutes] = mapped_column(JSONB())


class Calendar(Base):
    """The version of what makes a provider's (or resource's) time free or taken.

    Every change to it raises the version in its own transaction. A cached answer is kept under the
    versions it was made from, so it can never be stale.
    """

    __tablename__ = "calendars"

    subject_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(server_default="1")
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())
