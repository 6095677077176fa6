"""Told to stop, the server answers what it has been asked, and goes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest

from app.config import Settings
from devserver.launcher import SERVE
from devserver.processes import Process
from devserver.throwaway import HOST, free_port, serve
from tests.blackbox.load import Live, bookings_under_way, offer
from tests.business import Business, ok
from tests.race.support import (
    ROUND_THE_CLOCK,
    Server,
    connect,
    customers,
    environment,
    next_monday,
)

CALLERS = 12
PAUSE = 0.02
DELAY = 2
GRACE = 30.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"BCRYPT_ROUNDS": 11})


@pytest.fixture
async def stopped(settings: Settings) -> AsyncIterator[Server]:
    """A server that a test stops."""
    server = Server(settings)
    server.start()
    yield server
    await server.stop()


async def test_whoever_has_asked_is_answered(settings: Settings, stopped: Server) -> None:
    """Logins take a while each, one after the other: most are still waited for at the signal."""
    async with stopped.client() as client:
        business = Business(client)
        service = await business.service(durations_minutes=[60])
        await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
        body = {"email": "nobody@example.com", "password": "not the one"}
        async with customers(settings, stopped, CALLERS) as callers:
            for caller in callers:  # each has a connection that is open
                ok(await caller.get("/auth/me"))
            logins = [
                asyncio.create_task(caller.client.post("/api/v1/auth/login", json=body))
                for caller in callers[: CALLERS // 2]
            ]
            begun = next(iter(logins))
            await asyncio.wait([begun])
            start = next_monday().replace(hour=9).isoformat()
            booking = {"service_id": service["id"], "start": start}
            bookings = [
                asyncio.create_task(
                    caller.post("/bookings", booking, headers={"Idempotency-Key": str(uuid4())})
                )
                for caller in callers[CALLERS // 2 :]
            ]
            await asyncio.sleep(0)
            await asyncio.wait(bookings, return_when=asyncio.FIRST_COMPLETED)
            stopped.process.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*logins)
            booked = await asyncio.gather(*bookings)
            # uvicorn shuts down in order, and then ends as the signal would have ended it.
            assert await asyncio.wait_for(stopped.died(), GRACE) == -signal.SIGTERM
    assert [answer.status_code for answer in answers] == [401] * len(answers)
    assert sorted(answer.status_code for answer in booked) == [201] + [409] * (len(booked) - 1)
    database: asyncpg.Connection[asyncpg.Record] = await connect(settings)
    try:
        assert await database.fetchval("SELECT count(*) FROM bookings") == 1
    finally:
        await database.close()


Start = Callable[..., tuple[Live, Process]]


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Start]:
    """Starts a server as `make run` and the container do; nobody else holds its socket."""
    started = []

    def start(**more: str) -> tuple[Live, Process]:
        port = free_port()
        process = serve(
            SERVE, port, os.environ | environment(settings) | more, tmp_path / "api.log"
        )
        started.append(process)
        return Live(f"http://{HOST}:{port}"), process

    yield start
    for process in started:
        process.stop()


async def status(live: Live, path: str) -> httpx.Response | None:
    """What somebody hears who has no connection yet; None where nobody listens."""
    async with live.client() as client:
        try:
            return await client.get(path)
        except httpx.ConnectError:
            return None


async def until_not_ready(live: Live) -> str:
    """What it is when it is ready no more."""
    async with asyncio.timeout(GRACE):
        while True:
            answer = await status(live, "/health/ready")
            assert answer is not None, "it is gone"
            if answer.status_code == 503:
                return str(answer.json()["status"])


@pytest.mark.parametrize(("workers", "delay"), [(1, 0), (2, DELAY)])
async def test_at_load_no_request_is_dropped(
    settings: Settings, start: Start, workers: int, delay: int
) -> None:
    live, process = start(WEB_CONCURRENCY=str(workers), SHUTDOWN_DELAY=str(delay))
    assert process.pid is not None
    service = await offer(settings, live)
    async with (
        customers(settings, live, CALLERS) as callers,
        bookings_under_way(callers, service, pause=PAUSE) as load,
    ):
        await load.more(CALLERS * 2)
        os.kill(process.pid, signal.SIGTERM)
        if delay:
            assert await until_not_ready(live) == "ending"
            # Those whom nobody has told yet are served as before.
            await load.more(CALLERS)
            health = await status(live, "/health")
            assert health is not None
            assert (health.status_code, "connection" in health.headers) == (200, False)
        code = await asyncio.wait_for(asyncio.to_thread(process.wait), GRACE)
        assert await status(live, "/health") is None
    assert code == (-signal.SIGTERM if workers == 1 else 0)
    assert set(load.outcomes()) == {201}
    # The end was under way while they booked: each connection was closed with an answer.
    assert sum(a.headers.get("connection") == "close" for a in load.answers) == CALLERS
    database: asyncpg.Connection[asyncpg.Record] = await connect(settings)
    try:
        booked = await database.fetch("SELECT id FROM bookings")
        assert {str(row["id"]) for row in booked} == load.booked
    finally:
        await database.close()
