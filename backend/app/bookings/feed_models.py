"""Calendar feeds: secret addresses from which a calendar reads somebody's bookings."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.database import Base


class CalendarFeed(Base):
    """A feed of one account. Revoking deletes it.

    `shows` says which bookings: those the account has made, or those in the calendar it owns.
    Whoever knows the token reads it, so only the token's digest is kept.
    """

    __tablename__ = "calendar_feeds"
    __table_args__ = (
        CheckConstraint("length(digest) = 32", name="digest_sha256"),
        CheckConstraint("shows IN ('bookings', 'calendar')", name="shows_known"),
        Index("uq_calendar_feeds_digest", "digest", unique=True),
        Index(None, "user_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    shows: Mapped[str]
    name: Mapped[str | None]
    digest: Mapped[bytes] = mapped_column(LargeBinary(), deferred=True)
    created_at: Mapped[datetime]
