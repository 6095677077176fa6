"""Told to stop, the server answers what it has been asked, and goes."""

import asyncio
import signal
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from app.config import Settings
from tests.business import Business, ok
from tests.race.support import Server, connect, customers, next_monday

ROUND_THE_CLOCK = {"monday": [("00:00", "24:00")]}
CALLERS = 12
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
