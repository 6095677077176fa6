"""The SQL of looking after the queue, whose tables are pgqueuer's."""

from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Integer,
    LargeBinary,
    Select,
    Text,
    cast,
    column,
    delete,
    func,
    insert,
    literal_column,
    select,
    table,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.pagination import Keyset
from app.database import AnyRow

_INSTANT: TIMESTAMP = TIMESTAMP(timezone=True)
_QUEUE = table(
    "pgqueuer",
    column("id", BigInteger()),
    column("entrypoint", Text()),
    column("payload", LargeBinary()),
    column("status"),
    column("attempts", Integer()),
    column("priority", Integer()),
    column("created", _INSTANT),
    column("updated", _INSTANT),
    column("execute_after", _INSTANT),
    column("queue_manager_id"),
)
_LOG = table(
    "pgqueuer_log",
    column("job_id", BigInteger()),
    column("created", _INSTANT),
    column("status"),
    column("entrypoint", Text()),
    column("priority", Integer()),
    column("traceback", JSONB()),
)
_STATES: dict[str, ColumnElement[str]] = {
    state: literal_column(f"'{state}'::pgqueuer_status")
    for state in ("queued", "picked", "failed", "deleted")
}
# The kind of the last error: see `core/jobs.JobFailed`.
_ERROR = (
    select(_LOG.c.traceback["exception_message"].astext)
    .where(_LOG.c.job_id == _QUEUE.c.id, _LOG.c.traceback.is_not(None))
    .order_by(_LOG.c.created.desc())
    .limit(1)
    .scalar_subquery()
)

JOBS = Keyset(_QUEUE.c.id, {"created_at": _QUEUE.c.created})


def jobs(*, state: str | None = None, name: str | None = None) -> Select[*tuple[Any, ...]]:
    statement = select(
        _QUEUE.c.id,
        _QUEUE.c.entrypoint.label("name"),
        _QUEUE.c.payload,
        cast(_QUEUE.c.status, Text()).label("state"),
        _QUEUE.c.attempts,
        _QUEUE.c.created.label("created_at"),
        _QUEUE.c.execute_after.label("due_at"),
        _ERROR.label("error"),
    )
    if state is not None:
        statement = statement.where(_QUEUE.c.status == _STATES[state])
    if name is not None:
        statement = statement.where(_QUEUE.c.entrypoint == name)
    return statement


async def lock(session: AsyncSession, job_id: int) -> AnyRow | None:
    """A job, which nobody else changes or takes until the transaction ends."""
    found = await session.execute(jobs().where(_QUEUE.c.id == job_id).with_for_update(of=_QUEUE))
    return found.one_or_none()


async def retry(session: AsyncSession, job_id: int) -> None:
    """Have a failed job done as if it were new."""
    again = (
        update(_QUEUE)
        .where(_QUEUE.c.id == job_id)
        .values(
            status=_STATES["queued"],
            attempts=0,
            execute_after=func.now(),
            updated=func.now(),
            queue_manager_id=None,
        )
        .returning(_QUEUE.c.id, _QUEUE.c.entrypoint, _QUEUE.c.priority)
        .cte("again")
    )
    await _log(session, again, "queued")


async def discard(session: AsyncSession, job_id: int) -> None:
    """Delete a job."""
    gone = (
        delete(_QUEUE)
        .where(_QUEUE.c.id == job_id)
        .returning(_QUEUE.c.id, _QUEUE.c.entrypoint, _QUEUE.c.priority)
        .cte("gone")
    )
    await _log(session, gone, "deleted")


async def _log(session: AsyncSession, changed: CTE, state: str) -> None:
    columns = ("job_id", "entrypoint", "priority", "status")
    row = select(changed.c.id, changed.c.entrypoint, changed.c.priority, _STATES[state])
    await session.execute(insert(_LOG).from_select(columns, row))
