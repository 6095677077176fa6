"""Mails that are to be sent or were, and who wants none."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, LargeBinary, func
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Versioned


class Notification(Base):
    """One mail to one person about one event, or about a time that comes.

    Its id is derived from what it is about and whom it is for, so that what is written twice is
    one row, and names the mail, so that what is sent twice is recognised. It says who is told
    what; the address and the words are looked up when it is sent. `user_id` is None for a guest.

    It refers to no row, for it may be about what is being forgotten at the same moment.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        CheckConstraint("state IN ('planned', 'queued', 'sent', 'dropped')", name="state_known"),
        CheckConstraint("(state = 'sent') = (sent_at IS NOT NULL)", name="sent_at_known"),
        CheckConstraint("state <> 'planned' OR due_at IS NOT NULL", name="planned_is_due"),
        Index(None, "booking_id", postgresql_where="booking_id IS NOT NULL"),
        Index(None, "user_id", postgresql_where="user_id IS NOT NULL"),
        Index(None, "due_at", postgresql_where="state = 'planned'"),
        Index(None, "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    event_id: Mapped[UUID]
    kind: Mapped[str]
    audience: Mapped[str]
    user_id: Mapped[UUID | None]
    booking_id: Mapped[UUID | None]
    series_id: Mapped[UUID | None]
    starts_at: Mapped[datetime | None]
    minutes_before: Mapped[int | None] = mapped_column(Integer())
    due_at: Mapped[datetime | None]
    state: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    sent_at: Mapped[datetime | None]


class NotificationPreferences(Versioned, Base):
    """What somebody wants mails about; who has no row wants all of them."""

    __tablename__ = "notification_preferences"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    bookings: Mapped[bool] = mapped_column(server_default="true")
    appointments: Mapped[bool] = mapped_column(server_default="true")
    reminders: Mapped[bool] = mapped_column(server_default="true")


class UnremindedAddress(Base):
    """An address of a guest who wants no reminders; kept as a digest that only we can make."""

    __tablename__ = "unreminded_addresses"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
