"""`python -m tests.migrations.create_all`: the tables as the models say, without migrations."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app import tables  # noqa: F401 - fills Base.metadata
from app.config import Settings
from app.database import Base


async def main() -> None:
    engine = create_async_engine(Settings().SQLALCHEMY_DATABASE_URI)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE EXTENSION btree_gist"))
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
