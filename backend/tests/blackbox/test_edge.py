"""What strangers send to the edge, and what reaches nobody."""

import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from app.config import Settings
from devserver.throwaway import HOST, Server
from tests.blackbox.conftest import ORIGIN
from tests.blackbox.wire import Raw, answer, exchange, get
from tests.race.support import connect

MEGABYTE = 1024 * 1024
DRIPPING = 500
CUT_WITHIN = 15.0
OTHERS_P95 = 0.5


def client(server: Server) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=30)


def code(raw: Raw) -> str:
    assert raw.headers["content-type"] == "application/problem+json"
    return str(json.loads(raw.body)["code"])


async def test_logins_are_limited_whatever_address_they_claim(server: Server) -> None:
    async with client(server) as stranger:
        answers = [
            await stranger.post(
                "/api/v1/auth/login",
                json={"email": f"nobody{number}@example.com", "password": "not the one"},
                headers={
                    "X-Forwarded-For": f"203.0.113.{number}",
                    "Forwarded": f"for=203.0.113.{number}",
                    "X-Real-IP": f"203.0.113.{number}",
                },
            )
            for number in range(50)
        ]
    counts = Counter(a.status_code for a in answers)
    assert set(counts) <= {401, 429}  # other tests may have tried their luck just before
    assert counts[429] >= 15
    refused = answers[-1]
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert {"ratelimit", "ratelimit-policy"} <= set(refused.headers)


def resident_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


async def test_thirty_chunked_megabytes_are_refused_and_not_kept(server: Server) -> None:
    pid = server.api.pid
    assert pid is not None

    async def send() -> tuple[int, int]:
        """The status, and how many bytes the server had taken by then."""
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(
            b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        sent = 0
        answered = asyncio.create_task(answer(reader))
        try:
            while sent < 30 * MEGABYTE and not answered.done():
                writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
                await writer.drain()
                sent += 65536
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        except ConnectionError:  # it has closed on us, after its answer
            pass
        raw = await answered
        assert code(raw) == "content_too_large"
        writer.close()
        return raw.status, sent

    await send()  # what is needed once has been needed
    before = resident_bytes(pid)
    assert {status for status, _ in [await send() for _ in range(5)]} == {413}
    assert resident_bytes(pid) - before < 10 * MEGABYTE


@pytest.mark.parametrize(
    "fields",
    [
        ["Host: localhost", "Host: localhost"],
        ["Host: localhost", "Host: evil.example"],
        ["Host: evil.example"],
        ["Host: localhost.evil.example"],
        ["Host: evil.example, localhost"],
        ["Host: localhost@evil.example"],
        ["Host: "],
        ["X-Host: localhost"],
        ["X-Forwarded-Host: localhost", "Host: evil.example"],
    ],
)
async def test_a_host_that_is_missing_double_or_foreign_is_refused(
    server: Server, fields: list[str]
) -> None:
    raw = await exchange(server, get("/health", *fields))
    assert raw.status == 400
    if raw.headers.get("content-type") == "application/problem+json":  # else the parser refused it
        assert code(raw) in {"invalid_host", "bad_request"}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "localhost:8000"])
async def test_an_allowed_host_is_answered_with_any_port(server: Server, host: str) -> None:
    raw = await exchange(server, get("/health", f"Host: {host}"))
    assert (raw.status, json.loads(raw.body)) == (200, {"status": "ok"})
    assert "server" not in raw.headers


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://app.example.com.evil.example",
        "https://evil-app.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://APP.example.com.",
        "https://app.example.co",
        "https://user@app.example.com",
        "https://app.example.com/",
    ],
)
async def test_look_alike_origins_get_no_cors_header(server: Server, origin: str) -> None:
    async with client(server) as browser:
        for method, path in (
            ("GET", "/health"),
            ("GET", "/nowhere"),
            ("OPTIONS", "/api/v1/services"),
        ):
            seen = await browser.request(
                method, path, headers={"Origin": origin, "Access-Control-Request-Method": "GET"}
            )
            named = [name for name in seen.headers if name.startswith("access-control-allow")]
            assert "access-control-allow-origin" not in named, (method, path)


async def test_good_origins_may_read_every_error(server: Server) -> None:
    headers = {"Origin": ORIGIN}
    async with client(server) as browser:
        answers = {
            200: await browser.get("/health", headers=headers),
            401: await browser.get("/api/v1/auth/me", headers=headers),
            404: await browser.get("/nowhere", headers=headers),
            405: await browser.delete("/health", headers=headers),
            413: await browser.post(
                "/api/v1/auth/login", content=b" " * 2 * MEGABYTE, headers=headers
            ),
            422: await browser.post("/api/v1/auth/password/reset", json={}, headers=headers),
        }
        for _ in range(21):  # of another policy than the logins above, which may have come before
            answers[429] = await browser.post(
                "/api/v1/auth/password/forgot",
                json={"email": "nobody@example.com"},
                headers=headers,
            )
        async with without_locations(server):
            answers[500] = await browser.get("/api/v1/locations", headers=headers)
    for status, seen in answers.items():
        assert seen.status_code == status
        assert seen.headers["access-control-allow-origin"] == ORIGIN, status
        assert "origin" in seen.headers["vary"].lower()
        exposed = {
            name.strip() for name in seen.headers["access-control-expose-headers"].split(",")
        }
        assert {"ETag", "Location", "Retry-After", "RateLimit", "X-Request-ID"} <= exposed
        assert seen.headers["x-content-type-options"] == "nosniff"


@asynccontextmanager
async def without_locations(server: Server) -> AsyncIterator[None]:
    """Nobody foresees that a table is gone."""
    settings = Settings(_env_file=None, **server.environment)  # type: ignore[arg-type]
    database: asyncpg.Connection[asyncpg.Record] = await connect(settings)
    try:
        await database.execute("ALTER TABLE locations RENAME TO elsewhere")
        yield
        await database.execute("ALTER TABLE elsewhere RENAME TO locations")
    finally:
        await database.close()


async def drip(server: Server, head: bytes, rest: bytes) -> float:
    """Send the head, and then a byte every second; how long until the server closes."""
    started = time.monotonic()
    reader, writer = await asyncio.open_connection(HOST, server.port)
    closed = asyncio.create_task(reader.read())
    try:
        writer.write(head)
        for byte in rest:
            await asyncio.wait([closed], timeout=1)
            if closed.done():
                break
            writer.write(bytes([byte]))
            await writer.drain()
        await asyncio.wait_for(closed, 60)
    except ConnectionError:
        pass
    finally:
        closed.cancel()
        writer.close()
    return time.monotonic() - started


HEADERS = (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b"a" * 200)
_LOGIN = (
    b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
)
BODY = (_LOGIN, b" " * 200)


@pytest.mark.parametrize("kind", ["headers", "bodies"])
async def test_hundreds_who_drip_are_cut_off_and_others_do_not_feel_them(
    server: Server, kind: str
) -> None:
    head, rest = HEADERS if kind == "headers" else BODY
    others: list[float] = []

    async def others_call() -> None:
        async with client(server) as other:
            while True:
                started = time.monotonic()
                (await other.get("/api/v1/services")).raise_for_status()
                others.append(time.monotonic() - started)
                await asyncio.sleep(0.02)

    calling = asyncio.create_task(others_call())
    durations = await asyncio.gather(*(drip(server, head, rest) for _ in range(DRIPPING)))
    calling.cancel()
    await asyncio.wait([calling])
    assert len(others) > 20
    assert max(durations) < CUT_WITHIN
    assert statistics.quantiles(others, n=20)[-1] < OTHERS_P95
