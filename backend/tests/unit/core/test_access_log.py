import asyncio
import contextlib
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.middleware import access_log
from app.core.middleware.access_log import AccessLog
from app.core.middleware.edge import EdgeMiddleware
from app.core.middleware.transaction_retry import TransactionRetryMiddleware
from app.core.problems import escaped_problem

from .recorder import call, client, edge, http_scope, record_log


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    return record_log(monkeypatch, access_log)


def make_app() -> FastAPI:
    app = FastAPI()
    bookings = APIRouter(prefix="/bookings")

    @bookings.get("/{booking_id}")
    async def read(booking_id: str) -> str:
        return booking_id

    @bookings.post("/{booking_id}/cancel")
    async def cancel(request: Request, booking_id: int) -> str:
        request.state.user_id = 42
        return "done"

    @bookings.get("/{booking_id}/history")
    async def history(booking_id: str) -> None:
        raise HTTPException(404, booking_id)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/crash/{secret}")
    async def crash(secret: str) -> None:
        raise ZeroDivisionError(secret)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter([b"12345", b"678"]))

    api = APIRouter(prefix="/api/v1")
    api.include_router(bookings)
    app.include_router(api)
    return app


def logged(app: ASGIApp) -> ASGIApp:
    return edge(app, observers=[AccessLog()])


async def test_a_line_says_what_happened(lines: list[dict[str, Any]]) -> None:
    async with client(logged(make_app())) as http:
        await http.get("/api/v1/bookings/7?token=abc", headers={"X-Request-ID": "the-id"})
    (line,) = lines
    assert isinstance(line.pop("duration_ms"), float)
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "route": "/api/v1/bookings/{booking_id}",
        "status": 200,
        "bytes": 3,
        "client": "127.0.0.1",
        "request_id": "the-id",
    }


async def test_the_user_is_named_when_known(lines: list[dict[str, Any]]) -> None:
    async with client(logged(make_app())) as http:
        await http.post("/api/v1/bookings/7/cancel")
    assert lines[0]["user_id"] == "42"


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/health", "/health", 200),
        ("GET", "/api/v1/bookings/7/history", "/api/v1/bookings/{booking_id}/history", 404),
        ("POST", "/api/v1/bookings/x/cancel", "/api/v1/bookings/{booking_id}/cancel", 422),
        ("DELETE", "/api/v1/bookings/7", "/api/v1/bookings/{booking_id}", 405),
        ("GET", "/api/v1/manage/a-secret", None, 404),
    ],
)
async def test_the_route_is_a_template(
    lines: list[dict[str, Any]], method: str, path: str, route: str | None, status: int
) -> None:
    async with client(logged(make_app())) as http:
        await http.request(method, path)
    assert (lines[0]["route"], lines[0]["status"]) == (route, status)
    assert "a-secret" not in str(lines)


async def test_it_is_known_behind_the_retry_middleware_too(lines: list[dict[str, Any]]) -> None:
    app = make_app()
    app.add_middleware(TransactionRetryMiddleware, is_retryable=lambda _: True, pause=(0, 0))
    app.add_middleware(EdgeMiddleware, observers=[AccessLog()], render=escaped_problem)
    async with client(app, raise_app_exceptions=False) as http:
        await http.get("/crash/hidden")
    assert lines[0]["route"] == "/crash/{secret}"


async def test_an_unhandled_error_is_a_500(lines: list[dict[str, Any]]) -> None:
    app = make_app()
    app.add_middleware(EdgeMiddleware, observers=[AccessLog()], render=escaped_problem)
    async with client(app, raise_app_exceptions=False) as http:
        await http.get("/crash/hidden")
    (line,) = lines
    assert (line["status"], line["log_level"]) == (500, "warning")
    assert "failure" not in line  # it was answered; another line has the traceback
    assert "hidden" not in str(line)


async def test_what_broke_an_answer_off_is_named(lines: list[dict[str, Any]]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await call(logged(app), http_scope())
    (line,) = lines
    assert (line["status"], line["failure"]) == (200, "ZeroDivisionError")


async def test_bytes_are_counted_over_all_parts(lines: list[dict[str, Any]]) -> None:
    async with client(logged(make_app())) as http:
        await http.get("/stream")
    assert lines[0]["bytes"] == 8


async def test_health_is_debug_unless_it_fails(lines: list[dict[str, Any]]) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = type("Route", (), {"path": "/health"})
        await send({"type": "http.response.start", "status": 503})

    async with client(logged(make_app())) as http:
        await http.get("/health")
    await call(logged(failing), http_scope())
    assert [line["log_level"] for line in lines] == ["debug", "warning"]


@pytest.mark.parametrize(
    ("failure", "status"), [(ClientDisconnect, 499), (asyncio.CancelledError, 500)]
)
async def test_who_left_is_told_from_what_broke(
    lines: list[dict[str, Any]], failure: type[BaseException], status: int
) -> None:
    async def ends(scope: Scope, receive: Receive, send: Send) -> None:
        raise failure

    with contextlib.suppress(asyncio.CancelledError):
        await call(logged(ends), http_scope(client=None))
    assert (lines[0]["status"], lines[0]["client"]) == (status, None)
    assert lines[0]["failure"] == failure.__name__
