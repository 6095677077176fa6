"""`/events`: all that happened, in order, for who was away or wants to be told of nothing."""

from typing import Annotated

from fastapi import Depends, Query

from app.auth.dependencies import require
from app.auth.permissions import Permission
from app.core.errors import Forbidden, Unauthenticated, ValidationFailed
from app.core.pagination import DEFAULT_LIMIT, MAXIMUM_LIMIT
from app.core.problems import problems
from app.core.routing import ApiRouter
from app.webhooks.dependencies import EventLog
from app.webhooks.event_schemas import EventPattern, EventsRead

router = ApiRouter(prefix="/events", tags=["webhooks"])

_MAXIMUM_PATTERNS = 20


@router.get(
    "",
    operation_id="events_list",
    summary="What happened, the oldest first",
    description=(
        "The same envelopes as webhooks send. Who follows `next_cursor` sees each event exactly "
        "once. Without `after`: from the beginning."
    ),
    dependencies=[Depends(require(Permission.EVENTS_READ))],
    responses=problems(Unauthenticated, Forbidden, ValidationFailed),
)
async def list_events(
    log: EventLog,
    after: Annotated[str | None, Query(max_length=100)] = None,
    type: Annotated[  # noqa: A002 - the contract's name
        list[EventPattern] | None,
        Query(max_length=_MAXIMUM_PATTERNS, description="`booking.created`, `booking.*`."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAXIMUM_LIMIT)] = DEFAULT_LIMIT,
) -> EventsRead:
    return await log.read(after, patterns=type or (), limit=limit)
