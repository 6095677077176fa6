"""Replays a request whose transaction the database gave up (40001, 40P01)."""

import asyncio
import random
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.exchange import exchange_of

_READING = frozenset({"GET", "HEAD", "OPTIONS"})

log = structlog.get_logger(__name__)


class TransactionRetryMiddleware:
    """Innermost, around the router: the whole request runs again, dependencies and all.

    A transaction can only be repeated from its beginning, and everything a request does is in
    its one transaction, so a request that failed has done nothing. The body that was read is
    kept for the replay; the body limit further out bounds it.

    Args:
        app: the next ASGI application.
        is_retryable: tells whether the exception says "try again".
        attempts: how often the request may run in all.
        pause: the shortest and longest wait before another attempt, in seconds. Random, so that
            two requests that collided do not meet again.
    """

    def __init__(
        self,
        app: ASGIApp,
        is_retryable: Callable[[Exception], bool],
        attempts: int = 3,
        pause: tuple[float, float] = (0.010, 0.050),
    ) -> None:
        self.app = app
        self.is_retryable = is_retryable
        self.attempts = attempts
        self.pause = pause

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # What only reads holds no locks, and sees what was committed when each statement began.
        if scope["type"] != "http" or scope["method"] in _READING:
            await self.app(scope, receive, send)
            return

        exchange = exchange_of(scope)
        body: list[Message] = []
        restore = _snapshot(scope)
        for attempt in range(1, self.attempts + 1):
            try:
                await self.app(scope, _replaying(body, receive), send)
            except Exception as exc:
                if (
                    exchange.status is not None
                    or attempt == self.attempts
                    or not self.is_retryable(exc)
                ):
                    raise
                log.warning("transaction_retried", attempt=attempt, error=type(exc).__name__)
            else:
                return
            await asyncio.sleep(random.uniform(*self.pause))  # noqa: S311 - no secret
            restore()


def _replaying(body: list[Message], receive: Receive) -> Receive:
    """A `receive` that starts with the messages in `body` and adds to it those it then reads."""
    position = 0

    async def receive_next() -> Message:
        nonlocal position
        if position == len(body):
            message = await receive()
            if message["type"] != "http.request":
                return message
            body.append(message)
        position += 1
        return body[position - 1]

    return receive_next


def _snapshot(scope: Scope) -> Callable[[], None]:
    """Remember the scope; the function returned puts it back.

    The router leaves the route, exit stacks and state in it. It is put back in place, not
    replaced by a copy, because the access log outside reads there what the last attempt left.
    """
    saved = dict(scope)
    state: dict[str, object] | None = scope.get("state")
    saved_state = dict(state) if state is not None else None

    def restore() -> None:
        scope.clear()
        scope.update(saved)
        if state is not None and saved_state is not None:
            state.clear()
            state.update(saved_state)

    return restore
