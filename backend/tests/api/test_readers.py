"""Connections for single reads: kept, shared in turn, and replaced when they are lost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app import database as module
from app.config import Settings
from app.database import Database, Readers

PID = "SELECT pg_backend_pid()"


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = Database.from_settings(settings.model_copy(update={"POSTGRES_POOL_SIZE": 2}))
    yield database
    await database.dispose()


@pytest.fixture
def readers(database: Database) -> Readers:
    return database.readers


async def fetch(readers: Readers, statement: str, *arguments: object) -> Any:
    rows = await readers.fetch(statement, *arguments, record_class=asyncpg.Record)
    return rows[0][0]


async def test_one_after_the_other_uses_one_connection(readers: Readers) -> None:
    assert len({await fetch(readers, PID) for _ in range(5)}) == 1
    assert readers.usage() == {"open": 1, "in_use": 0}


async def test_no_more_are_opened_than_may_be_and_all_get_their_turn(readers: Readers) -> None:
    read = "SELECT pg_backend_pid() FROM pg_sleep(0.01)"
    pids = await asyncio.gather(*(fetch(readers, read) for _ in range(12)))
    assert len(set(pids)) == 2
    assert readers.usage() == {"open": 2, "in_use": 0}


async def test_a_statement_that_fails_leaves_a_place_behind(readers: Readers) -> None:
    for _ in range(5):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await fetch(readers, "SELECT 1 / 0")
    assert await fetch(readers, "SELECT 1") == 1
    assert readers.usage()["in_use"] == 0


async def test_who_leaves_in_the_middle_leaves_a_place_behind(readers: Readers) -> None:
    for _ in range(3):
        slow = [asyncio.create_task(fetch(readers, "SELECT pg_sleep(60)")) for _ in range(2)]
        waiting = asyncio.create_task(fetch(readers, "SELECT 1"))
        await asyncio.sleep(0.05)
        assert readers.usage()["in_use"] == 2
        for task in slow:
            task.cancel()
        assert await waiting == 1
        await asyncio.wait(slow)
    assert readers.usage()["in_use"] == 0


async def test_who_leaves_the_queue_keeps_nobody_waiting(readers: Readers) -> None:
    slow = [asyncio.create_task(fetch(readers, "SELECT pg_sleep(0.1)")) for _ in range(2)]
    await asyncio.sleep(0)
    gone, stays = (asyncio.create_task(fetch(readers, "SELECT 1")) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == 1
    await asyncio.gather(*slow)
    assert readers.usage()["in_use"] == 0


async def test_too_many_are_sent_away_and_nobody_waits_for_ever(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POOL_TIMEOUT_SECONDS", 0.05)
    slow = [asyncio.create_task(fetch(readers, "SELECT pg_sleep(60)")) for _ in range(2)]
    await asyncio.sleep(0)
    others = [
        asyncio.create_task(fetch(readers, "SELECT 1"))
        for _ in range(2 * module.WAITING_PER_CONNECTION + 1)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in others] == [False] * (len(others) - 1) + [True]
    outcomes = await asyncio.gather(*others, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {PoolTimeout}
    for task in slow:
        task.cancel()
    await asyncio.wait(slow)
    assert await fetch(readers, "SELECT 1") == 1


async def test_a_connection_that_was_closed_meanwhile_is_replaced(
    readers: Readers, database: Database
) -> None:
    lost = await fetch(readers, PID)
    async with database.reading() as session:
        connection = await session.connection()
        await connection.exec_driver_sql(f"SELECT pg_terminate_backend({lost})")
    await asyncio.sleep(0.1)  # for the news to come
    assert await fetch(readers, PID) != lost


async def test_readers_do_not_write(readers: Readers) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await fetch(readers, "CREATE TABLE written ()")
