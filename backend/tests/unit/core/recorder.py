"""Log lines and ASGI messages, caught for a test to look at."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

import httpx
import pytest
import structlog
from starlette.types import ASGIApp, Message, Scope

from app.core.context import add_request_id
from app.core.middleware.exchange import ExchangeMiddleware


def record_log(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[dict[str, Any]]:
    """Replace a module's logger; other tests may have configured and cached the real one."""
    capture = structlog.testing.LogCapture()
    logger = structlog.wrap_logger(
        None,
        processors=[add_request_id, capture],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    monkeypatch.setattr(module, "log", logger)
    return cast("list[dict[str, Any]]", capture.entries)


def client(app: ASGIApp, *, raise_app_exceptions: bool = True) -> httpx.AsyncClient:
    """A client of an app or a layer, which finds the exchange that all layers share."""
    transport = httpx.ASGITransport(
        ExchangeMiddleware(app), raise_app_exceptions=raise_app_exceptions
    )
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def http_scope(path: str = "/", **entries: Any) -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "headers": [],
        "http_version": "1.1",
        "query_string": b"",
        **entries,
    }


async def call(
    app: ASGIApp, scope: Scope, receive: Callable[[], Any] | None = None
) -> list[Message]:
    """Run the app on a bare scope and return what it sent."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def nothing() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await ExchangeMiddleware(app)(scope, receive or nothing, send)
    return sent
