"""Told to stop, the server answers what it has been asked, and goes."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from app.config import Settings
from devserver.launcher import SERVE
from devserver.processes import Process
from devserver.throwaway import HOST, free_port, serve
from tests.blackbox.load import Live, bookings_under_way, offer
from tests.race.support import connect, customers, environment

CALLERS, LOGINS = 6, 4
PAUSE = 0.1
DELAY = 2
GRACE = 30.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Logins take a while each, one after the other: most are still waited for at the signal."""
    return settings.model_copy(update={"BCRYPT_ROUNDS": 11})


Start = Callable[..., tuple[Live, Process]]


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Start]:
    """Starts a server as `make run` and the container do; nobody else holds its socket."""
    started = []

    def start(**more: str) -> tuple[Live, Process]:
        port = free_port()
        seen = os.environ | environment(settings) | more
        process = serve(SERVE, port, seen, tmp_path / "api.log", options=())
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


async def log_in(live: Live) -> httpx.Response:
    body = {"email": "nobody@example.com", "password": "not the one"}
    async with live.client() as client:
        return await client.post("/api/v1/auth/login", json=body)


async def until_not_ready(live: Live) -> str:
    """What it is when it is ready no more."""
    async with asyncio.timeout(GRACE):
        while True:
            answer = await status(live, "/health/ready")
            assert answer is not None, "it is gone"
            if answer.status_code == 503:
                return str(answer.json()["status"])
            await asyncio.sleep(0.05)


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
        logins = [asyncio.create_task(log_in(live)) for _ in range(LOGINS)]
        await asyncio.wait(logins, return_when=asyncio.FIRST_COMPLETED)
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
    assert {(await login).status_code for login in logins} == {401}
    # The end was under way while they booked: each connection was closed with an answer.
    assert sum(a.headers.get("connection") == "close" for a in load.answers) == CALLERS
    database: asyncpg.Connection[asyncpg.Record] = await connect(settings)
    try:
        booked = await database.fetch("SELECT id FROM bookings")
        assert {str(row["id"]) for row in booked} == load.booked
    finally:
        await database.close()
