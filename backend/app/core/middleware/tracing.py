"""Tells a tracer of each request: its route's template, its status, its time, and nothing else."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.exchange import Exchange
from app.core.middleware.access_log import CLIENT_CLOSED_REQUEST, route_template

Finish: TypeAlias = Callable[[str, int], None]
"""Told the request's name (`GET /api/v1/bookings/{booking_id}`) and its answer's status."""


Begin: TypeAlias = Callable[[Scope], AbstractContextManager[Finish]]


class TracingMiddleware:
    """Stands outside of all whose time is of interest, and so makes an exchange of its own.

    Args:
        app: the next ASGI application.
        begin: opens the tracer's span for a request.
    """

    def __init__(self, app: ASGIApp, begin: Begin) -> None:
        self.app = app
        self.begin = begin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        exchange = Exchange(scope, send)
        with self.begin(scope) as finish:
            try:
                await self.app(scope, receive, exchange.send)
            finally:
                name = f"{scope['method']} {route_template(scope) or 'unmatched'}"
                finish(name, exchange.status or CLIENT_CLOSED_REQUEST)
