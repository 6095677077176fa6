import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request
from starlette.types import Message, Receive, Scope, Send

from app.core.exchange import exchange_of
from app.core.middleware import transaction_retry
from app.core.middleware.transaction_retry import TransactionRetryMiddleware

from .recorder import call, client, http_scope, record_log


class ConflictError(Exception):
    pass


def is_conflict(exc: Exception) -> bool:
    return isinstance(exc, ConflictError)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    return record_log(monkeypatch, transaction_retry)


class Shop:
    """An app whose first commits fail, with everything FastAPI leaves in a scope."""

    def __init__(self, failures: int, error: type[Exception] = ConflictError) -> None:
        self.failures = failures
        self.error = error
        self.commits = 0
        self.rollbacks = 0
        self.bodies: list[Any] = []
        self.fresh: list[bool] = []
        self.app = FastAPI()
        self.app.add_middleware(TransactionRetryMiddleware, is_retryable=is_conflict, pause=(0, 0))

        async def transaction() -> AsyncIterator[None]:
            try:
                yield
            except Exception:
                self.rollbacks += 1
                raise
            if self.rollbacks < self.failures:
                self.rollbacks += 1
                raise self.error
            self.commits += 1

        @self.app.post("/orders/{name}")
        async def order(
            request: Request,
            name: str,
            body: dict[str, Any],
            _: Annotated[None, Depends(transaction, scope="function")],
        ) -> dict[str, Any]:
            self.fresh.append(not hasattr(request.state, "mark"))
            request.state.mark = True
            self.bodies.append(body)
            return {"name": name, "attempt": len(self.bodies)}


async def test_a_conflict_at_commit_is_run_again_as_a_whole(lines: list[dict[str, Any]]) -> None:
    shop = Shop(failures=2)
    async with client(shop.app) as http:
        answer = await http.post("/orders/tea", json={"cups": 2})
    assert (answer.status_code, answer.json()) == (200, {"name": "tea", "attempt": 3})
    assert shop.bodies == [{"cups": 2}] * 3
    assert (shop.rollbacks, shop.commits) == (2, 1)
    assert shop.fresh == [True, True, True]
    assert lines == [
        {
            "event": "transaction_retried",
            "log_level": "warning",
            "attempt": attempt,
            "error": "ConflictError",
        }
        for attempt in (1, 2)
    ]


async def test_the_third_failure_is_the_last(lines: list[dict[str, Any]]) -> None:
    shop = Shop(failures=100)
    async with client(shop.app) as http:
        with pytest.raises(ConflictError):
            await http.post("/orders/tea", json={})
    assert (len(shop.bodies), shop.commits, len(lines)) == (3, 0, 2)


@pytest.mark.parametrize("failures", [0, 1])
async def test_anything_else_runs_once(lines: list[dict[str, Any]], failures: int) -> None:
    shop = Shop(failures, error=ZeroDivisionError)
    async with client(shop.app, raise_app_exceptions=False) as http:
        answer = await http.post("/orders/tea", json={})
    assert answer.status_code == (500 if failures else 200)
    assert (len(shop.bodies), lines) == (1, [])


async def test_an_answer_that_has_started_is_not_run_again(lines: list[dict[str, Any]]) -> None:
    runs = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal runs
        runs += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ConflictError

    with pytest.raises(ConflictError):
        await call(TransactionRetryMiddleware(app, is_conflict), http_scope(method="POST"))
    assert (runs, lines) == (1, [])


def messages(*parts: bytes) -> tuple[Callable[[], Any], list[Message]]:
    """A client that sends `parts` and leaves, and the messages it has left to send."""
    left: list[Message] = [
        {"type": "http.request", "body": part, "more_body": part != parts[-1]} for part in parts
    ]

    async def receive() -> Message:
        return left.pop(0) if left else {"type": "http.disconnect"}

    return receive, left


async def test_the_replay_continues_where_the_first_attempt_stopped_reading(
    lines: list[dict[str, Any]],
) -> None:
    read: list[list[Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        read.append([])
        for _ in range(len(read) + 1):  # each attempt reads one message more
            message = await receive()
            read[-1].append(message.get("body", message["type"]))
        raise ConflictError

    receive, _ = messages(b"a", b"b", b"c")
    with pytest.raises(ConflictError):
        await call(
            TransactionRetryMiddleware(app, is_conflict, pause=(0, 0)),
            http_scope(method="POST"),
            receive,
        )
    assert read == [[b"a", b"b"], [b"a", b"b", b"c"], [b"a", b"b", b"c", "http.disconnect"]]
    assert len(lines) == 2


async def test_nothing_is_read_that_the_app_does_not_ask_for() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    receive, left = messages(b"a", b"b")
    await call(TransactionRetryMiddleware(app, is_conflict), http_scope(method="POST"), receive)
    assert [message["body"] for message in left] == [b"b"]


async def test_only_the_body_is_kept(lines: list[dict[str, Any]]) -> None:
    asked = 0

    async def gone() -> Message:
        nonlocal asked
        asked += 1
        return {"type": "http.disconnect"}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise ConflictError

    with pytest.raises(ConflictError):
        await call(
            TransactionRetryMiddleware(app, is_conflict, pause=(0, 0)),
            http_scope(method="POST"),
            gone,
        )
    assert (asked, len(lines)) == (3, 2)


async def test_each_attempt_gets_the_scope_as_it_came_and_the_last_one_is_left(
    lines: list[dict[str, Any]],
) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange_of(scope)
        seen.append({name: scope[name] for name in original} | {"state": dict(scope["state"])})
        attempt = len(seen)
        scope["route"] = f"route {attempt}"
        scope["path"] = "/changed"
        scope["state"]["user_id"] = attempt
        del scope["method"]
        if attempt < 3:
            raise ConflictError

    scope = http_scope("/x", method="POST", state={"pool": "shared"})
    original = {**scope, "state": dict(scope["state"])}
    await call(TransactionRetryMiddleware(app, is_conflict, pause=(0, 0)), scope)
    assert seen == [original] * 3
    assert scope["route"] == "route 3"
    assert scope["state"] == {"pool": "shared", "user_id": 3}
    assert len(lines) == 2


async def test_it_waits_a_little_and_not_always_the_same(
    lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ConflictError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    for _ in range(20):
        with pytest.raises(ConflictError):
            await call(TransactionRetryMiddleware(app, is_conflict), http_scope(method="POST"))
    assert len(pauses) == 40
    assert all(0.010 <= pause <= 0.050 for pause in pauses)
    assert len(set(pauses)) > 10
    assert len(lines) == 40


async def test_a_request_that_is_cancelled_is_not_run_again(lines: list[dict[str, Any]]) -> None:
    runs = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal runs
        runs += 1
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await call(TransactionRetryMiddleware(app, lambda _: True), http_scope(method="POST"))
    assert (runs, lines) == (1, [])


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_what_only_reads_is_not_run_again(method: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(receive)
        raise ConflictError

    seen: list[Receive] = []
    receive, _ = messages(b"")
    with pytest.raises(ConflictError):
        await call(
            TransactionRetryMiddleware(app, is_conflict, pause=(0, 0)),
            http_scope(method=method),
            receive,
        )
    assert seen == [receive]
