from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from fastapi import FastAPI, Form, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from app.core.middleware.body_limit import BodyLimitMiddleware
from app.core.middleware.errors import UnhandledErrorMiddleware

from .recorder import call, client, http_scope

LIMIT = 1000


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

    app.add_middleware(BodyLimitMiddleware, max_body_size=LIMIT)
    app.add_middleware(UnhandledErrorMiddleware, render=problem)
    app.add_middleware(CORSMiddleware, allow_origins=["http://spa"])
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
            headers={"Content-Type": kind, "Origin": "http://spa"},
        )
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["access-control-allow-origin"] == "http://spa"
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
            await call(BodyLimitMiddleware(reading, LIMIT), scope, endless)
