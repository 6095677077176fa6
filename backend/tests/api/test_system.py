import asyncio
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.config import Settings
from app.core.health import Health
from app.core.system import VERSION
from app.main import create_app
from app.postgres import Pulse
from tests.business import execute, ok, problem, serving
from tests.conftest import make_settings


def states(readiness: httpx.Response) -> dict[str, str]:
    checks = readiness.json()["checks"]
    assert all(check["latency_ms"] >= 0 for check in checks.values())
    return {name: check["state"] for name, check in checks.items()}


async def test_health_says_ok_and_nothing_else(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_health_needs_neither_postgres_nor_redis(tmp_path: Path) -> None:
    nowhere = make_settings(POSTGRES_SERVER=str(tmp_path), REDIS_HOST=str(tmp_path / "absent"))
    async with serving(create_app(nowhere)) as client:
        assert (await client.get("/health")).json() == {"status": "ok"}


async def test_with_all_it_needs_it_is_ready(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert states(answer) == {"postgres": "ok", "migrations": "ok", "redis": "ok"}


async def test_without_redis_it_works_on_and_says_so(settings: Settings, tmp_path: Path) -> None:
    degraded = make_settings(POSTGRES_DB=settings.POSTGRES_DB, REDIS_HOST=str(tmp_path / "absent"))
    async with serving(create_app(degraded)) as client:
        answer = await client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert states(answer) == {"postgres": "ok", "migrations": "ok", "redis": "down"}
        assert (await client.get("/api/v1/services")).status_code == 200


async def test_a_frozen_redis_is_no_redis(settings: Settings, tmp_path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "frozen"))
    listening.listen()  # whoever connects is never answered
    frozen = make_settings(POSTGRES_DB=settings.POSTGRES_DB, REDIS_HOST=str(tmp_path / "frozen"))
    with listening:
        async with serving(create_app(frozen)) as client, asyncio.timeout(10):
            answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert states(answer) == {"postgres": "ok", "migrations": "ok", "redis": "down"}


async def test_probes_that_come_together_share_one_answer(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = Pulse.ask

    async def ask_noted(self: Pulse, question: str = "SELECT 1") -> list[Any]:
        asked.append(question)
        return await ask(self, question)

    monkeypatch.setattr(Pulse, "ask", ask_noted)
    answers = await asyncio.gather(*(client.get("/health/ready") for _ in range(20)))
    assert {answer.json()["status"] for answer in answers} == {"ready"}
    assert len(asked) == 2
    ok(await client.get("/health/ready"))
    assert len(asked) == 4  # the next one asks anew


async def test_a_probe_that_hangs_up_leaves_the_others_their_answer(app: FastAPI) -> None:
    health: Health = app.state.health
    impatient, patient = (asyncio.create_task(health.readiness()) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).status == "ready"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE alembic_version SET version_num = '0000'",
        "DELETE FROM alembic_version",
        "INSERT INTO alembic_version VALUES ('another_branch')",
    ],
)
async def test_it_is_not_ready_for_a_database_of_another_release(
    app: FastAPI, client: httpx.AsyncClient, change: str
) -> None:
    await execute(app, change)
    answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "unready")
    assert states(answer) == {"postgres": "ok", "migrations": "behind", "redis": "ok"}


async def test_it_is_not_ready_for_an_empty_database(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    await execute(app, "DROP TABLE alembic_version")
    answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert states(answer) == {"postgres": "ok", "migrations": "down", "redis": "ok"}


async def test_without_postgres_it_is_not_ready_and_answers_503(tmp_path: Path) -> None:
    async with serving(create_app(make_settings(POSTGRES_SERVER=str(tmp_path)))) as client:
        answer = await client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "unready")
        assert states(answer) == {"postgres": "down", "migrations": "down", "redis": "ok"}
        refused = await client.get("/api/v1/services")
        problem(refused, 503, "unavailable")
        assert int(refused.headers["retry-after"]) > 0


async def test_the_root_says_what_this_is(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).json() == {
        "name": "Oneslot",
        "version": VERSION,
        "environment": "local",
        "links": {"api": "/api/v1", "health": "/health", "docs": "/docs"},
    }


@pytest.mark.parametrize("environment", ["staging", "production"])
async def test_in_public_there_are_no_docs(environment: str) -> None:
    app = create_app(make_settings(ENVIRONMENT=environment, BCRYPT_ROUNDS=10))
    async with serving(app) as client:
        for path in ("/docs", "/redoc", "/openapi.json"):
            problem(await client.get(path), 404, "not_found")
        root = (await client.get("/")).json()
        assert (root["environment"], root["links"]["docs"]) == (environment, None)


@pytest.mark.parametrize("environment", ["local", "development"])
async def test_for_developers_there_are_docs(environment: str) -> None:
    app = create_app(make_settings(ENVIRONMENT=environment, BCRYPT_ROUNDS=10))
    async with serving(app) as client:
        for path in ("/docs", "/redoc", "/openapi.json"):
            assert (await client.get(path)).status_code == 200
