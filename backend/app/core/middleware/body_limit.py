"""Bounds the body of a request: its size, in bytes as they arrive, and the time it may take.

FastAPI's own `max_body_size` does not do here: it sits outside every other middleware and, for a
`Content-Length` that is too big, replaces the answer by plain text without CORS headers, after a
route that does not read the body has already done its work.
"""

import asyncio
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.exchange import Exchange, exchange_of


class BodyLimitMiddleware:
    """Raises an `HTTPException` 413 or 408; whatever renders those, inside or outside, answers it.

    Args:
        app: the next ASGI application.
        max_body_size: bytes; a body of exactly this size passes.
        seconds: within which the whole body must arrive, counted from its first byte's being asked
            for. What an endpoint does with it takes no part of that.
    """

    def __init__(self, app: ASGIApp, max_body_size: int, seconds: float) -> None:
        self.app = app
        self.max_body_size = max_body_size
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _has_body(scope, exchange := exchange_of(scope)):
            if _declared_size(exchange) > self.max_body_size:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            receive = self._bounded(receive)
        await self.app(scope, receive, send)

    def _bounded(self, receive: Receive) -> Receive:
        received = 0
        deadline: float | None = None
        is_complete = False

        async def receive_bounded() -> Message:
            nonlocal received, deadline, is_complete
            if is_complete:  # what comes now is that the client leaves, whenever that is
                return await receive()
            if deadline is None:
                deadline = asyncio.get_running_loop().time() + self.seconds
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                # The server must not wait for the rest either.
                raise HTTPException(
                    HTTPStatus.REQUEST_TIMEOUT,
                    "The body took too long to arrive.",
                    headers={"Connection": "close"},
                ) from None
            # A declared length can be missing (chunked), so count whatever comes.
            received += len(message.get("body", b""))
            if received > self.max_body_size:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            is_complete = not message.get("more_body", False)
            return message

        return receive_bounded


def _has_body(scope: Scope, exchange: Exchange) -> bool:
    """Whether a body may follow; from HTTP/2 on it is announced by nothing that stands here."""
    return (
        exchange.has(b"content-length")
        or exchange.has(b"transfer-encoding")
        or not scope["http_version"].startswith("1")
    )


def _declared_size(exchange: Exchange) -> int:
    length = exchange.one(b"content-length")
    return int(length) if length is not None and length.isdigit() else 0
