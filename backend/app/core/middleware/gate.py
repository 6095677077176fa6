"""What is decided about a request by its first lines alone, before anything else happens to it."""

from collections.abc import Callable, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.exchange import Exchange, exchange_of

Check = Callable[[Scope, Exchange], None]
"""Looks at a request, may correct its scope, and raises an error to refuse it."""


class GateMiddleware:
    """Runs the checks in their order. They wait for nothing, and so need no layer each."""

    def __init__(self, app: ASGIApp, checks: Sequence[Check]) -> None:
        self.app = app
        self.checks = tuple(checks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            exchange = exchange_of(scope)
            for check in self.checks:
                check(scope, exchange)
        await self.app(scope, receive, send)
