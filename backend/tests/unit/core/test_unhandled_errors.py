import asyncio
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.exchange import Exchange
from app.core.middleware import errors
from app.core.middleware.answer_headers import AnswerHeaders
from app.core.middleware.cors import CorsPolicy
from app.core.middleware.edge import Check
from app.core.middleware.security_headers import security_headers

from .recorder import call, client, edge, http_scope, record_log


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    return record_log(monkeypatch, errors)


def raising(exc: BaseException, *checks: Check, after_start: bool = False) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if after_start:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise exc

    return edge(app, *checks)


async def test_it_becomes_a_problem_and_one_line_with_the_traceback(
    lines: list[dict[str, Any]],
) -> None:
    async with client(raising(ZeroDivisionError("detail of it"))) as http:
        answer = await http.get("/somewhere")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["instance"] == "/somewhere"
    assert "detail of it" not in answer.text
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("unhandled_error", "error")
    assert isinstance(line["exc_info"], ZeroDivisionError)


async def test_the_answer_carries_cors_and_security_headers(lines: list[dict[str, Any]]) -> None:
    cors = CorsPolicy(["http://spa"], methods=[], request_headers=[], exposed_headers=[])
    headers = AnswerHeaders(security=security_headers(hsts=True), cors=cors)
    app = raising(ZeroDivisionError(), headers)
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
    (line,) = lines
    assert line.pop("request_id")
    assert line == {
        "event": "answer_broken_off",
        "error": "ZeroDivisionError",
        "log_level": "error",
    }


async def test_a_request_that_was_cancelled_is_left_alone(lines: list[dict[str, Any]]) -> None:
    cancelled = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError) as raised:
        await call(raising(cancelled), http_scope())
    assert raised.value is cancelled
    assert lines == []


async def test_a_client_that_left_is_no_error(lines: list[dict[str, Any]]) -> None:
    assert await call(raising(ClientDisconnect()), http_scope()) == []
    assert lines == []


async def test_what_a_check_refuses_is_answered_in_its_place(lines: list[dict[str, Any]]) -> None:
    def refuse(scope: Scope, exchange: Exchange) -> None:
        raise HTTPException(431)

    async with client(raising(ZeroDivisionError(), refuse)) as http:
        answer = await http.get("/")
    assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")
    assert lines == []


async def test_checks_run_in_their_order_until_one_answers() -> None:
    ran = []

    def check(name: str, answer: Response | None = None) -> Check:
        def run(scope: Scope, exchange: Exchange) -> Response | None:
            ran.append(name)
            return answer

        return run

    app = raising(ZeroDivisionError(), check("a"), check("b", Response("b")), check("c"))
    async with client(app) as http:
        assert (await http.get("/")).text == "b"
    assert ran == ["a", "b"]
