"""Limits how many requests a caller may make to the API (RATE_LIMIT_*)."""

from collections.abc import Mapping
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.exchange import Exchange, exchange_of
from app.core.metrics import RATE_LIMITS
from app.core.rate_limit import Policy, RateLimiter, Standing, network_of

READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Callers(Protocol):
    """Knows callers who have proved who they are."""

    def name(self, exchange: Exchange) -> tuple[str, ...] | None:
        """Who makes this request; None: it does not say, or does not prove it."""


class RateLimitMiddleware:
    """Refuses with 429 what is too much; where Redis is away, nothing is.

    Callers are counted by the name they have proved to have, all others by their network. The
    limiter (`rate_limiter`) and those who know the callers (`callers`) are in the application's
    state.

    Args:
        app: the next ASGI application.
        prefix: of the paths that are limited; probes, metrics and documents lie elsewhere.
        general: the policy for all requests.
        writing: tighter ones for requests that change something, by the segment of the path that
            follows the prefix.
    """

    def __init__(
        self, app: ASGIApp, *, prefix: str, general: Policy, writing: Mapping[str, Policy]
    ) -> None:
        self.app = app
        self.prefix = f"{prefix}/"
        self.general = general
        self.writing = dict(writing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(self.prefix):
            await self._admit(scope, exchange_of(scope))
        await self.app(scope, receive, send)

    async def _admit(self, scope: Scope, exchange: Exchange) -> None:
        state = scope["app"].state
        limiter: RateLimiter = state.rate_limiter
        callers: Callers = state.callers
        who = callers.name(exchange) or ("network", _network(scope))
        wanted = [(policy, who) for policy in self.policies(scope["method"], scope["path"])]
        standings = await limiter.take_all(*wanted)
        if standings is None:
            RATE_LIMITS.labels(wanted[0][0].name, "open").inc()
            return
        for standing in standings:
            if not standing.is_admitted:
                RATE_LIMITS.labels(standing.policy.name, "refused").inc()
                raise standing.refusal()
        RATE_LIMITS.labels(wanted[0][0].name, "admitted").inc()
        exchange.defaults = {**exchange.defaults, **_fields(_tightest(standings))}

    def policies(self, method: str, path: str) -> tuple[Policy, ...]:
        """What is counted for this request, in one round trip to Redis."""
        if method not in READING:
            tighter = self.writing.get(path[len(self.prefix) :].partition("/")[0])
            if tighter is not None:
                return (tighter, self.general)
        return (self.general,)


def _network(scope: Scope) -> str:
    client = scope.get("client")
    return network_of(client[0] if client else "")


def _tightest(standings: list[Standing]) -> Standing:
    """The one that clients should heed: it has the least left."""
    return min(standings, key=lambda standing: (standing.remaining, -standing.seconds))


def _fields(standing: Standing) -> dict[bytes, bytes]:
    return {name.lower().encode(): value.encode() for name, value in standing.headers.items()}
