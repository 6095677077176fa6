import asyncio

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from app.core.middleware.time_limit import TimeLimitMiddleware

from .recorder import call, http_scope

SHORT, LONG = 0.02, 60.0


async def forever(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


async def at_once(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0)


async def test_what_takes_too_long_is_504() -> None:
    with pytest.raises(HTTPException) as raised:
        await call(TimeLimitMiddleware(forever, SHORT), http_scope())
    assert raised.value.status_code == 504


async def test_all_that_take_too_long_are_ended_and_nothing_else_is() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (forever if scope["path"] == "/forever" else at_once)(scope, receive, send)

    limited = TimeLimitMiddleware(app, SHORT)

    async def ask(path: str) -> int:
        try:
            await call(limited, http_scope(path))
        except HTTPException as error:
            return error.status_code
        return 200

    paths = ["/forever", "/", "/", "/forever", "/", "/forever"]
    assert await asyncio.gather(*map(ask, paths)) == [504, 200, 200, 504, 200, 504]
    # And again, when the timer has found nothing to do meanwhile.
    assert await asyncio.gather(*map(ask, paths)) == [504, 200, 200, 504, 200, 504]


async def test_the_work_is_ended_where_it_waits_and_may_clean_up() -> None:
    steps = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("rolled back")

    with pytest.raises(HTTPException):
        await call(TimeLimitMiddleware(app, SHORT), http_scope())
    assert steps == ["rolled back"]


async def test_the_task_may_go_on_after_it() -> None:
    """As it must: the refusal is still to be sent."""
    with pytest.raises(HTTPException):
        await call(TimeLimitMiddleware(forever, SHORT), http_scope())
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_one_that_somebody_else_cancels_is_no_504() -> None:
    task = asyncio.ensure_future(call(TimeLimitMiddleware(forever, LONG), http_scope()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_that_ends_by_itself_leaves_nothing() -> None:
    limited = TimeLimitMiddleware(at_once, LONG)
    await call(limited, http_scope())
    assert limited._deadlines == {}


async def test_one_timer_serves_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, timers = asyncio.get_running_loop(), []
    call_later = loop.call_later
    monkeypatch.setattr(loop, "call_later", lambda *a: timers.append(a) or call_later(*a))
    limited = TimeLimitMiddleware(at_once, LONG)
    for _ in range(20):
        await call(limited, http_scope())
    assert len(timers) == 1
