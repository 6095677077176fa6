"""Outermost: makes the exchange that all other layers share."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.exchange import Exchange


class ExchangeMiddleware:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(scope, send)
        try:
            await self.app(scope, receive, exchange.send)
        finally:
            exchange.close()
