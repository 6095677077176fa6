"""The log: one row per change, written in the transaction that makes it.

It is the audit trail, a booking's history, and the source of webhooks, mails and live streams.
Append-only: the application never updates a row.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Index, Insert, func, insert, literal, select, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.core.context import current_request_id
from app.core.ids import new_id
from app.database import Base, table


class Event(Base):
    """Something that happened.

    `transaction_id` lets a reader of the log stop before transactions that are still running:
    ids are drawn before commit, so a later row may become visible earlier.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index(None, "subject_type", "subject_id", "id"),
        Index(None, "transaction_id", "id"),
        Index(None, "occurred_at", "id"),
        Index(None, "actor_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    transaction_id: Mapped[int] = mapped_column(
        server_default=text("(pg_current_xact_id()::text)::bigint")
    )
    occurred_at: Mapped[datetime] = mapped_column(
        TIMESTAMP(timezone=True), server_default=func.now()
    )
    type: Mapped[str]
    subject_type: Mapped[str]
    subject_id: Mapped[UUID]
    actor_type: Mapped[str]
    actor_id: Mapped[UUID | None]
    request_id: Mapped[str | None]
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


EVENT_COLUMNS = (
    "id",
    "type",
    "subject_type",
    "subject_id",
    "actor_type",
    "actor_id",
    "request_id",
    "before",
    "after",
)
"""What `event_values` gives; Postgres adds the rest."""

_RECORD = insert(table(Event))


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it: a user, a guest, an anonymous visitor, or the system itself."""

    type: str
    id: UUID | None = None


SYSTEM = Actor("system")
ANONYMOUS = Actor("anonymous")


def event_values(
    event_type: str,
    *,
    subject_id: UUID,
    actor: Actor,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A row of the log. The subject's type is the first part of the event's: `booking.created`."""
    return {
        "id": new_id(),
        "type": event_type,
        "subject_type": event_type.partition(".")[0],
        "subject_id": subject_id,
        "actor_type": actor.type,
        "actor_id": actor.id,
        "request_id": current_request_id(),
        "before": before,
        "after": after,
    }


async def record(session: AsyncSession, event_type: str, **details: Any) -> UUID:  # noqa: ANN401
    """Write one event in the session's transaction; see `event_values` for the details."""
    values = event_values(event_type, **details)
    await session.execute(_RECORD, values)
    return values["id"]  # type: ignore[no-any-return]  # a row's values are of any type


def recording_each(event_type: str, subject_ids: ColumnElement[UUID], *, actor: Actor) -> Insert:
    """The event for what a query finds: nothing for nothing found, in the same statement."""
    columns: dict[str, ColumnElement[Any]] = {
        "id": literal(new_id()),
        "type": literal(event_type),
        "subject_type": literal(event_type.partition(".")[0]),
        "subject_id": subject_ids,
        "actor_type": literal(actor.type),
        "actor_id": literal(actor.id, Event.actor_id.type),
        "request_id": literal(current_request_id(), Event.request_id.type),
    }
    return insert(Event).from_select(list(columns), select(*columns.values()))


async def record_change(
    session: AsyncSession,
    event_type: str,
    *,
    subject_id: UUID,
    actor: Actor,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    """Record the members that differ, as they were and as they are; nothing if none does."""
    changed = [name for name in after if before.get(name) != after[name]]
    if changed:
        await record(
            session,
            event_type,
            subject_id=subject_id,
            actor=actor,
            before={name: before.get(name) for name in changed},
            after={name: after[name] for name in changed},
        )
