"""Bounds the time a request may take (REQUEST_TIMEOUT)."""

import asyncio
from http import HTTPStatus
from time import monotonic
from typing import TypeAlias, cast

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

_Task: TypeAlias = "asyncio.Task[object]"


class TimeLimitMiddleware:
    """Cancels what takes too long, and raises an `HTTPException` 504 in its place.

    Whatever the request was doing ends where it waits: its transaction is rolled back, and its
    connection goes back to the pool. An answer that has been started is broken off.

    All requests share one timer, for `asyncio.timeout` makes one for each, which takes longer than
    many a request waits. As all have the same time, the first to come is the first to be over.

    Args:
        app: the next ASGI application.
        seconds: for the whole request, its body's arrival and its answer's departure included.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds
        self._deadlines: dict[_Task, float] = {}
        self._overdue: set[_Task] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        task = cast("_Task", asyncio.current_task())
        self._deadlines[task] = monotonic() + self.seconds
        if self._timer is None:
            self._look_again_in(self.seconds)
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            # Somebody else may have cancelled it as well, and wants to see that.
            if task in self._overdue and task.uncancel() == 0:
                raise HTTPException(HTTPStatus.GATEWAY_TIMEOUT) from None
            raise
        finally:
            del self._deadlines[task]
            self._overdue.discard(task)

    def _look_again_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._end_overdue)

    def _end_overdue(self) -> None:
        now = monotonic()
        self._timer = None
        for task, deadline in self._deadlines.items():
            if deadline > now:
                self._look_again_in(deadline - now)
                return
            if task not in self._overdue:
                self._overdue.add(task)
                task.cancel()
