"""The database: declarative base, engine and sessions.

One request is one transaction (`core/unit_of_work.py`). Writers get a session on `Database.engine`;
readers get one in autocommit, which saves the BEGIN and COMMIT round trips.
"""

import asyncio
import json
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from weakref import WeakSet

import asyncpg
from sqlalchemy import BigInteger, Date, MetaData, Row, Table, Text, Uuid, event, func
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

from app.config import Settings
from app.postgres import LOST, SERVER_SETTINGS, Connection, Pulse, connect

if TYPE_CHECKING:
    from sqlalchemy import QueuePool

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
"""A row whose columns a statement decides at run time."""

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# Who finds all connections taken waits for one, with so many others for each that there is.
POOL_TIMEOUT_SECONDS = 3
WAITING_PER_CONNECTION = 10
_CLOSE_SECONDS = 1.0
_TOO_MANY = "Too many wait for a connection."

READERS_SETTINGS = {
    "default_transaction_read_only": "on",
    # What is read here is looked up by keys: to plan it anew for each value takes longer than it.
    "plan_cache_mode": "force_generic_plan",
}


class Base(DeclarativeBase):
    """Every table's parent; Python types map to the same column types everywhere."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own declaration
        str: Text(),
        int: BigInteger(),
        uuid.UUID: Uuid(),
        datetime: TIMESTAMP(timezone=True),
        date: Date(),
        dict[str, Any]: JSONB(),
    }


def table(model: type[Base]) -> Table:
    """The table of an entity, for statements that pass the ORM by."""
    return cast("Table", model.__table__)


class Versioned:
    """What everything that can be changed has: a version, which is its ETag, and two instants.

    The version rises with each UPDATE, which also fails if another transaction was faster.
    """

    version: Mapped[int] = mapped_column(server_default="1", sort_order=1)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=1)
    updated_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), onupdate=func.now(), sort_order=1
    )

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> dict[str, Any]:
        return {"version_id_col": cls.version, "eager_defaults": True}


class Readers:
    """Connections for single reads, without SQLAlchemy (`core/prepared.py`).

    None is opened before it is needed. They are kept as they are, the last used first: a read
    leaves nothing behind that would have to be reset, and what a pool does besides takes as long
    as the read itself.
    """

    def __init__(self, open_connection: Callable[[], Awaitable[Connection]], size: int) -> None:
        self._open_connection = open_connection
        self._size = size
        self._open: set[Connection] = set()
        self._free: list[Connection] = []
        self._in_use = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._maximum_waiting = size * WAITING_PER_CONNECTION

    @property
    def are_awaited(self) -> bool:
        return self._in_use > 0

    async def fetch(
        self, statement: str, *arguments: object, record_class: type[asyncpg.Record]
    ) -> list[Any]:
        """The rows.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: Postgres cannot be asked.
            sqlalchemy.exc.TimeoutError: too many want to.
        """
        if self._in_use < self._size:
            self._in_use += 1
        else:
            await self._wait_for_place()
        try:
            connection = await self._take()
            try:
                rows: list[Any] = await connection.fetch(
                    statement, *arguments, record_class=record_class
                )
            except asyncpg.PostgresError:
                self._free.append(connection)  # if it is lost as well, that will be noticed
                raise
            except BaseException:
                await self._close(connection)
                raise
            self._free.append(connection)
            return rows
        finally:
            self._leave_place()

    def usage(self) -> dict[str, int]:
        """How many connections are open, and in use."""
        return {"open": len(self._open), "in_use": self._in_use}

    def terminate(self) -> None:
        for connection in self._open:
            connection.terminate()

    async def _take(self) -> Connection:
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
            self._open.discard(connection)
        connection = await self._open_connection()
        self._open.add(connection)
        return connection

    async def _close(self, connection: Connection) -> None:
        """Have Postgres stop what nobody waits for any more, and be done with it."""
        self._open.discard(connection)
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=_CLOSE_SECONDS)

    async def _wait_for_place(self) -> None:
        if len(self._waiting) >= self._maximum_waiting:
            raise PoolTimeout(_TOO_MANY)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(POOL_TIMEOUT_SECONDS):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self._leave_place()  # it was given to who was just leaving
            with suppress(ValueError):
                self._waiting.remove(place)
            if isinstance(error, TimeoutError):
                raise PoolTimeout(_TOO_MANY) from None
            raise

    def _leave_place(self) -> None:
        """Let the next one have it."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._in_use -= 1


WHEN_COMMITTED = "when_committed"
"""Where a session keeps what is done after its commit: see `core/unit_of_work.when_committed`."""


class DatabaseAway(ConnectionError):
    """Postgres does not answer, and whoever asked it would wait in vain."""


class CommitUncertain(ConnectionError):
    """Postgres was lost while it committed: it may have been done, or not."""


