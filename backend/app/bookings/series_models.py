"""Series of bookings."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import TIMESTAMP, ForeignKey, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.database import Base, Versioned


class BookingSeries(Versioned, Base):
    """A rule (RFC 5545, 3.3.10) by which one person booked a service again and again.

    It repeats a wall time: `wall_start` on the clocks of `time_zone`. Its bookings know it.
    """

    __tablename__ = "booking_series"
    __table_args__ = (Index(None, "customer_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    service_id: Mapped[UUID] = mapped_column(ForeignKey("services.id"))
    provider_id: Mapped[UUID | None] = mapped_column(ForeignKey("providers.id"))
    customer_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    rrule: Mapped[str]
    time_zone: Mapped[str]
    wall_start: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=False))
    duration_minutes: Mapped[int] = mapped_column(Integer())
