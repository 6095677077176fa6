"""Asking Redis, which everybody can do without: when it does not answer, nobody asks for a while.

One that is frozen costs each caller its whole time limit. So the first who notices breaks off for
all, and then one caller every few seconds finds out whether it is back.
"""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from redis.exceptions import RedisError

from app.core.metrics import REDIS_ERRORS

log = structlog.get_logger(__name__)

RETRY_SECONDS = 5.0
"""How long nobody asks, before one caller tries again."""

ResultT = TypeVar("ResultT")


class AwayError(Exception):
    """Redis did not answer, or was not asked since it did not a moment ago."""


class Breaker:
    """Whether Redis is asked. One log line says that it went, and one that it is back.

    Args:
        use: what Redis is asked for, in metrics.
        gone: the event to log when it goes: what is done without it.
        back: the event to log when it answers again.
        clock: seconds.
    """

    def __init__(
        self, use: str, *, gone: str, back: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._use = use
        self._gone = gone
        self._back = back
        self._clock = clock
        self._is_open = False
        self._retry_at = clock()

    async def ask(self, work: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """What `work` gets from Redis.

        Raises:
            AwayError: it could not be reached or took too long, now or a moment ago.
        """
        was_open = self._is_open
        if was_open and not self._may_try():
            raise AwayError
        try:
            result = await work()
        except (RedisError, OSError, TimeoutError) as error:
            REDIS_ERRORS.labels(self._use).inc()
            self._open(error)
            raise AwayError from None
        # Only who asked while it was away calls it back: of the many that were on their way when it
        # went, some may still have been answered.
        if was_open:
            self._close()
        return result

    def _may_try(self) -> bool:
        """One caller at a time: it waits, and not all of them."""
        now = self._clock()
        if now < self._retry_at:
            return False
        self._retry_at = now + RETRY_SECONDS
        return True

    def _open(self, error: Exception) -> None:
        self._retry_at = self._clock() + RETRY_SECONDS
        if not self._is_open:
            self._is_open = True
            # The type alone: messages of the client name its address.
            log.warning(self._gone, error=type(error).__name__)

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            log.warning(self._back)
