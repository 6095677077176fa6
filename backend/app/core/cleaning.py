"""Removing what has served its time: at night, and little by little."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, cast

import structlog
from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Delete,
    TextClause,
    delete,
    select,
    text,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import Clock
from app.core.idempotency import IdempotencyKey
from app.core.jobs import Routine
from app.database import Base, Database, table

log = structlog.get_logger(__name__)

BATCH = 1000
"""Rows removed in one transaction, so that none takes long or locks much."""

KEPT_JOB_LOG = timedelta(days=30)

# What a job that is still there has been through is kept with it.
_OLD_JOB_LOG = text(
    """DELETE FROM pgqueuer_log WHERE id IN (
        SELECT l.id FROM pgqueuer_log l
        WHERE l.created < :before AND NOT EXISTS (SELECT FROM pgqueuer q WHERE q.id = l.job_id)
        LIMIT :most FOR UPDATE SKIP LOCKED)"""
)

Remove = Callable[[AsyncSession, datetime, int], Awaitable[int]]
"""Removes what was over before an instant, so many rows at most; says how many they were."""


async def in_batches(database: Database, what: str, remove: Remove, before: datetime) -> None:
    """Remove all that was over before this instant, each batch in a transaction of its own."""
    removed, latest = 0, BATCH
    while latest == BATCH:
        async with database.transaction() as session:
            latest = await remove(session, before, BATCH)
        removed += latest
    log.info("removed", what=what, rows=removed)


async def remove_some(
    session: AsyncSession, entity: type[Base], condition: ColumnElement[bool], most: int
) -> int:
    """Remove as many rows at most; those that somebody is changing at this moment stay."""
    key = table(entity).primary_key.columns
    some = select(*key).where(condition).limit(most).with_for_update(skip_locked=True)
    return await _count(session, delete(table(entity)).where(tuple_(*key).in_(some)))


class Cleaning:
    """The routines for what belongs to no room."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @property
    def routines(self) -> Mapping[str, tuple[str, Routine]]:
        return {
            "core.remove_kept_answers": ("7 * * * *", self.remove_kept_answers),
            "core.trim_job_log": ("57 3 * * *", self.trim_job_log),
        }

    async def remove_kept_answers(self) -> None:
        """Remove the answers under idempotency keys whose day is over; they hold personal data."""
        await in_batches(self._database, "idempotency_keys", _kept_answers, self._clock())

    async def trim_job_log(self) -> None:
        """Remove what pgqueuer noted of jobs more than 30 days ago, but for those still there."""
        before = self._clock() - KEPT_JOB_LOG
        await in_batches(self._database, "pgqueuer_log", _job_log, before)


async def _kept_answers(session: AsyncSession, before: datetime, most: int) -> int:
    return await remove_some(session, IdempotencyKey, IdempotencyKey.expires_at < before, most)


async def _job_log(session: AsyncSession, before: datetime, most: int) -> int:
    return await _count(session, _OLD_JOB_LOG, before=before, most=most)


async def _count(
    session: AsyncSession, statement: TextClause | Delete, **parameters: object
) -> int:
    done = cast("CursorResult[Any]", await session.execute(statement, parameters))
    return done.rowcount
