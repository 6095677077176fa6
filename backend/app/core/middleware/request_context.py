"""Gives every request an id that its answer, its log lines, its events and its problems share."""

import re

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from uuid_utils import uuid7

from app.core.context import enter_request, leave_request
from app.core.exchange import Exchange, exchange_of

# Nothing that could break a log line, a header or a query is taken over from a client.
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RequestContextMiddleware:
    """Outside all that logs or answers, so that nothing is logged or answered without an id."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        exchange = exchange_of(scope)
        request_id = _incoming_id(exchange) or str(uuid7()).encode()
        exchange.request_id = request_id
        token = enter_request(request_id.decode())
        try:
            await self.app(scope, receive, send)
        except ClientDisconnect:
            # Nobody is left to answer; further out this would be logged as a crash.
            return
        finally:
            leave_request(token)


def _incoming_id(exchange: Exchange) -> bytes | None:
    value = exchange.one(b"x-request-id")
    return value if value is not None and _WELL_FORMED.fullmatch(value) else None
