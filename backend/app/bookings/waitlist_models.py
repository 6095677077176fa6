"""The waiting list."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer
from sqlalchemy.dialects.postgresql import TSTZMULTIRANGE, TSTZRANGE, Range
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.database import Base, Versioned


class WaitlistEntry(Versioned, Base):
    """Somebody who would take a time in one of the `windows`, should one become free.

    While it is `offered`, `hold_id` keeps the time `offered_during` for them until `offered_until`.
    An offer that ends in vain takes its time out of the windows: the next in line is asked.
    """

    __tablename__ = "waitlist_entries"
    __table_args__ = (
        CheckConstraint(
            "status IN ('waiting', 'offered', 'accepted', 'expired', 'withdrawn')",
            name="status_known",
        ),
        CheckConstraint(
            "(status = 'offered') = (hold_id IS NOT NULL)"
            " AND num_nulls(hold_id, offered_until, offered_during) IN (0, 3)",
            name="offer_complete",
        ),
        CheckConstraint("seats > 0", name="seats_positive"),
        Index(
            None,
            "service_id",
            "id",
            postgresql_where="status IN ('waiting', 'offered')",
        ),
        Index(None, "customer_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    service_id: Mapped[UUID] = mapped_column(ForeignKey("services.id", ondelete="CASCADE"))
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    provider_id: Mapped[UUID | None] = mapped_column(ForeignKey("providers.id", ondelete="CASCADE"))
    duration_minutes: Mapped[int | None] = mapped_column(Integer())
    seats: Mapped[int] = mapped_column(Integer(), server_default="1")
    windows: Mapped[Sequence[Range[datetime]]] = mapped_column(TSTZMULTIRANGE())
    status: Mapped[str] = mapped_column(server_default="waiting")
    hold_id: Mapped[UUID | None]
    offered_until: Mapped[datetime | None]
    offered_during: Mapped[Range[datetime] | None] = mapped_column(TSTZRANGE())
    booking_id: Mapped[UUID | None]
