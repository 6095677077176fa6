"""Counts requests, their time and their errors for Prometheus."""

from collections.abc import Callable, Container, Mapping

from starlette.types import Scope

from app.core import metrics
from app.core.exchange import Exchange
from app.core.middleware.access_log import CLIENT_CLOSED_REQUEST, route_template

Usage = Callable[[], Mapping[str, Mapping[str, int]]]


class Measuring:
    """Observes what the access log does: whatever is answered is counted.

    Args:
        pools: the connections of each pool, noted with every request.
        uncounted: templates of routes whose traffic is the operator's own (probes, scrapes).
    """

    def __init__(
        self,
        pools: Usage,
        uncounted: Container[str | None] = ("/health", "/health/ready", "/metrics"),
    ) -> None:
        self.pools = pools
        self.uncounted = uncounted

    def arrive(self) -> None:
        metrics.IN_FLIGHT.inc()

    def __call__(
        self, scope: Scope, exchange: Exchange, seconds: float, _failure: BaseException | None
    ) -> None:
        metrics.IN_FLIGHT.dec()
        route = route_template(scope)
        if route in self.uncounted:
            return
        method: str = scope["method"]
        metrics.measured(method, route, exchange.status or CLIENT_CLOSED_REQUEST, seconds)
        if exchange.problem is not None:
            metrics.refused(method, route, *exchange.problem)
        metrics.pools(self.pools())
