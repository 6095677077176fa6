"""How often a caller may ask for anything: RATE_LIMIT_*, through the whole application."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.auth import tokens
from app.config import Settings
from app.core import breaker, redis
from app.main import create_app
from tests.business import Business, Caller, Hands, ok, problem
from tests.conftest import make_settings
from tests.unit.core.recorder import record_log

HERE, THERE = "203.0.113.1", "203.0.113.2"
READ = "/api/v1/services"
FRONTEND = "http://localhost:5173"

Client = Callable[..., httpx.AsyncClient]


@asynccontextmanager
async def limited(settings: Settings, clock: Hands, **changes: Any) -> AsyncIterator[FastAPI]:
    own: dict[str, Any] = {
        "POSTGRES_DB": settings.POSTGRES_DB,
        "CACHE_PREFIX": settings.POSTGRES_DB,  # counters of this test only
        "RATE_LIMIT_ENABLED": True,
        "RATE_LIMIT_REQUESTS": 5,
        "RATE_LIMIT_WINDOW": 3600,
        "API_KEYS_ENABLED": True,
    }
    app = create_app(make_settings(**(own | changes)), clock=clock)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For exact counts in Redis, which a busy machine must not turn into a fallback."""
    monkeypatch.setattr(redis, "TIMEOUT_SECONDS", 20.0)


@pytest.fixture
async def app(settings: Settings, clock: Hands) -> AsyncIterator[FastAPI]:
    async with limited(settings, clock) as app:
        yield app


