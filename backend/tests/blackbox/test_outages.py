"""Redis and Postgres killed, frozen and back, while customers book."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from app.config import Settings
from app.database import WAITING_PER_CONNECTION
from devserver.processes import Process
from devserver.server import EmbeddedServer
from devserver.throwaway import Server
from tests.blackbox.load import Live, Load, bookings_under_way, offer
from tests.business import Caller
from tests.race.support import connect, customers

CALLERS = 6
PAUSE = 0.1
ENOUGH = CALLERS * 5
NOTICED, SILENT, HEALED = 3.0, 5.0, 5.0
"""Seconds until /health/ready knows, until nobody waits for what is frozen, until all is well."""

NO_PILE = 12.0
"""Until all who found no connection know: three seconds, and what a busy machine adds."""

LONG = 30.0
LIMITED = 15
"""Of fifty logins at least; thirty are allowed in a minute, which passes meanwhile."""


@pytest.fixture(scope="session")
def settings(server: Server) -> Settings:
    return Settings(_env_file=None, **server.environment)  # type: ignore[arg-type, call-arg]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with Live(server.url).client() as client:
        yield client


@pytest.fixture
async def service(server: Server, settings: Settings) -> dict[str, Any]:
    return await offer(settings, Live(server.url))


@pytest.fixture
async def callers(server: Server, settings: Settings) -> AsyncIterator[list[Caller]]:
    async with customers(settings, Live(server.url), CALLERS) as callers:
        yield callers


@pytest.fixture
async def load(callers: list[Caller], service: dict[str, Any]) -> AsyncIterator[Load]:
    """Bookings, all the while."""
    async with bookings_under_way(callers, service, pause=PAUSE) as load:
        await load.more(ENOUGH)
        yield load


async def readiness(client: httpx.AsyncClient) -> str:
    answer = await client.get("/health/ready")
    status = str(answer.json()["status"])
    assert answer.is_success == (status in {"ready", "degraded"})
    return status


async def until(client: httpx.AsyncClient, *wanted: str, within: float = LONG) -> None:
    """Readiness is one of these, so many seconds from now at the latest."""
    async with asyncio.timeout(within):
        while True:
            if await readiness(client) in wanted:
                return
            await asyncio.sleep(0.05)


def end(process: Process, number: signal.Signals) -> None:
    assert process.pid is not None
    os.kill(process.pid, number)
    process.wait()


async def start(server: EmbeddedServer) -> None:
    server.launch()
    await asyncio.to_thread(server.wait_until_ready)


@contextmanager
def frozen(process: Process) -> Iterator[None]:
    """The process and its children stand still."""
    assert process.pid is not None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    stopped = [process.pid]
    os.kill(process.pid, signal.SIGSTOP)  # first: it makes no more of them
    try:
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGSTOP)
            stopped.append(int(child))
        yield
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)


# --- Redis --------------------------------------------------------------------------------------
async def logins(client: httpx.AsyncClient) -> Counter[int]:
    """What fifty strangers hear, who have one address."""
    body = {"password": "not the one"}
    answers = [
        await client.post("/api/v1/auth/login", json=body | {"email": f"nobody{n}@example.com"})
        for n in range(50)
    ]
    counts = Counter(answer.status_code for answer in answers)
    assert set(counts) <= {401, 429}
    assert counts[429] >= LIMITED
    return counts


async def test_without_redis_everybody_books_and_nobody_guesses_passwords(
    server: Server, client: httpx.AsyncClient, load: Load
) -> None:
    end(server.valkey.process, signal.SIGKILL)
    try:
        await load.more(ENOUGH)
        assert await readiness(client) == "degraded"
        assert set(await logins(client)) == {401, 429}
    finally:
        await start(server.valkey)
    await until(client, "ready")
    await load.more(ENOUGH)

    with frozen(server.valkey.process):
        await load.more(ENOUGH)
        assert await readiness(client) == "degraded"
        await logins(client)
        await load.more(ENOUGH)
    await until(client, "ready")
    await load.more(ENOUGH)

    assert set(load.outcomes()) == {201}


# --- Postgres -----------------------------------------------------------------------------------
async def are_written(settings: Settings, load: Load) -> None:
    """All that was acknowledged is in the database."""
    booked = load.booked
    assert booked
    database: asyncpg.Connection[asyncpg.Record] = await connect(settings)
    try:
        rows = await database.fetch("SELECT id FROM bookings")
    finally:
        await database.close()
    assert booked <= {str(row["id"]) for row in rows}


async def is_followed(settings: Settings, booked: set[str]) -> None:
    """The job runner goes on as well: a mail about one of these is on its way."""
    mails = "SELECT EXISTS (SELECT FROM notifications WHERE booking_id = ANY ($1::uuid[]))"
    database: asyncpg.Connection[asyncpg.Record] = await connect(settings)
    try:
        async with asyncio.timeout(LONG):
            while not await database.fetchval(mails, list(booked)):  # noqa: ASYNC110 - a database
                await asyncio.sleep(0.1)
    finally:
        await database.close()


def say_when_to_come_back(load: Load) -> None:
    refused = [answer for answer in load.answers if answer.outcome != 201]
    assert all(answer.body["code"] == "unavailable" for answer in refused)
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)


async def test_postgres_crashes_and_returns_and_nothing_acknowledged_is_lost(
    server: Server,
    settings: Settings,
    client: httpx.AsyncClient,
    load: Load,
) -> None:
    await asyncio.to_thread(end, server.postgres.process, signal.SIGQUIT)
    await until(client, "unready", within=NOTICED)
    assert (await client.get("/health")).json() == {"status": "ok"}
    await start(server.postgres)
    await until(client, "ready", within=HEALED)
    healed, before = time.monotonic(), load.booked
    await load.more(ENOUGH)
    assert set(load.outcomes()) == {201, 503}
    assert set(load.outcomes(since=healed)) == {201}
    say_when_to_come_back(load)
    await are_written(settings, load)
    await is_followed(settings, load.booked - before)


async def test_nobody_waits_long_for_a_frozen_postgres(
    server: Server,
    settings: Settings,
    client: httpx.AsyncClient,
    service: dict[str, Any],
    load: Load,
) -> None:
    free = f"/api/v1/availability?service_id={service['id']}&start=2026-03-03&end=2026-03-03"
    with frozen(server.postgres.process):
        await until(client, "unready", within=NOTICED)
        answers = await asyncio.gather(client.get(free), client.get("/api/v1/services"))
        assert [answer.status_code for answer in answers] == [503, 503]
        await load.more(ENOUGH)
    await until(client, "ready", within=HEALED)
    healed = time.monotonic()
    await load.more(ENOUGH)
    assert set(load.outcomes()) == {201, 503}
    assert set(load.outcomes(since=healed)) == {201}
    assert max(answer.seconds for answer in load.answers) < SILENT
    say_when_to_come_back(load)
    await are_written(settings, load)


async def test_when_all_connections_are_taken_the_others_are_told_so_in_time(
    settings: Settings,
    client: httpx.AsyncClient,
    callers: list[Caller],
) -> None:
    working = settings.POSTGRES_POOL_SIZE
    others = working * WAITING_PER_CONNECTION + 20  # more than may wait
    async with locked(settings, "bookings"), asyncio.timeout(NO_PILE):
        asking = [asyncio.create_task(callers[0].get("/bookings")) for _ in range(working + others)]
        while sum(task.done() for task in asking) < others:
            assert (await client.get("/health")).is_success
            await asyncio.sleep(0.05)
    answers = await asyncio.gather(*asking)
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) >= others  # jobs may have taken some of the connections
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert {answer.status_code for answer in answers} == {200, 503}


@asynccontextmanager
async def locked(settings: Settings, table: str) -> AsyncIterator[None]:
    """Whoever wants to read the table has to wait."""
    database: asyncpg.Connection[asyncpg.Record] = await connect(settings)
    try:
        async with database.transaction():
            await database.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await database.close()
