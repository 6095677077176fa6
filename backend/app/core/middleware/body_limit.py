"""Bounds the body of a request, counted in bytes as they arrive.

FastAPI's own `max_body_size` does not do here: it sits outside every other middleware and, for a
`Content-Length` that is too big, replaces the answer by plain text without CORS headers, after a
route that does not read the body has already done its work.
"""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimitMiddleware:
    """Raises an `HTTPException` 413; whatever renders those, inside or outside, answers it.

    Args:
        app: the next ASGI application.
        max_body_size: bytes; a body of exactly this size passes.
    """

    def __init__(self, app: ASGIApp, max_body_size: int) -> None:
        self.app = app
        self.max_body_size = max_body_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _declared_size(scope) > self.max_body_size:
            raise _too_large()

        received = 0

        async def receive_counted() -> Message:
            # A declared length can be missing (chunked), so count whatever comes.
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self.max_body_size:
                    raise _too_large()
            return message

        await self.app(scope, receive_counted, send)


def _declared_size(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _too_large() -> HTTPException:
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