def calling(app: FastAPI, address: str = HERE, **headers: str) -> httpx.AsyncClient:
    """A client that calls from one address and sends these headers."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 50_000))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)


def bearing(app: FastAPI, token: str, address: str = HERE) -> httpx.AsyncClient:
    return calling(app, address, Authorization=f"Bearer {token}")


async def spend(client: httpx.AsyncClient, times: int, path: str = READ) -> list[int]:
    """The statuses of so many requests."""
    return [(await client.get(path)).status_code for _ in range(times)]


async def someone(app: FastAPI, address: str) -> Caller:
    """An account, whose making was counted for that address."""
    return await Business(calling(app, address)).customer()


# --- The general policy -----------------------------------------------------------------------
async def test_a_caller_may_ask_so_often_and_is_told_what_is_left(app: FastAPI) -> None:
    client = calling(app)
    for left in (4, 3, 2, 1, 0):
        answer = await client.get(READ)
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"default";q=5;w=3600'
        assert answer.headers["ratelimit"] == f'"default";r={left};t=3600'
    refused = await client.get(READ, headers={"Origin": FRONTEND})
    problem(refused, 429, "rate_limited")
    wait = int(refused.headers["retry-after"])
    assert 0 < wait <= 3600
    assert refused.headers["ratelimit"] == f'"default";r=0;t={wait}'
    assert refused.headers["access-control-allow-origin"] == FRONTEND
    assert refused.headers["cache-control"] == "no-store"


async def test_each_address_is_counted_apart(app: FastAPI) -> None:
    assert await spend(calling(app, HERE), 6) == [200] * 5 + [429]
    assert await spend(calling(app, THERE), 1) == [200]


async def test_addresses_of_one_ipv6_network_are_counted_together(app: FastAPI) -> None:
    assert await spend(calling(app, "2001:db8:1:2::1"), 5) == [200] * 5
    assert await spend(calling(app, "2001:db8:1:2:ffff::9"), 1) == [429]
    assert await spend(calling(app, "2001:db8:1:3::1"), 1) == [200]


async def test_whatever_is_answered_counts(app: FastAPI) -> None:
    client = calling(app)
    assert [
        (await client.get("/api/v1/nothing")).status_code,
        (await client.get(f"{READ}?limit=0")).status_code,
        (await client.delete(READ)).status_code,
        (await client.get("/api/v1/auth/me")).status_code,
        (await client.head(READ)).status_code,
        (await client.get(READ)).status_code,
    ] == [404, 422, 405, 401, 200, 429]


async def test_probes_and_documents_are_not_limited(app: FastAPI) -> None:
    client = calling(app)
    await spend(client, 6)
    for path in ("/", "/health", "/health/ready", "/docs", "/openapi.json"):
        answer = await client.get(path)
        assert answer.status_code == 200
        assert "ratelimit" not in answer.headers
    asked = {"Origin": FRONTEND, "Access-Control-Request-Method": "GET"}
    assert (await client.options(READ, headers=asked)).status_code == 204


async def test_where_limits_are_off_there_are_none(settings: Settings, clock: Hands) -> None:
    async with limited(settings, clock, RATE_LIMIT_ENABLED=False) as app:
        client = calling(app)
        assert await spend(client, 8) == [200] * 8
        assert "ratelimit" not in (await client.get(READ)).headers


async def test_at_once_no_more_are_admitted_than_one_after_the_other(app: FastAPI) -> None:
    client = calling(app)
    answers = await asyncio.gather(*(client.get(READ) for _ in range(20)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (5, 15)


# --- Tighter policies -------------------------------------------------------------------------
async def test_bookings_have_a_tighter_policy(app: FastAPI) -> None:
    client = calling(app)
    for path in ("/bookings", "/booking-series"):
        answer = await client.post(f"/api/v1{path}", json={})
        assert answer.status_code in {401, 422}
        assert answer.headers["ratelimit-policy"] == '"bookings";q=2;w=3600'
    refused = await client.post("/api/v1/bookings/x/cancel")
    problem(refused, 429, "rate_limited")
    assert refused.headers["ratelimit-policy"] == '"bookings";q=2;w=3600'
    # What was refused took nothing from the other policy, and reading goes by that alone.
    reading = await client.get("/api/v1/bookings")
    assert reading.status_code == 401
    assert reading.headers["ratelimit"].startswith('"default";r=2;')


async def test_several_policies_cost_one_call(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    take: Callable[..., Any] = app.state.rate_limiter._shared._take

    async def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return await take(*arguments)

    monkeypatch.setattr(app.state.rate_limiter._shared, "_take", counted)
    answer = await calling(app).post("/api/v1/bookings/x/cancel")
    assert answer.headers["ratelimit-policy"] == '"bookings";q=2;w=3600'
    assert len(calls) == 1


# --- Who is counted ---------------------------------------------------------------------------
async def test_an_account_is_counted_by_itself_wherever_it_is(app: FastAPI) -> None:
    ada, eve = await someone(app, "198.51.100.1"), await someone(app, "198.51.100.2")
    # One request was made with each token already.
    assert await spend(bearing(app, ada.token, HERE), 2) == [200] * 2
    assert await spend(bearing(app, ada.token, THERE), 3) == [200, 200, 429]
    assert await spend(bearing(app, eve.token, HERE), 1) == [200]
    assert await spend(calling(app, HERE), 5) == [200] * 5


@pytest.mark.parametrize(
    "forge",
    [
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token + "x",
        lambda token: f"{token.partition('.')[0]}.e30.",
        lambda _: "junk",
        lambda _: "",
    ],
)
async def test_a_forged_token_buys_no_new_quota(app: FastAPI, forge: Callable[[str], str]) -> None:
    ada = await someone(app, "198.51.100.1")
    assert await spend(calling(app, HERE), 5) == [200] * 5
    assert await spend(bearing(app, forge(ada.token), HERE), 1) == [429]


async def test_nor_does_one_that_has_run_out(app: FastAPI, clock: Hands) -> None:
    ada = await someone(app, "198.51.100.1")
    assert await spend(calling(app, HERE), 5) == [200] * 5
    clock.advance(minutes=16)
    assert await spend(bearing(app, ada.token, HERE), 1) == [429]


async def test_nor_do_two_of_them(app: FastAPI) -> None:
    ada = await someone(app, "198.51.100.1")
    assert await spend(calling(app, HERE), 5) == [200] * 5
    client = bearing(app, ada.token, HERE)
    for second in (("Authorization", f"Bearer {ada.token}"), ("X-API-Key", "osk_1_2")):
        headers = [("Authorization", f"Bearer {ada.token}"), second]
        assert (await client.get(READ, headers=headers)).status_code == 429


async def test_a_key_that_is_good_is_counted_by_itself(settings: Settings, clock: Hands) -> None:
    async with limited(settings, clock, RATE_LIMIT_REQUESTS=10) as app:
        ada = await someone(app, "198.51.100.1")
        body = {"name": "mine", "permissions": ["bookings:create"], "expires_at": None}
        key = ok(await ada.post("/auth/api-keys", body))["key"]
        await spend(calling(app, HERE), 9)
        client = calling(app, HERE, **{"X-API-Key": key})
        # The first one is the address's; with it the key is known.
        assert await spend(client, 11, "/api/v1/bookings") == [200] * 11
        assert await spend(client, 1, "/api/v1/bookings") == [429]
        for junk in ("osk_junk", key[:-1] + ("0" if key[-1] != "0" else "1")):
            assert await spend(calling(app, HERE, **{"X-API-Key": junk}), 1) == [429]


async def test_a_token_is_verified_once(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = await someone(app, "198.51.100.1")
    app.state.signer._verified.clear()
    decoded = []
    decode = tokens.jwt.decode
    monkeypatch.setattr(tokens.jwt, "decode", lambda *a, **k: decoded.append(a) or decode(*a, **k))
    assert await spend(bearing(app, ada.token), 3, "/api/v1/auth/me") == [200] * 3
    assert len(decoded) == 1


# --- Without Redis ----------------------------------------------------------------------------
async def test_without_redis_nobody_is_limited_and_one_line_says_so(
    settings: Settings, clock: Hands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = record_log(monkeypatch, breaker)
    async with limited(settings, clock, REDIS_HOST=str(tmp_path / "absent")) as app:
        client = calling(app)
        assert await spend(client, 12) == [200] * 12
        assert "ratelimit" not in (await client.get(READ)).headers
    # The read asked Redis for its answer as well; that is said once, too.
    assert sorted(line["event"] for line in lines) == [
        "cache_bypassed",
        "rate_limits_counted_per_process",
    ]
