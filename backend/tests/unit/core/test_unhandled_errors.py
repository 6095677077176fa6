import asyncio
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.middleware import errors
from app.core.middleware.answer_headers import AnswerHeadersMiddleware
from app.core.middleware.cors import CorsPolicy
from app.core.middleware.errors import UnhandledErrorMiddleware
from app.core.middleware.security_headers import security_headers

from .recorder import call, client, http_scope, record_log


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    return record_log(monkeypatch, errors)


def render(scope: Scope, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    return JSONResponse({"instance": scope["path"]}, status, None, "application/problem+json")


def raising(exc: BaseException, *, after_start: bool = False) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if after_start:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise exc

    return UnhandledErrorMiddleware(app, render)


async def test_it_becomes_a_problem_and_one_line_with_the_traceback(
    lines: list[dict[str, Any]],
) -> None:
    async with client(raising(ZeroDivisionError("detail"))) as http:
        answer = await http.get("/somewhere")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {"instance": "/somewhere"}
    assert lines == [{"event": "unhandled_error", "exc_info": True, "log_level": "error"}]


async def test_the_answer_carries_cors_and_security_headers(lines: list[dict[str, Any]]) -> None:
    cors = CorsPolicy(["http://spa"], methods=[], request_headers=[], exposed_headers=[])
    app = AnswerHeadersMiddleware(
        raising(ZeroDivisionError()), security=security_headers(hsts=True), cors=cors
    )
    async with client(app) as http:
        answer = await http.get("/", headers={"Origin": "http://spa"})
    assert answer.status_code == 500
    assert answer.headers["access-control-allow-origin"] == "http://spa"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(lines) == 1


async def test_a_middlewares_own_refusal_is_rendered_and_not_logged(
    lines: list[dict[str, Any]],
) -> None:
    async with client(raising(HTTPException(413))) as http:
        assert (await http.get("/")).status_code == 413
    assert lines == []


async def test_after_the_start_it_goes_on(lines: list[dict[str, Any]]) -> None:
    with pytest.raises(ZeroDivisionError):
        await call(raising(ZeroDivisionError(), after_start=True), http_scope())
    assert lines == [
        {"event": "answer_broken_off", "error": "ZeroDivisionError", "log_level": "error"}
    ]


@pytest.mark.parametrize("exc", [ClientDisconnect(), asyncio.CancelledError()])
async def test_a_request_that_was_given_up_is_left_alone(
    lines: list[dict[str, Any]], exc: BaseException
) -> None:
    with pytest.raises(type(exc)) as raised:
        await call(raising(exc), http_scope())
    assert raised.value is exc
    assert lines == []
