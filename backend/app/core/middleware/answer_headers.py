"""What every answer carries, an error's too: the security headers and those of CORS."""

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.exchange import Field, exchange_of
from app.core.middleware.cors import CorsPolicy


class AnswerHeadersMiddleware:
    """Names the headers on the way in, so that whoever answers, answers with them.

    Args:
        app: the next ASGI application.
        security: headers for all answers that do not have their own of the name.
        cors: what pages of other origins may read.
    """

    def __init__(self, app: ASGIApp, *, security: Iterable[Field], cors: CorsPolicy) -> None:
        self.app = app
        self.security = tuple(security)
        self.cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            exchange = exchange_of(scope)
            exchange.defaults = self.security
            exchange.added += self.cors.answer_headers(exchange.one(b"origin"))
        await self.app(scope, receive, send)
