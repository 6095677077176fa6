"""The SQL of administration."""

from typing import Any
from uuid import UUID

from sqlalchemy import Select, select

from app.core.events import Event
from app.core.pagination import Keyset

AUDIT_LOG = Keyset(Event.id, {"occurred_at": Event.occurred_at})


def events(
    *, event_type: str | None, subject_id: UUID | None, actor_id: UUID | None
) -> Select[Any]:
    statement = select(Event)
    for column, value in (
        (Event.type, event_type),
        (Event.subject_id, subject_id),
        (Event.actor_id, actor_id),
    ):
        if value is not None:
            statement = statement.where(column == value)
    return statement
