import asyncio
from uuid import UUID

import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.core.context import add_request_id, bound_request_id, current_request_id

from .recorder import call, client, edge, http_scope


async def seen(_: Request) -> JSONResponse:
    await asyncio.sleep(0)
    line = add_request_id(None, "info", {})
    return JSONResponse({"current": current_request_id(), "log": line["request_id"]})


shared_answer = JSONResponse({})


async def shared(_: Request) -> JSONResponse:
    return shared_answer


async def with_own_id(_: Request) -> JSONResponse:
    return JSONResponse({}, headers={"X-Request-ID": "of-someone-else"})


app = edge(
    Starlette(
        routes=[Route("/seen", seen), Route("/shared", shared), Route("/own", with_own_id)],
    )
)


@pytest.mark.parametrize("incoming", ["a", "Az09._-", "x" * 128])
async def test_a_well_formed_id_is_kept(incoming: str) -> None:
    async with client(app) as http:
        answer = await http.get("/seen", headers={"X-Request-ID": incoming})
    assert answer.headers["X-Request-ID"] == incoming
    assert answer.json() == {"current": incoming, "log": incoming}


@pytest.mark.parametrize(
    "incoming", [b"", b"x" * 129, b"a b", b"a\nb", b"a\n", b"\xc3\xa4", b'{"a":1}', b"../x"]
)
async def test_any_other_id_is_replaced(incoming: bytes) -> None:
    scope = http_scope("/seen", headers=[(b"x-request-id", incoming)])
    start, *_ = await call(app, scope)
    (answered,) = [value for name, value in start["headers"] if name == b"x-request-id"]
    assert UUID(answered.decode()).version == 7


async def test_ids_are_new_for_each_request_and_do_not_mix() -> None:
    async with client(app) as http:
        answers = await asyncio.gather(*(http.get("/seen") for _ in range(20)))
    ids = [answer.headers["X-Request-ID"] for answer in answers]
    assert len(set(ids)) == 20
    assert [answer.json()["current"] for answer in answers] == ids


async def test_nothing_is_left_after_the_request() -> None:
    with bound_request_id("outer"):
        await call(app, http_scope("/seen"))
        assert current_request_id() == "outer"
    assert current_request_id() is None
    assert add_request_id(None, "info", {}) == {}


async def test_errors_that_nobody_routes_carry_one_too() -> None:
    async with client(app) as http:
        answer = await http.get("/missing", headers={"X-Request-ID": "abc"})
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (404, "abc")


@pytest.mark.parametrize("path", ["/shared", "/own"])
async def test_there_is_exactly_one_even_on_an_answer_that_is_used_again(path: str) -> None:
    async with client(app) as http:
        for request_id in ("first", "second"):
            answer = await http.get(path, headers={"X-Request-ID": request_id})
            assert answer.headers.get_list("X-Request-ID") == [request_id]


async def test_a_client_that_left_is_not_an_error() -> None:
    async def gone(scope: Scope, receive: Receive, send: Send) -> None:
        raise ClientDisconnect

    assert await call(edge(gone), http_scope()) == []


async def test_a_request_that_is_cancelled_is() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await call(edge(broken), http_scope())
    assert current_request_id() is None
