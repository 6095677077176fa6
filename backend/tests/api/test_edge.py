"""The settings of the edge, through the whole application: what each does, and that off is off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from asyncpg import Record
from fastapi import FastAPI, Request
from sqlalchemy import text

from app.config import Settings
from app.core.middleware import time_limit
from app.core.unit_of_work import Session
from app.main import create_app
from tests.business import Business, problem, serving
from tests.conftest import make_settings

FRONTEND = "http://localhost:5173"
ADMIN_PAGE = "https://admin.example.com"
SECURITY = (
    "content-security-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
    "referrer-policy",
    "x-content-type-options",
    "x-frame-options",
)
PUBLIC = {
    "ENVIRONMENT": "production",
    "BCRYPT_ROUNDS": 10,
    "POSTGRES_PASSWORD": "a long enough password",
}


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application with these settings, which finds no database."""
    app = create_app(make_settings(**settings))

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError

    async with serving(app) as client:
        yield client


# Something of every kind that answers: routes, the router, the layers outside it, the last resort.
ANSWERS = {
    200: httpx.Request("GET", "http://localhost/health"),
    204: httpx.Request(
        "OPTIONS",
        "http://localhost/api/v1/services",
        headers={"Origin": FRONTEND, "Access-Control-Request-Method": "POST"},
    ),
    400: httpx.Request("GET", "http://localhost/health", headers={"Host": "a b"}),
    401: httpx.Request("GET", "http://localhost/api/v1/auth/me"),
    404: httpx.Request("GET", "http://localhost/nothing"),
    405: httpx.Request("DELETE", "http://localhost/health"),
    413: httpx.Request("POST", "http://localhost/api/v1/bookings", content=b"x" * 2000),
    414: httpx.Request("GET", f"http://localhost/{'x' * 9000}"),
    415: httpx.Request("POST", "http://localhost/api/v1/auth/login", content=b"x"),
    422: httpx.Request("GET", "http://localhost/health?colour=red"),
    431: httpx.Request("GET", "http://localhost/health", headers={"X": "x" * 20_000}),
    500: httpx.Request("GET", "http://localhost/crash"),
}


@pytest.fixture(params=ANSWERS)
def status(request: pytest.FixtureRequest) -> int:
    return int(request.param)


async def answer(client: httpx.AsyncClient, status: int, **headers: str) -> httpx.Response:
    asked = ANSWERS[status]
    merged = httpx.Headers(asked.headers)
    merged.update(headers)
    answer = await client.request(asked.method, asked.url, headers=merged, content=asked.content)
    assert answer.status_code == status, answer.text
    return answer


# --- Security headers -------------------------------------------------------------------------
async def test_every_answer_tells_browsers_to_beware(status: int) -> None:
    async with served(MAX_REQUEST_SIZE=1024) as client:
        headers = (await answer(client, status)).headers
    assert set(SECURITY) <= set(headers)
    assert headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in headers  # local development is plain HTTP


async def test_in_public_every_answer_demands_https() -> None:
    async with served(**PUBLIC, MAX_REQUEST_SIZE=1024) as client:
        for status in ANSWERS:
            headers = (await answer(client, status)).headers
            assert headers["strict-transport-security"] == "max-age=31536000"


async def test_without_security_headers_there_are_none() -> None:
    async with served(**PUBLIC, ENABLE_SECURITY_HEADERS=False, MAX_REQUEST_SIZE=1024) as client:
        for status in ANSWERS:
            headers = (await answer(client, status)).headers
            assert not {*SECURITY, "strict-transport-security", "cache-control"} & set(headers)
            assert "x-request-id" in headers


# --- CORS -------------------------------------------------------------------------------------
async def test_pages_on_the_list_may_read_every_answer(status: int) -> None:
    async with served(BACKEND_CORS_ORIGINS=[ADMIN_PAGE], MAX_REQUEST_SIZE=1024) as client:
        for origin in (FRONTEND, ADMIN_PAGE):
            headers = (await answer(client, status, Origin=origin)).headers
            assert headers["access-control-allow-origin"] == origin
            assert "access-control-allow-credentials" not in headers
            assert "Origin" in headers["vary"]
            exposed = {name.strip() for name in headers["access-control-expose-headers"].split(",")}
            assert exposed >= {
                "ETag",
                "Idempotency-Replayed",
                "Location",
                "RateLimit",
                "RateLimit-Policy",
                "Retry-After",
                "X-Cache",
                "X-Request-ID",
            }


@pytest.mark.parametrize("origin", ["null", "https://admin.example.com.evil.test", "http://x"])
async def test_no_other_page_may_read_any(origin: str) -> None:
    async with served(BACKEND_CORS_ORIGINS=[ADMIN_PAGE], MAX_REQUEST_SIZE=1024) as client:
        for status in ANSWERS:
            headers = (await answer(client, status, Origin=origin)).headers
            assert not [name for name in headers if name.startswith("access-control-")]
            assert "Origin" in headers["vary"]


async def test_a_page_that_is_on_no_list_may_not() -> None:
    async with served() as client:
        headers = (await answer(client, 200, Origin=ADMIN_PAGE)).headers
        assert "access-control-allow-origin" not in headers


async def test_cookies_come_along_only_where_that_is_wanted() -> None:
    async with served(USE_CREDENTIALS=True) as client:
        for status in (200, 204, 401):
            headers = (await answer(client, status, Origin=FRONTEND)).headers
            assert headers["access-control-allow-credentials"] == "true"
            assert headers["access-control-allow-origin"] == FRONTEND


