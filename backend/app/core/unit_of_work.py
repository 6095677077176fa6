"""One request, one transaction.

`Session` commits after the endpoint returned and its answer was serialised, and before the answer
leaves: that is what FastAPI's function scope means. A commit that fails is an error answer, never
a 201 that did not happen. Services flush; they never commit.
"""

from collections.abc import AsyncIterator, Callable
from typing import Annotated

from asyncpg import (
    AdminShutdownError,
    CrashShutdownError,
    InternalClientError,
    PostgresConnectionError,
    PostgresError,
)
from fastapi import Depends, Request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.exc import StaleDataError

from app.core.errors import AppError
from app.database import WHEN_COMMITTED, Database, commit

SERIALIZATION_FAILURE = "40001"
DEADLOCK_DETECTED = "40P01"
UNIQUE_VIOLATION = "23505"
FOREIGN_KEY_VIOLATION = "23503"
_RACES = frozenset(
    {SERIALIZATION_FAILURE, DEADLOCK_DETECTED, UNIQUE_VIOLATION, FOREIGN_KEY_VIOLATION}
)
_CUT_OFF = (PostgresConnectionError, AdminShutdownError, CrashShutdownError, InternalClientError)


class TransactionConflict(Exception):
    """Another transaction was faster in a way that only doing everything again can resolve."""


def should_retry(exc: BaseException) -> bool:
    """Whether a transaction that ended with `exc` may succeed when run again as a whole.

    A unique violation that no service foresaw is a race too: run again, the request sees the row.
    So is a reference to what is not there: it was deleted meanwhile, and is not found again. What
    was done on a connection that is lost before its commit was never done; it is refused at once
    where there is no other connection to be had.
    """
    if isinstance(exc, TransactionConflict | StaleDataError):
        return True
    return sqlstate(exc) in _RACES or is_connection_lost(exc)


def is_connection_lost(exc: BaseException) -> bool:
    """Whether Postgres, or somebody between, closed the connection that was in use."""
    if isinstance(exc, DBAPIError) and exc.connection_invalidated:
        return True
    error = driver_error(exc)
    return isinstance(error, _CUT_OFF)


def driver_error(exc: BaseException) -> BaseException:
    """What the driver raised, whether SQLAlchemy stood between or not."""
    if isinstance(exc, DBAPIError) and exc.driver_exception is not None:
        return exc.driver_exception
    return exc


def sqlstate(exc: BaseException) -> str | None:
    """Postgres' five-character error code, if `exc` came from there."""
    error = driver_error(exc)
    return str(error.sqlstate) if isinstance(error, PostgresError) else None


def constraint_name(exc: BaseException) -> str | None:
    """The constraint that refused the statement, if one did."""
    return getattr(driver_error(exc), "constraint_name", None)


def when_committed(session: AsyncSession, do: Callable[[], None]) -> None:
    """Have something done once the session's transaction is committed, and never otherwise.

    It is for what may be lost (a metric): a process can die in between. What must not be lost is
    a job.
    """
    session.info.setdefault(WHEN_COMMITTED, []).append(do)


async def unit_of_work(request: Request) -> AsyncIterator[AsyncSession]:
    db: Database = request.app.state.database
    async with db.transaction() as session:
        try:
            yield session
        except AppError as error:
            if error.keeps_work:
                await commit(session)
            raise


async def read_only(request: Request) -> AsyncIterator[AsyncSession]:
    db: Database = request.app.state.database
    async with db.reading() as session:
        yield session


Session = Annotated[AsyncSession, Depends(unit_of_work, scope="function")]
ReadSession = Annotated[AsyncSession, Depends(read_only, scope="function")]
