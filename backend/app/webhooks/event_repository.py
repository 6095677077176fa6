"""The SQL of reading the log."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.events import SETTLED_BEFORE, Event, Position
from app.webhooks.rules import EVERYTHING

LOOKED_THROUGH = 5_000
"""Events looked at for one answer, however few of them are wanted."""


@dataclass(frozen=True, slots=True)
class Found:
    """Events, the place up to which the log has been read, and whether to go on at once."""

    events: Sequence[Event]
    position: Position
    has_more: bool


async def read(
    session: AsyncSession, after: Position, *, patterns: Sequence[str], most: int
) -> Found:
    """The next events that are wanted, in one statement: it must all be seen in one snapshot.

    As in `core/events.read_after`, nothing is ever added before what has been read.
    """
    key = tuple_(Event.transaction_id, Event.id)
    last = tuple_(after.transaction_id, after.event_id, types=key.type.types)
    stretch = (
        select(Event.transaction_id, Event.id, Event.type)
        .where(key > last, Event.transaction_id < SETTLED_BEFORE)
        .order_by(Event.transaction_id, Event.id)
        .limit(LOOKED_THROUGH if patterns else most + 1)
        .cte("stretch")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    wanted = (
        select(stretch.c.id)
        .where(_is_wanted(stretch.c.type, patterns))
        .order_by(stretch.c.transaction_id, stretch.c.id)
        .limit(most + 1)
    )
    length = select(func.count()).select_from(stretch).scalar_subquery()
    end = (
        select(stretch.c.transaction_id, stretch.c.id, length.label("length"))
        .order_by(stretch.c.transaction_id.desc(), stretch.c.id.desc())
        .limit(1)
        .subquery("stretch_end")
    )
    rows = (
        await session.execute(
            select(end.c.transaction_id, end.c.id, end.c.length, Event)
            .select_from(end.outerjoin(Event, Event.id.in_(wanted)))
            .order_by(Event.transaction_id, Event.id)
        )
    ).all()
    if not rows:
        return Found((), after, has_more=False)
    events = [row.Event for row in rows if row.Event is not None]
    if len(events) > most:
        shown = events[:most]
        return Found(shown, Position(shown[-1].transaction_id, shown[-1].id), has_more=True)
    (transaction_id, event_id, looked_through, _), *_ = rows
    return Found(
        events, Position(transaction_id, event_id), has_more=looked_through == LOOKED_THROUGH
    )


def _is_wanted(event_type: ColumnElement[str], patterns: Sequence[str]) -> ColumnElement[bool]:
    """As `rules.is_wanted` says."""
    if not patterns or EVERYTHING in patterns:
        return true()
    kinds = [pattern.removesuffix(".*") for pattern in patterns if pattern.endswith(".*")]
    return or_(event_type.in_(patterns), func.split_part(event_type, ".", 1).in_(kinds))