# --- Hosts ------------------------------------------------------------------------------------
async def test_only_allowed_hosts_are_answered() -> None:
    async with served(ALLOWED_HOSTS=["book.example.com", "*.example.org"]) as client:
        for host in ("book.example.com", "BOOK.example.com:8443", "a.example.org"):
            assert (await client.get("/", headers={"Host": host})).status_code == 200
        for host in ("evil.test", "book.example.com.evil.test", "localhost", "127.0.0.1"):
            problem(await client.get("/", headers={"Host": host}), 400, "invalid_host")
        assert (await client.get("/health", headers={"Host": "10.0.0.7:8000"})).is_success


async def test_by_default_any_host_is_answered_but_no_two() -> None:
    async with served() as client:
        assert (await client.get("/", headers={"Host": "anything.example"})).is_success
        twice = [("Host", "localhost"), ("Host", "localhost")]
        problem(await client.get("/", headers=twice), 400, "invalid_host")


# --- Proxies ----------------------------------------------------------------------------------
@asynccontextmanager
async def echoing(peer: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An application that says whom it takes for its client, called from this peer."""
    app = create_app(make_settings(**settings))

    @app.get("/who")
    async def who(request: Request) -> dict[str, Any]:
        client = request.client.host if request.client else None
        return {"client": client, "scheme": request.url.scheme}

    transport = httpx.ASGITransport(app, client=(peer, 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


FORWARDED = {"X-Forwarded-For": "198.51.100.9, 203.0.113.7", "X-Forwarded-Proto": "https"}


async def test_a_trusted_proxy_is_believed() -> None:
    async with echoing("10.0.0.1", TRUSTED_PROXIES=["10.0.0.0/8"]) as client:
        who = (await client.get("/who", headers=FORWARDED)).json()
    assert who == {"client": "203.0.113.7", "scheme": "https"}


@pytest.mark.parametrize("proxies", [(), ("10.0.0.0/8",)])
async def test_nobody_else_is(proxies: tuple[str, ...]) -> None:
    async with echoing("192.0.2.1", TRUSTED_PROXIES=proxies) as client:
        who = (await client.get("/who", headers=FORWARDED)).json()
    assert who == {"client": "192.0.2.1", "scheme": "http"}


# --- Size and time ----------------------------------------------------------------------------
async def test_a_body_may_be_so_big_and_no_bigger() -> None:
    async with served(MAX_REQUEST_SIZE=2000) as client:
        for size, status in ((2000, 415), (2001, 413)):
            refused = await client.post("/api/v1/auth/login", content=b"x" * size)
            assert refused.status_code == status


async def test_a_body_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b'{"email": '
        await asyncio.Event().wait()

    async with served(REQUEST_BODY_TIMEOUT=1) as client:
        headers = {"Content-Type": "application/json"}
        refused = await client.post("/api/v1/auth/login", content=drip(), headers=headers)
    problem(refused, 408, "request_timeout")
    assert refused.headers["connection"] == "close"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second lasts a hundredth of it for the time limit."""
    before = time_limit.TimeLimitMiddleware.__init__

    def shortened(self: Any, app: Any, seconds: float) -> None:
        before(self, app, seconds / 100)

    monkeypatch.setattr(time_limit.TimeLimitMiddleware, "__init__", shortened)


async def test_a_request_that_takes_too_long_leaves_nothing_behind(
    settings: Settings, later: None
) -> None:
    """One connection only: were it lost, or still in the transaction, the rest would fail."""
    settings = settings.model_copy(update={"REQUEST_TIMEOUT": 20, "POSTGRES_POOL_SIZE": 1})
    app = create_app(settings)

    @app.post("/slow")
    async def slow(session: Session) -> None:
        await session.execute(text("CREATE TABLE left_behind ()"))
        await session.execute(text("SELECT pg_sleep(60)"))

    @app.get("/slow-read")
    async def slow_read() -> None:
        await app.state.database.readers.fetch("SELECT pg_sleep(60)", record_class=Record)

    async with serving(app) as client:
        for _ in range(2):
            refused = await client.post("/slow", headers={"Origin": FRONTEND})
            problem(refused, 504, "request_timeout")
            assert refused.headers["access-control-allow-origin"] == FRONTEND
            problem(await client.get("/slow-read"), 504, "request_timeout")
        admin = await Business(client).admin()
        assert (await admin.get("/services")).status_code == 200
        async with app.state.database.reading() as session:
            assert await session.scalar(text("SELECT to_regclass('left_behind')")) is None


# --- HEAD -------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/", "/health", "/docs", "/openapi.json", "/api/v1/services"])
async def test_head_is_get_without_the_body(
    app: FastAPI, client: httpx.AsyncClient, path: str
) -> None:
    get, head = await client.get(path), await client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type"):
        assert head.headers[name] == get.headers[name]
    assert int(head.headers["content-length"]) == len(get.content) > 0


async def test_head_hears_of_errors_by_their_status(client: httpx.AsyncClient) -> None:
    for path, status in (("/nothing", 404), ("/api/v1/auth/login", 405), ("/api/v1/auth/me", 401)):
        refused = await client.head(path)
        assert (refused.status_code, refused.content) == (status, b"")
        assert int(refused.headers["content-length"]) > 0
