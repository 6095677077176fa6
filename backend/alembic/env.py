"""Runs migrations: all of them in one transaction, by one replica at a time.

An advisory lock makes the others wait until the first is done; they then find nothing to do. Locks
on tables are waited for only briefly: a migration that cannot have them fails, instead of queueing
in front of every reader.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from app import tables  # noqa: F401 - fills Base.metadata
from app.config import Settings
from app.database import Base

MIGRATION_LOCK = 4_917_201_000
LOCK_TIMEOUT = "5s"
# The queue's tables are pgqueuer's, which brings its own SQL (see the revisions).
FOREIGN_TABLES = "pgqueuer"


def is_ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
    return kind != "table" or not (name or "").startswith(FOREIGN_TABLES)


def run(connection: Connection | None = None) -> None:
    context.configure(
        connection=connection,
        url=None if connection else Settings().SQLALCHEMY_DATABASE_URI,
        target_metadata=Base.metadata,
        literal_binds=connection is None,
        compare_server_default=True,
        include_object=is_ours,
    )
    with context.begin_transaction():
        if connection is not None:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        context.run_migrations()


async def run_online() -> None:
    engine = create_async_engine(Settings().SQLALCHEMY_DATABASE_URI)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
            await connection.commit()
    finally:
        await engine.dispose()


if context.is_offline_mode():
    run()
elif (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    asyncio.run(run_online())
