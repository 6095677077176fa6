import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from fastapi import FastAPI, Form, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from app.core.middleware.body_limit import BodyLimitMiddleware
from app.core.middleware.edge import EdgeMiddleware

from .recorder import call, client, edge, http_scope

LIMIT = 1000
SECONDS = 60.0


def problem(_: Scope, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    return JSONResponse({}, exc.status_code, None, "application/problem+json")


def make_app() -> tuple[FastAPI, list[str]]:
    app, ran = FastAPI(), list[str]()

    @app.exception_handler(HTTPException)
    async def refuse(request: Request, exc: HTTPException) -> Response:
        return problem(request.scope, exc)

    @app.post("/json")
    async def take_json(items: list[str]) -> int:
        ran.append("json")
        return len(items)

    @app.post("/form")
    async def take_form(text: Annotated[str, Form()]) -> int:
        ran.append("form")
        return len(text)

    @app.post("/stream")
    async def take_stream(request: Request) -> int:
        return sum([len(part) async for part in request.stream()])

    @app.post("/unread")
    async def take_nothing() -> None:
        ran.append("unread")

    app.add_middleware(BodyLimitMiddleware, max_body_size=LIMIT, seconds=SECONDS)
    app.add_middleware(EdgeMiddleware, render=problem)
    return app, ran


async def parts(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("path", ["/json", "/form", "/stream"])
async def test_a_body_that_is_too_big_is_a_problem_like_any_other(
    path: str, *, chunked: bool
) -> None:
    app, ran = make_app()
    kind = "application/x-www-form-urlencoded" if path == "/form" else "application/json"
    async with client(app) as http:
        answer = await http.post(
            path,
            content=parts(600, 600) if chunked else b"x" * 1200,
            headers={"Content-Type": kind},
        )
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert ran == []


async def test_a_body_of_exactly_the_limit_passes() -> None:
    app, _ = make_app()
    async with client(app) as http:
        for content in (b"x" * LIMIT, parts(LIMIT - 1, 1)):
            answer = await http.post("/stream", content=content)
            assert (answer.status_code, answer.text) == (200, str(LIMIT))


async def test_a_declared_length_is_refused_before_the_route_does_its_work() -> None:
    app, ran = make_app()
    async with client(app) as http:
        answer = await http.post("/unread", content=b"x" * (LIMIT + 1))
    assert (answer.status_code, ran) == (413, [])


async def test_a_declared_length_is_refused_unread() -> None:
    async def never() -> Message:
        raise AssertionError("it was read")

    app, _ = make_app()
    scope = http_scope("/json", method="POST", headers=[(b"content-length", b"1001")])
    start, *_ = await call(app, scope, never)
    assert start["status"] == 413


async def test_a_length_that_lies_or_makes_no_sense_is_counted() -> None:
    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass

    async def endless() -> Message:
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    for length in (b"1", b"-5", b"many", "\u0663".encode()):
        scope = http_scope(headers=[(b"content-length", length)])
        with pytest.raises(HTTPException):
            await call(BodyLimitMiddleware(reading, LIMIT, SECONDS), scope, endless)


async def test_what_announces_no_body_is_not_wrapped() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(receive)

    async def receive() -> Message:
        raise AssertionError

    seen: list[Receive] = []
    await call(BodyLimitMiddleware(app, LIMIT, SECONDS), http_scope(), receive)
    assert seen == [receive]
    await call(BodyLimitMiddleware(app, LIMIT, SECONDS), http_scope(http_version="2"), receive)
    assert seen[-1] != receive


# --- Time -------------------------------------------------------------------------------------
async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_body_that_does_not_arrive_in_time_is_408_and_ends_the_connection() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    limited = edge(BodyLimitMiddleware(app, LIMIT, 0.01))
    scope = http_scope(method="POST", headers=[(b"content-length", b"10")])
    start, body = await call(limited, scope, never)
    assert (start["status"], json.loads(body["body"])["code"]) == (408, "request_timeout")
    assert (b"connection", b"close") in start["headers"]


async def test_the_time_is_that_of_the_whole_body(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines = set()
    timeout_at = asyncio.timeout_at

    def watched(when: float | None) -> asyncio.Timeout:
        deadlines.add(when)
        return timeout_at(when)

    async def drip() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(10):
            await receive()

    monkeypatch.setattr(asyncio, "timeout_at", watched)
    headers = [(b"transfer-encoding", b"chunked")]
    await call(BodyLimitMiddleware(app, LIMIT, SECONDS), http_scope(headers=headers), drip)
    assert len(deadlines) == 1


async def test_what_comes_after_the_body_may_take_its_time() -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"x"}]

    async def left_later() -> Message:
        if messages:
            return messages.pop()
        await asyncio.sleep(0.02)
        return {"type": "http.disconnect"}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        seen.append((await receive())["type"])

    seen: list[str] = []
    headers = [(b"content-length", b"1")]
    await call(BodyLimitMiddleware(app, LIMIT, 0.01), http_scope(headers=headers), left_later)
    assert seen == ["http.disconnect"]
