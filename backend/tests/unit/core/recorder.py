"""Log lines and ASGI messages, caught for a test to look at."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, cast

import httpx
import pytest
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.context import add_request_id
from app.core.exchange import Exchange, leave
from app.core.middleware.edge import Check, EdgeMiddleware, Observer
from app.core.problems import escaped_problem


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


class WithExchange:
    """Gives a layer the exchange that the outermost one would have made; errors go on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or isinstance(self.app, EdgeMiddleware):
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, receive, Exchange(scope, send).send)
        finally:
            leave(scope)


def edge(app: ASGIApp, *checks: Check, observers: Sequence[Observer] = ()) -> EdgeMiddleware:
    """The outermost layer, with these checks and observers."""
    return EdgeMiddleware(app, checks=checks, observers=observers, render=escaped_problem)


def client(app: ASGIApp, *, raise_app_exceptions: bool = True) -> httpx.AsyncClient:
    """A client of an app or a layer, which finds the exchange that all layers share."""
    transport = httpx.ASGITransport(WithExchange(app), raise_app_exceptions=raise_app_exceptions)
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

    await WithExchange(app)(scope, receive or nothing, send)
    return sent
