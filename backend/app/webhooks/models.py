"""Webhooks, and what was sent to them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, SmallInteger, Text, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.database import Base, Versioned


class Webhook(Versioned, Base):
    """Where to send which events; `disabled_reason` is set where not its owner switched it off.

    Who could not be reached rests for a moment: what is for it waits, and holds nobody else up.
    """

    __tablename__ = "webhooks"
    __table_args__ = (
        CheckConstraint("cardinality(events) > 0", name="has_events"),
        CheckConstraint("disabled_reason IN ('gone', 'failing')", name="disabled_reason_known"),
        CheckConstraint("disabled_reason IS NULL OR NOT is_active", name="disabled_is_not_active"),
        CheckConstraint(
            "(previous_secret IS NULL) = (previous_secret_until IS NULL)",
            name="previous_secret_ends",
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    url: Mapped[str]
    events: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    is_active: Mapped[bool] = mapped_column(server_default="true")
    disabled_reason: Mapped[str | None]
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    previous_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    previous_secret_until: Mapped[datetime | None]
    rests_until: Mapped[datetime | None]


class Delivery(Base):
    """One event for one webhook: what is to be done, and each try in `tries`.

    What was sent is not kept: it is made from the event, so that it is forgotten with it.
    `attempt_id` names the next try. The job that makes it carries it, so that one that is left over
    from an earlier try finds nothing to do.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'succeeded', 'failed')", name="state_known"),
        CheckConstraint(
            "(state = 'pending') = (attempt_id IS NOT NULL)"
            " AND (state = 'pending') = (next_try_at IS NOT NULL)",
            name="pending_goes_on",
        ),
        Index("uq_webhook_deliveries_attempt_id", "attempt_id", unique=True),
        Index(None, "webhook_id", "created_at", "id"),
        Index(None, "event_id"),
        Index(None, "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"))
    event_type: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="pending")
    attempts: Mapped[int] = mapped_column(SmallInteger(), server_default="0")
    attempt_id: Mapped[UUID | None]
    next_try_at: Mapped[datetime | None]
    tries: Mapped[list[dict[str, Any]]] = mapped_column(JSONB(), server_default="[]")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
