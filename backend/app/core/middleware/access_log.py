"""One log line per request."""

from collections.abc import Container
from time import perf_counter

import structlog
from starlette import status
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.exchange import Exchange, exchange_of

log = structlog.get_logger(__name__)

CLIENT_CLOSED_REQUEST = 499  # nginx's name for a client that left before its answer


class AccessLogMiddleware:
    """Logs `request` with the route's template, never the path: paths hold ids and secret links.

    Args:
        app: the next ASGI application.
        quiet_routes: templates whose successes are worth a line only at DEBUG (probes).
    """

    def __init__(self, app: ASGIApp, quiet_routes: Container[str] = ("/health",)) -> None:
        self.app = app
        self.quiet_routes = quiet_routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        started_at = perf_counter()
        failure: BaseException | None = None
        try:
            await self.app(scope, receive, send)
        except BaseException as exc:
            failure = exc
            raise
        finally:
            self._write(scope, exchange_of(scope), started_at, failure)

    def _write(
        self,
        scope: Scope,
        exchange: Exchange,
        started_at: float,
        failure: BaseException | None,
    ) -> None:
        answered = exchange.status or _status_of(failure)
        # Read now, not on the way in: the router, the proxy middleware and authentication
        # have filled the scope meanwhile.
        route = route_template(scope)
        client = scope.get("client")
        fields = {
            "method": scope["method"],
            "route": route,
            "status": answered,
            "duration_ms": round((perf_counter() - started_at) * 1000, 2),
            "bytes": exchange.size,
            "client": client[0] if client else None,
        }
        # An API key's id is no secret, and tells which of a user's programs it was.
        for name in ("user_id", "key_id"):
            value = scope.get("state", {}).get(name)
            if value is not None:
                fields[name] = str(value)
        if exchange.problem is not None:
            fields["problem"] = exchange.problem[0]
        if failure is not None:
            fields["failure"] = type(failure).__name__

        if answered >= status.HTTP_500_INTERNAL_SERVER_ERROR:
            log.warning("request", **fields)
        elif route in self.quiet_routes:
            log.debug("request", **fields)
        else:
            log.info("request", **fields)


def route_template(scope: Scope) -> str | None:
    """The full template of the route that took the request (`/api/v1/bookings/{booking_id}`).

    None where no route did. FastAPI leaves the route as it was declared in `scope["route"]`,
    without the prefixes of the routers that include it; the whole path is in its own entry.
    """
    route = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    return getattr(route, "path", None)


def _status_of(failure: BaseException | None) -> int:
    """The status to log when no answer was started."""
    if failure is None or isinstance(failure, ClientDisconnect):
        return CLIENT_CLOSED_REQUEST
    return status.HTTP_500_INTERNAL_SERVER_ERROR
