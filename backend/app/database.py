"""The database: declarative base, engine and sessions.

One request is one transaction (`core/unit_of_work.py`). Writers get a session on `Database.engine`;
readers get one in autocommit, which saves the BEGIN and COMMIT round trips.
"""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import asyncpg
from sqlalchemy import URL, BigInteger, Date, MetaData, Row, Table, Text, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

from app.config import Settings

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

CONNECT_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT_SECONDS = 10
LOCK_TIMEOUT_SECONDS = 5

SERVER_SETTINGS = {
    "application_name": "oneslot",
    "timezone": "UTC",
    "jit": "off",
    "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
    "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
    "idle_in_transaction_session_timeout": "60s",
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


def create_engine(url: URL, *, pool_size: int = 10, max_overflow: int = 10) -> AsyncEngine:
    """An engine whose connections speak UTC and give up rather than hang.

    A statement may run 10 s and wait 5 s for a lock; the client gives up a second later than
    the server, so that a server that froze is noticed as well.
    """
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=CONNECT_TIMEOUT_SECONDS,
        pool_use_lifo=True,
        # Values are personal; an error's text ends in logs.
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "command_timeout": STATEMENT_TIMEOUT_SECONDS + 1,
            "server_settings": SERVER_SETTINGS,
        },
    )


def create_readers(settings: Settings) -> "asyncpg.Pool[asyncpg.Record]":
    """Connections for single reads, without SQLAlchemy (`core/prepared.py`).

    None is opened before it is needed. They give up as the engine's do, and leave nothing behind
    that would have to be reset.
    """
    return asyncpg.create_pool(
        host=settings.POSTGRES_SERVER,
        port=settings.POSTGRES_PORT,
        user=settings.POSTGRES_USER,
        password=settings.POSTGRES_PASSWORD.get_secret_value() or None,
        database=settings.POSTGRES_DB,
        min_size=0,
        max_size=settings.POSTGRES_POOL_SIZE,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=STATEMENT_TIMEOUT_SECONDS + 1,
        server_settings=SERVER_SETTINGS | {"default_transaction_read_only": "on"},
        init=_read_json,
        reset=_reset_nothing,
    )


async def _read_json(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda text: b"\x01" + text.encode(),
        decoder=lambda data: json.loads(data[1:]),
    )


async def _reset_nothing(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A read that is over has left no state; to ask Postgres to forget it costs a round trip."""


WHEN_COMMITTED = "when_committed"
"""Where a session keeps what is done after its commit: see `core/unit_of_work.when_committed`."""


class Database:
    """An engine, the two kinds of sessions made from it, and a pool for hot reads."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._readers_pool: asyncpg.Pool | None = None
        self._writers = async_sessionmaker(engine, expire_on_commit=False)
        self._readers = async_sessionmaker(
            engine.execution_options(isolation_level="AUTOCOMMIT"),
            expire_on_commit=False,
            autoflush=False,
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> "Database":
        return cls(
            create_engine(
                settings.SQLALCHEMY_DATABASE_URI,
                pool_size=settings.POSTGRES_POOL_SIZE,
                max_overflow=settings.POSTGRES_MAX_OVERFLOW,
            )
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session that commits when the block ends well and rolls back when it raises."""
        async with self._writers() as session:
            yield session
            await session.commit()
            for do in session.info.get(WHEN_COMMITTED, ()):
                do()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session for reads: each statement sees what was committed when it began."""
        async with self._readers() as session:
            yield session

    async def open_readers(self, settings: Settings) -> None:
        """Make the pool for hot reads; it connects when it is first used."""
        self._readers_pool = await create_readers(settings)

    @property
    def readers(self) -> "asyncpg.Pool[asyncpg.Record]":
        if self._readers_pool is None:
            raise RuntimeError("open_readers was not called")
        return self._readers_pool

    def usage(self) -> dict[str, dict[str, int]]:
        """How many connections each pool has open and in use, for metrics."""
        sessions = cast("QueuePool", self.engine.pool)
        readers = self.readers
        return {
            "sessions": {
                "open": sessions.checkedin() + sessions.checkedout(),
                "in_use": sessions.checkedout(),
            },
            "readers": {
                "open": readers.get_size(),
                "in_use": readers.get_size() - readers.get_idle_size(),
            },
        }

    async def dispose(self) -> None:
        await self.engine.dispose()
        if self._readers_pool is not None:
            self._readers_pool.terminate()
