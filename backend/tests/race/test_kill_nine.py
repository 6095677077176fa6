"""kill -9 of the server at the worst moments: nothing is lost, nothing is done twice."""

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from app.config import Settings
from tests.business import Business, ok
from tests.race.support import ROUND_THE_CLOCK, Server, customers, next_monday

pytestmark = pytest.mark.race

CRASHING = "tests.race.crashing_server:create_crashing_app"


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    server = Server(settings, CRASHING)
    server.start()
    yield server
    await server.stop()


async def test_a_retry_after_a_crash_behind_the_commit_hears_the_first_answer(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
) -> None:
    service = await business.service()
    await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    body = {"service_id": service["id"], "start": next_monday().isoformat()}
    key = {"Idempotency-Key": "behind-the-commit"}
    async with customers(settings, server, 1) as (customer,):
        with pytest.raises(httpx.TransportError):
            await customer.post("/bookings", body, headers=key | {"X-Test-Crash": "after-commit"})
        assert await server.died() == -signal.SIGKILL
        written = await database.fetchrow("SELECT id, reference FROM bookings")
        assert written, "the transaction was committed before the crash"

        server.start()
        retried = await customer.post("/bookings", body, headers=key)

        assert (retried.status_code, retried.headers["idempotency-replayed"]) == (201, "true")
        assert retried.json()["id"] == str(written["id"])
        assert retried.json()["reference"] == written["reference"]
        assert retried.headers["location"] == f"/api/v1/bookings/{written['id']}"
        assert await database.fetchval("SELECT count(*) FROM bookings") == 1
        assert retried.json() == ok(await customer.get(f"/bookings/{written['id']}"))


async def test_a_crash_before_the_commit_leaves_nothing_and_a_retry_books(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
) -> None:
    service = await business.service()
    await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    body = {"service_id": service["id"], "start": next_monday().isoformat()}
    key = {"Idempotency-Key": "before-the-commit"}
    async with customers(settings, server, 1) as (customer,):
        with pytest.raises(httpx.TransportError):
            await customer.post("/bookings", body, headers=key | {"X-Test-Crash": "before-commit"})
        assert await server.died() == -signal.SIGKILL
        for table in ("bookings", "allocations", "idempotency_keys"):
            assert await database.fetchval(f"SELECT count(*) FROM {table}") == 0

        await _backends_of_the_dead_end(database)
        server.start()
        retried = await customer.post("/bookings", body, headers=key)

        assert retried.status_code == 201
        assert "idempotency-replayed" not in retried.headers
        assert await database.fetchval("SELECT count(*) FROM bookings") == 1


async def test_a_crash_amid_20_bookings_loses_none_and_doubles_none(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
) -> None:
    service = await business.service(durations_minutes=[60])
    await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    day = next_monday()
    wishes = [
        {"service_id": service["id"], "start": day.replace(hour=h).isoformat()} for h in range(20)
    ]

    async with customers(settings, server, len(wishes)) as callers:

        async def book(number: int) -> httpx.Response:
            key = {"Idempotency-Key": f"wish-{number}"}
            return await callers[number].post("/bookings", wishes[number], headers=key)

        first_tries = [asyncio.create_task(book(n)) for n in range(len(wishes))]
        await asyncio.wait(first_tries, return_when=asyncio.FIRST_COMPLETED)
        await server.kill()
        heard = await asyncio.gather(*first_tries, return_exceptions=True)
        promised = {n: a.json() for n, a in enumerate(heard) if isinstance(a, httpx.Response)}
        assert promised

        await _backends_of_the_dead_end(database)
        server.start()
        answers = await asyncio.gather(*(book(n) for n in range(len(wishes))))

        assert [a.status_code for a in answers] == [201] * len(wishes)
        for number, booking in promised.items():
            assert answers[number].json() == booking
        assert await database.fetchval("SELECT count(*) FROM bookings") == len(wishes)


async def _backends_of_the_dead_end(database: "asyncpg.Connection[Any]") -> None:
    """Postgres notices a vanished client by itself, but not at a moment a test could name."""
    await database.execute(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
