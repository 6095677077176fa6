"""Gives every request an id that its answer, its log lines, its events and its problems share."""

import re

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid7

from app.core.context import bound_request_id

# Nothing that could break a log line, a header or a query is taken over from a client.
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RequestContextMiddleware:
    """Outermost, so that nothing is logged or answered without an id."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        request_id = _incoming_id(scope) or str(uuid7()).encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                # A new list: the old one may belong to a response object that is used again.
                others = (h for h in message.get("headers", ()) if h[0] != b"x-request-id")
                message["headers"] = [*others, (b"x-request-id", request_id)]
            await send(message)

        with bound_request_id(request_id.decode()):
            try:
                await self.app(scope, receive, send_with_id)
            except ClientDisconnect:
                # Nobody is left to answer; further out this would be logged as a crash.
                return


def _incoming_id(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return value if _WELL_FORMED.fullmatch(value) else None
    return None
