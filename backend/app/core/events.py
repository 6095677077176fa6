"""The log: one row per change, written in the transaction that makes it.

It is the audit trail, a booking's history, and the source of webhooks, mails and live streams.
Append-only: the application never updates a row, except to erase a person (ADR 9).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Index,
    Insert,
    Uuid,
    any_,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
    tuple_,
    update,
)
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

SETTLED_BEFORE: ColumnElement[int] = literal_column(
    "(pg_snapshot_xmin(pg_current_snapshot())::text)::bigint", BigInteger()
)
"""Each transaction before this one has ended: what it wrote can be read, and no more will come."""

_RECORD = insert(table(Event))


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log, for those who read it in order: after this event."""

    transaction_id: int
    event_id: UUID


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
    event_id: UUID = values["id"]
    return event_id


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


async def record_all(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Write many events, made by `event_values`, in one round trip."""
    if rows:
        await session.execute(insert(Event), rows)


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


async def read_after(session: AsyncSession, position: Position, *, most: int) -> Sequence[Event]:
    """The next events of the log, in an order to which nothing is ever added before its end.

    What transactions wrote that began while an older one is still running comes when that has
    ended: later by moments, but never skipped.
    """
    key = tuple_(Event.transaction_id, Event.id)
    last = tuple_(position.transaction_id, position.event_id, types=key.type.types)
    found = await session.scalars(
        select(Event)
        .where(key > last, Event.transaction_id < SETTLED_BEFORE)
        .order_by(Event.transaction_id, Event.id)
        .limit(most)
    )
    return found.all()


async def about(
    session: AsyncSession, subject_type: str, subject_ids: Iterable[UUID]
) -> Sequence[Event]:
    """All that happened to these, the oldest first."""
    found = await session.scalars(
        select(Event).where(_is_about(subject_type, subject_ids)).order_by(Event.id)
    )
    return found.all()


def described(event: Event) -> dict[str, Any]:
    """An event as it is shown to whom it is about: what it says, and no one else's id."""
    return {
        "id": event.id,
        "occurred_at": event.occurred_at,
        "type": event.type,
        "actor_type": event.actor_type,
        "before": event.before,
        "after": event.after,
    }


async def forget(
    session: AsyncSession,
    subject_type: str,
    subject_ids: Iterable[UUID],
    *,
    keep: Sequence[str] = (),
) -> None:
    """Empty what the events about these say, but for the members to `keep`.

    That something happened, and when, stays: the log has no gaps. Members are named to be kept
    and not to be removed, so that one which is added later is forgotten until somebody decides.
    """
    await session.execute(
        update(Event)
        .where(_is_about(subject_type, subject_ids))
        .values(before=_only(Event.before, keep), after=_only(Event.after, keep))
        .execution_options(synchronize_session=False)
    )


def _is_about(subject_type: str, subject_ids: Iterable[UUID]) -> ColumnElement[bool]:
    # One array: a list of parameters ends at 32,767.
    ids = literal(list(subject_ids), ARRAY(Uuid()))
    return (Event.subject_type == subject_type) & (Event.subject_id == any_(ids))


def _only(payload: Any, keep: Sequence[str]) -> Any:  # noqa: ANN401 - columns and SQL expressions
    """These members of a JSON object; NULL if it has none of them."""
    if not keep:
        return None
    member = func.jsonb_each(payload).table_valued("key", "value")
    return (
        select(func.jsonb_object_agg(member.c.key, member.c.value))
        .where(member.c.key.in_(keep))
        .scalar_subquery()
    )
