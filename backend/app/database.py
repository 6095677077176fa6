"""The database: declarative base, engine and sessions.

One request is one transaction (`core/unit_of_work.py`). Writers get a session on `Database.engine`;
readers get one in autocommit, which saves the BEGIN and COMMIT round trips.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
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
_TOO_MANY = "Too many wait for a connection."


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

    None is opened before it is needed, and they leave nothing behind that would have to be reset.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", connections: int) -> None:
        self._pool = pool
        self._waiting = 0
        self._maximum_waiting = connections * WAITING_PER_CONNECTION

    @property
    def are_awaited(self) -> bool:
        return bool(self._pool.get_idle_size() < self._pool.get_size())

    async def fetch(
        self, statement: str, *arguments: object, record_class: type[asyncpg.Record]
    ) -> list[Any]:
        """The rows.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: Postgres cannot be asked.
            sqlalchemy.exc.TimeoutError: too many want to.
        """
        if self._waiting >= self._maximum_waiting:
            raise PoolTimeout(_TOO_MANY)
        self._waiting += 1
        try:
            async with asyncio.timeout(POOL_TIMEOUT_SECONDS):
                connection = await self._pool.acquire()
        except TimeoutError:
            raise PoolTimeout(_TOO_MANY) from None
        finally:
            self._waiting -= 1
        try:
            rows: list[Any] = await connection.fetch(
                statement, *arguments, record_class=record_class
            )
            return rows
        finally:
            await self._pool.release(connection)

    def usage(self) -> dict[str, int]:
        """How many connections are open, and in use."""
        size = self._pool.get_size()
        return {"open": size, "in_use": size - self._pool.get_idle_size()}

    def terminate(self) -> None:
        self._pool.terminate()


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
        self._hot_readers: Readers | None = None
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

    async def open_readers(self) -> None:
        size = self._settings.POSTGRES_POOL_SIZE
        pool = await asyncpg.create_pool(
            connect=self._connect,
            min_size=0,
            max_size=size,
            server_settings=SERVER_SETTINGS | {"default_transaction_read_only": "on"},
            init=_read_json,
            reset=_reset_nothing,
        )
        self._hot_readers = Readers(pool, size)

    @property
    def readers(self) -> Readers:
        if self._hot_readers is None:
            raise RuntimeError("open_readers was not called")
        self._refuse_in_silence()
        return self._hot_readers

    def usage(self) -> dict[str, dict[str, int]]:
        """How many connections each pool has open and in use, for metrics."""
        sessions = cast("QueuePool", self.engine.pool)
        in_use = sessions.checkedout()
        usage = {"sessions": {"open": sessions.checkedin() + in_use, "in_use": in_use}}
        if self._hot_readers is not None:
            usage["readers"] = self._hot_readers.usage()
        return usage

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
        if self._hot_readers is not None:
            self._hot_readers.terminate()
        self.pulse.hang_up()

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
        readers = self._hot_readers
        return self._sessions > 0 or (readers is not None and readers.are_awaited)

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


async def _read_json(connection: Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda text: b"\x01" + text.encode(),
        decoder=lambda data: json.loads(data[1:]),
    )


async def _reset_nothing(_: Connection) -> None:
    """A read that is over has left no state; to ask Postgres to forget it costs a round trip."""
