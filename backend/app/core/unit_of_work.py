"""One request, one transaction.

`Session` commits after the endpoint returned and its answer was serialised, and before the answer
leaves: that is what FastAPI's function scope means. A commit that fails is an error answer, never
a 201 that did not happen. Services flush; they never commit.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from asyncpg import PostgresError
from fastapi import Depends, Request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.exc import StaleDataError

from app.core.errors import AppError
from app.database import Database

SERIALIZATION_FAILURE = "40001"
DEADLOCK_DETECTED = "40P01"
UNIQUE_VIOLATION = "23505"
FOREIGN_KEY_VIOLATION = "23503"
_RACES = frozenset(
    {SERIALIZATION_FAILURE, DEADLOCK_DETECTED, UNIQUE_VIOLATION, FOREIGN_KEY_VIOLATION}
)


class TransactionConflict(Exception):
    """Another transaction was faster in a way that only doing everything again can resolve."""


def should_retry(exc: BaseException) -> bool:
    """Whether a transaction that ended with `exc` may succeed when run again as a whole.

    A unique violation that no service foresaw is a race too: run again, the request sees the row.
    So is a reference to what is not there: it was deleted meanwhile, and is not found again.
    """
    if isinstance(exc, TransactionConflict | StaleDataError):
        return True
    return sqlstate(exc) in _RACES


def sqlstate(exc: BaseException) -> str | None:
    """Postgres' five-character error code, if `exc` came from there."""
    if isinstance(exc, DBAPIError) and isinstance(exc.driver_exception, PostgresError):
        return str(exc.driver_exception.sqlstate)
    return None


def constraint_name(exc: DBAPIError) -> str | None:
    """The constraint that refused the statement, if one did."""
    return getattr(exc.driver_exception, "constraint_name", None)


async def database(request: Request) -> Database:
    found: Database = request.app.state.database
    return found


async def unit_of_work(
    db: Annotated[Database, Depends(database)],
) -> AsyncIterator[AsyncSession]:
    async with db.transaction() as session:
        try:
            yield session
        except AppError as error:
            if error.keeps_work:
                await session.commit()
            raise


async def read_only(db: Annotated[Database, Depends(database)]) -> AsyncIterator[AsyncSession]:
    async with db.reading() as session:
        yield session


Session = Annotated[AsyncSession, Depends(unit_of_work, scope="function")]
ReadSession = Annotated[AsyncSession, Depends(read_only, scope="function")]