class Database:
    """Sessions for writers and for readers, and a pool for hot reads.

    Each of them fails at once, with an OSError, while Postgres is known to be silent, and whoever
    is waiting for it when that is noticed fails then, within 4 s.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connections = WeakSet[Connection]()
        self._attempts: set[asyncio.Future[Connection]] = set()
        self._sessions = 0
        places = settings.POSTGRES_POOL_SIZE + settings.POSTGRES_MAX_OVERFLOW
        self._maximum_sessions = places * (1 + WAITING_PER_CONNECTION)
        self.pulse = Pulse(partial(connect, settings))
        self.engine = create_async_engine(
            settings.SQLALCHEMY_DATABASE_URI,
            async_creator=self._connect,
            pool_size=settings.POSTGRES_POOL_SIZE,
            max_overflow=settings.POSTGRES_MAX_OVERFLOW,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            pool_use_lifo=True,
            # Values are personal; an error's text ends in logs.
            hide_parameters=True,
        )
        event.listen(self.engine.sync_engine.pool, "checkout", _refuse_closed)
        self._hot_readers = Readers(self._open_reader, settings.POSTGRES_POOL_SIZE)
        self._writers = async_sessionmaker(self.engine, expire_on_commit=False)
        self._readers = async_sessionmaker(
            self.engine.execution_options(isolation_level="AUTOCOMMIT"),
            expire_on_commit=False,
            autoflush=False,
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> "Database":
        return cls(settings)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session that commits when the block ends well and rolls back when it raises.

        Raises:
            DatabaseAway, sqlalchemy.exc.TimeoutError: there is no connection to be had.
            CommitUncertain: the connection was lost in the commit.
        """
        with self._place():
            async with self._writers() as session:
                yield session
                await commit(session)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session for reads: each statement sees what was committed when it began."""
        with self._place():
            async with self._readers() as session:
                yield session

    @property
    def readers(self) -> Readers:
        self._refuse_in_silence()
        return self._hot_readers

    def usage(self) -> dict[str, dict[str, int]]:
        """How many connections each pool has open and in use, for metrics."""
        sessions = cast("QueuePool", self.engine.pool)
        in_use = sessions.checkedout()
        return {
            "sessions": {"open": sessions.checkedin() + in_use, "in_use": in_use},
            "readers": self._hot_readers.usage(),
        }

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Postgres' silence is noticed for as long as the block lasts."""
        watch = self.pulse.watch(self._is_awaited, self._give_up)
        task = asyncio.create_task(watch, name="pulse")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def dispose(self) -> None:
        await self.engine.dispose()
        self._hot_readers.terminate()
        self.pulse.hang_up()

    async def _open_reader(self) -> Connection:
        connection = await self._connect(server_settings=SERVER_SETTINGS | READERS_SETTINGS)
        await connection.set_type_codec(
            "jsonb",
            schema="pg_catalog",
            format="binary",
            encoder=lambda text: b"\x01" + text.encode(),
            decoder=lambda data: json.loads(data[1:]),
        )
        return connection

    async def _connect(self, *_: None, **options: Any) -> Connection:  # noqa: ANN401 - asyncpg's
        self._refuse_in_silence()
        attempt = asyncio.ensure_future(connect(self._settings, **options))
        self._attempts.add(attempt)
        try:
            connection = await attempt
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if this is not None and this.cancelling():
                raise
            raise DatabaseAway from None  # it was given up
        finally:
            self._attempts.discard(attempt)
        self._connections.add(connection)
        return connection

    @contextmanager
    def _place(self) -> Iterator[None]:
        """A place among those who work and those who wait, of which there are only so many."""
        self._refuse_in_silence()
        if self._sessions >= self._maximum_sessions:
            raise PoolTimeout(_TOO_MANY)
        self._sessions += 1
        try:
            yield
        finally:
            self._sessions -= 1

    def _refuse_in_silence(self) -> None:
        if not self.pulse.is_beating:
            raise DatabaseAway

    def _is_awaited(self) -> bool:
        return self._sessions > 0 or self._hot_readers.are_awaited

    def _give_up(self) -> None:
        """Break all connections off: those who wait on them, or for them, fail now."""
        for connection in list(self._connections):
            connection.terminate()
        for attempt in self._attempts:
            attempt.cancel()


async def commit(session: AsyncSession) -> None:
    """Commit, and do what waits for it; say so where nobody can know whether it was done."""
    try:
        await session.commit()
    except DBAPIError as error:
        if isinstance(error.driver_exception, LOST):
            raise CommitUncertain from error
        raise
    except LOST as error:
        raise CommitUncertain from error
    for do in session.info.pop(WHEN_COMMITTED, ()):
        do()


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401
    """Have the pool make a new connection where the server has closed this one meanwhile."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError
