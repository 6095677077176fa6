"""One log line per request."""

from collections.abc import Container, Mapping
from logging import DEBUG, INFO, WARNING, getLevelNamesMapping
from time import time

import structlog
from starlette import status
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from app.core.exchange import Exchange
from app.core.middleware.request_line import Answered, RequestLines

log = structlog.get_logger(__name__)

_NOTHING: Mapping[str, str] = {}
CLIENT_CLOSED_REQUEST = 499  # nginx's name for a client that left before its answer


class AccessLog:
    """Logs `request` with the route's template, never the path: paths hold ids and secret links.

    Args:
        quiet_routes: templates whose successes are worth a line only at DEBUG (probes).
        lines: writes the lines as JSON; None: structlog does, in its own format.
        least: the least severe level that is written; structlog knows it by itself.
    """

    def __init__(
        self,
        quiet_routes: Container[str | None] = ("/health",),
        *,
        lines: RequestLines | None = None,
        least: str = "INFO",
    ) -> None:
        self.quiet_routes = quiet_routes
        self.lines = lines
        self.least = getLevelNamesMapping()[least]

    def __call__(
        self, scope: Scope, exchange: Exchange, seconds: float, failure: BaseException | None
    ) -> None:
        route = route_template(scope)
        client = scope.get("client")
        address = client[0] if client else None
        answered = exchange.status or _status_of(failure)
        level = _level(answered, is_quiet=route in self.quiet_routes)
        state = scope.get("state")
        is_plain = not state and exchange.problem is None and failure is None
        more = _NOTHING if is_plain else _more(state or {}, exchange, failure)
        if self.lines is None:
            log.log(
                level,
                "request",
                method=scope["method"],
                route=route,
                status=answered,
                duration_ms=round(seconds * 1000, 2),
                bytes=exchange.size,
                client=address,
                **more,
            )
        elif level >= self.least:
            self.lines.add(
                Answered(
                    level,
                    time(),
                    exchange.request_id or b"",
                    scope["method"],
                    route,
                    answered,
                    seconds,
                    exchange.size,
                    address,
                    more,
                )
            )


def _level(answered: int, *, is_quiet: bool) -> int:
    if answered >= status.HTTP_500_INTERNAL_SERVER_ERROR:
        return WARNING
    return DEBUG if is_quiet else INFO


def _more(
    state: Mapping[str, object], exchange: Exchange, failure: BaseException | None
) -> dict[str, str]:
    # An API key's id is no secret, and tells which of a user's programs it was.
    more = {name: str(state[name]) for name in ("user_id", "key_id") if state.get(name) is not None}
    if exchange.problem is not None:
        more["problem"] = exchange.problem[0]
    if failure is not None:
        more["failure"] = type(failure).__name__
    return more


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
