"""`python -m devserver.prepare`: migrate, seed and, where nothing is offered yet, open a business.

One process for all three, and quick when there is nothing to do: `make run` waits for it.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import ValidationError
from sqlalchemy import select, text

from app.catalog.models import Service
from app.config import Environment, Settings
from app.core.clock import system_clock
from app.core.migrations import alembic_config, migration_head
from app.database import Database
from app.role_perm_seed import seed_database
from devserver.errors import LauncherError


def main() -> int:
    try:
        prepare(Settings())
    except (LauncherError, ValidationError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def prepare(settings: Settings) -> None:
    """Bring the database to this release, and fill it where it is empty."""
    # Alembic runs an event loop of its own, so it cannot run inside of ours.
    if asyncio.run(_revision(settings)) != migration_head():
        from alembic import command

        command.upgrade(alembic_config(), "head")
    asyncio.run(_fill(settings))


async def _revision(settings: Settings) -> str | None:
    """The revision that the database is at; None if it is at none."""
    async with _database(settings) as database, database.reading() as session:
        if await session.scalar(text("SELECT to_regclass('alembic_version')")) is None:
            return None
        revision: str | None = await session.scalar(text("SELECT version_num FROM alembic_version"))
        return revision


async def _fill(settings: Settings) -> None:
    async with _database(settings) as database:
        await seed_database(database, settings)
        # Whoever runs this with a database of their own wants no clinic in it by accident.
        if settings.ENVIRONMENT is Environment.LOCAL and await _offers_nothing(database):
            from devserver.demo_business import open_business

            await open_business(database, settings, system_clock)


async def _offers_nothing(database: Database) -> bool:
    """Asked here as well as there, since the import there takes longer than the question."""
    async with database.reading() as session:
        return await session.scalar(select(Service.id).limit(1)) is None


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    database = Database.from_settings(settings)
    try:
        yield database
    finally:
        await database.dispose()


if __name__ == "__main__":
    sys.exit(main())
