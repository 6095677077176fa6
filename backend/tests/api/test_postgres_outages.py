"""Postgres frozen, gone, back, and too small: nobody waits long, and nothing is done twice."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app import database, postgres
from app.config import Settings
from app.core import health
from app.core.middleware import transaction_retry
from app.main import create_app
from tests.business import Business, Hands, ok, problem, serving
from tests.outage import Wire, wire_to_postgres
from tests.unit.core.recorder import record_log

PATIENCE = 0.3
"""Seconds, in these tests; a test that waits for ten times as long has waited in vain."""


@pytest.fixture
async def wired(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Wire, Settings]]:
    monkeypatch.setattr(postgres, "_BETWEEN_BEATS_SECONDS", 0.05)
    monkeypatch.setattr(postgres, "_PATIENCE_SECONDS", PATIENCE)
    async with wire_to_postgres(settings, tmp_path) as (wire, over_the_wire):
        yield wire, over_the_wire


@pytest.fixture
def wire(wired: tuple[Wire, Settings]) -> Wire:
    return wired[0]


@pytest.fixture
async def app(wired: tuple[Wire, Settings], clock: Hands) -> AsyncIterator[FastAPI]:
    app = create_app(wired[1], clock=clock)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    service = await business.service()
    await business.provider(service)
    return service


def free_times(service: dict[str, Any]) -> str:
    return f"/api/v1/availability?service_id={service['id']}&start=2026-03-03&end=2026-03-03"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE * 20):
        while not condition():  # noqa: ASYNC110 - none of these sends an event
            await asyncio.sleep(0.001)


async def until_ok(client: httpx.AsyncClient, path: str) -> httpx.Response:
    async with asyncio.timeout(PATIENCE * 20):
        while True:
            answer = await client.get(path)
            if answer.is_success:
                return answer
            await asyncio.sleep(0.01)


def unavailable(answer: httpx.Response) -> None:
    problem(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0


async def closed(app: FastAPI) -> None:
    """All its connections have noticed that they are no more."""
    connections = app.state.database._connections
    await until(lambda: all(connection.is_closed() for connection in list(connections)))


# --- Frozen -----------------------------------------------------------------------------------
async def test_whoever_waits_for_a_frozen_postgres_is_told_so_and_soon(
    client: httpx.AsyncClient, business: Business, service: dict[str, Any], wire: Wire
) -> None:
    customer = await business.customer()
    wish = {"service_id": service["id"], "start": "2026-03-03T10:00:00Z"}
    ok(await client.get(free_times(service)))
    wire.freeze()
    async with asyncio.timeout(PATIENCE * 10):
        answers = await asyncio.gather(
            customer.post("/bookings", wish),  # a transaction
            customer.get("/services"),  # a session that reads
            client.get(free_times(service)),  # no session
            customer.get("/bookings"),
        )
        for answer in answers:
            unavailable(answer)
    wire.thaw()
    ok(await until_ok(client, "/api/v1/services"))
    assert (await customer.post("/bookings", wish)).status_code == 201
    assert await business.free_times(service, "2026-03-03", "2026-03-03")


async def test_while_it_is_silent_nobody_waits(
    app: FastAPI, client: httpx.AsyncClient, service: dict[str, Any], wire: Wire
) -> None:
    wire.freeze()
    unavailable(await client.get("/api/v1/services"))
    connections = app.state.database._connections
    assert not app.state.database.pulse.is_beating
    before = len(connections)
    answers = await asyncio.gather(
        *(client.get("/api/v1/services") for _ in range(20)),
        *(client.get(free_times(service)) for _ in range(20)),
    )
    for answer in answers:
        unavailable(answer)
    assert len(connections) <= before  # nobody even tried
    wire.thaw()
    ok(await until_ok(client, free_times(service)))


async def test_a_slow_statement_is_no_silence(app: FastAPI) -> None:
    async with app.state.database.reading() as session:
        await session.execute(text(f"SELECT pg_sleep({PATIENCE * 3})"))
    assert app.state.database.pulse.is_beating


async def test_a_silence_and_its_end_are_a_line_each(
    client: httpx.AsyncClient, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = record_log(monkeypatch, postgres)
    wire.freeze()
    await asyncio.gather(*(client.get("/api/v1/services") for _ in range(10)))
    await asyncio.gather(*(client.get("/api/v1/services") for _ in range(10)))
    wire.thaw()
    await until_ok(client, "/api/v1/services")
    assert [line["event"] for line in lines] == ["postgres_silent", "postgres_answers_again"]


async def test_readiness_sees_it_freeze_and_thaw(
    client: httpx.AsyncClient, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "POSTGRES_SECONDS", PATIENCE)
    assert (await client.get("/health/ready")).json()["status"] == "ready"
    wire.freeze()
    async with asyncio.timeout(PATIENCE * 10):
        answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "unready")
    checks = answer.json()["checks"]
    assert [checks[part]["state"] for part in checks] == ["down", "down", "ok"]
    wire.thaw()
    assert (await until_ok(client, "/health/ready")).json()["status"] == "ready"


# --- Gone and back ----------------------------------------------------------------------------
async def test_connections_that_were_closed_meanwhile_are_replaced_unnoticed(
    app: FastAPI, client: httpx.AsyncClient, service: dict[str, Any], wire: Wire
) -> None:
    paths = ["/api/v1/services", free_times(service), "/health/ready"] * 4
    await asyncio.gather(*(client.get(path) for path in paths))
    wire.cut()
    await closed(app)
    answers = await asyncio.gather(*(client.get(path) for path in paths))
    assert [answer.status_code for answer in answers] == [200] * len(paths)


async def test_what_was_lost_before_its_commit_is_done_once_more(
    app: FastAPI,
    business: Business,
    service: dict[str, Any],
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    customer = await business.customer()
    lines = record_log(monkeypatch, transaction_retry)
    wire.cut_after(b"BEGIN")
    wish = {"service_id": service["id"], "start": "2026-03-03T10:00:00Z"}
    assert (await customer.post("/bookings", wish)).status_code == 201
    assert [line["event"] for line in lines] == ["transaction_retried"]
    assert len(ok(await customer.get("/bookings"))["items"]) == 1


async def test_what_was_lost_in_its_commit_is_not_done_again_but_can_be_asked_for(
    business: Business, service: dict[str, Any], wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await business.customer()
    lines = record_log(monkeypatch, transaction_retry)
    wire.cut_after(b"COMMIT;")
    wish = {"service_id": service["id"], "start": "2026-03-03T10:00:00Z"}
    key = {"Idempotency-Key": "lost"}
    unavailable(await customer.post("/bookings", wish, headers=key))
    assert lines == []
    again = await customer.post("/bookings", wish, headers=key)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert len(ok(await customer.get("/bookings"))["items"]) == 1


# --- Too small --------------------------------------------------------------------------------
@pytest.fixture
async def narrow(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """An application with one connection of each kind, for which two may wait, but not long."""
    monkeypatch.setattr(database, "WAITING_PER_CONNECTION", 2)
    monkeypatch.setattr(database, "POOL_TIMEOUT_SECONDS", PATIENCE)
    app = create_app(settings.model_copy(update={"POSTGRES_POOL_SIZE": 1}))
    async with serving(app) as client:
        yield app, client


async def test_who_cannot_get_a_connection_is_told_so_and_does_not_queue_for_ever(
    narrow: tuple[FastAPI, httpx.AsyncClient],
) -> None:
    app, client = narrow
    async with app.state.database.transaction() as session:
        await session.execute(text("SELECT 1"))
        waiting = [asyncio.create_task(client.get("/api/v1/manage/nothing")) for _ in range(2)]
        await until(lambda: app.state.database._sessions == 3)
        for answer in [await client.get("/api/v1/manage/nothing") for _ in range(3)]:
            unavailable(answer)
        assert not any(task.done() for task in waiting), "too many are refused, not put in line"
        async with asyncio.timeout(PATIENCE * 10):
            for answer in await asyncio.gather(*waiting):
                unavailable(answer)
    problem(await client.get("/api/v1/manage/nothing"), 404, "not_found")


async def test_the_same_goes_for_hot_reads(narrow: tuple[FastAPI, httpx.AsyncClient]) -> None:
    app, client = narrow
    readers = app.state.database.readers
    # Of different services: who asks the same reads together.
    path, *others = [free_times({"id": str(UUID(int=number))}) for number in range(3)]
    read = readers.fetch("SELECT pg_sleep(60)", record_class=asyncpg.Record)
    busy = asyncio.create_task(read)
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(client.get(other)) for other in others]
    await until(lambda: len(readers._waiting) == 2)
    unavailable(await client.get(path))
    assert not any(task.done() for task in waiting)
    for answer in await asyncio.gather(*waiting):
        unavailable(answer)
    busy.cancel()
    await asyncio.wait([busy])
    problem(await client.get(path), 404, "not_found")
