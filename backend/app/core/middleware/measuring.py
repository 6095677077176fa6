"""Counts requests, their time and their errors for Prometheus."""

from collections.abc import Callable, Container, Mapping
from time import perf_counter

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core import metrics
from app.core.exchange import exchange_of
from app.core.middleware.access_log import CLIENT_CLOSED_REQUEST, route_template

Usage = Callable[[], Mapping[str, Mapping[str, int]]]


class MeasuringMiddleware:
    """Stands where the access log does: whatever is answered further in is counted.

    Args:
        app: the next ASGI application.
        pools: the connections of each pool, noted with every request.
        uncounted: templates of routes whose traffic is the operator's own (probes, scrapes).
    """

    def __init__(
        self,
        app: ASGIApp,
        pools: Usage,
        uncounted: Container[str] = ("/health", "/health/ready", "/metrics"),
    ) -> None:
        self.app = app
        self.pools = pools
        self.uncounted = uncounted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        started_at = perf_counter()
        metrics.IN_FLIGHT.inc()
        try:
            await self.app(scope, receive, send)
        finally:
            metrics.IN_FLIGHT.dec()
            self._count(scope, perf_counter() - started_at)

    def _count(self, scope: Scope, seconds: float) -> None:
        route = route_template(scope)
        if route in self.uncounted:
            return
        method: str = scope["method"]
        exchange = exchange_of(scope)
        metrics.measured(method, route, exchange.status or CLIENT_CLOSED_REQUEST, seconds)
        if exchange.problem is not None:
            metrics.refused(method, route, *exchange.problem)
        metrics.pools(self.pools())
