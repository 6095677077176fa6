import asyncio
import gc
import weakref
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.core.exchange import Exchange, exchange_of

from .recorder import call, edge, http_scope


def exchange(*headers: tuple[bytes, bytes]) -> Exchange:
    async def send(message: Message) -> None:
        raise AssertionError

    return Exchange(http_scope(headers=list(headers)), send)


def test_a_header_that_stands_there_once_has_one_value() -> None:
    asked = exchange((b"host", b"a"), (b"accept", b"*"))
    assert (asked.one(b"host"), asked.has(b"host"), asked.all(b"host")) == (b"a", True, [b"a"])
    assert (asked.one(b"origin"), asked.has(b"origin"), asked.all(b"origin")) == (None, False, [])


def test_a_header_that_stands_there_twice_has_no_one_value() -> None:
    asked = exchange((b"host", b"a"), (b"accept", b"*"), (b"host", b"a"))
    assert (asked.one(b"host"), asked.has(b"host")) == (None, True)
    assert asked.all(b"host") == [b"a", b"a"]
    assert asked.one(b"accept") == b"*"


def test_the_bytes_of_all_headers_are_counted() -> None:
    assert exchange((b"host", b"abc"), (b"host", b""), (b"x", b"yz")).header_bytes == 14


def answering(*headers: tuple[bytes, bytes], **fields: Any) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        for name, value in fields.items():
            setattr(exchange, name, value)
        assert exchange.status is None
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        assert exchange.status == 201
        await send({"type": "http.response.body", "body": b"123", "more_body": True})
        await send({"type": "http.response.body", "body": b"45"})
        assert exchange.size == 5

    return app


async def test_a_default_gives_way_to_what_the_answer_says_itself() -> None:
    defaults = {b"cache-control": b"no-store", b"x-frame-options": b"DENY"}
    app = answering((b"cache-control", b"max-age=60"), defaults=defaults)
    start, *_ = await call(app, http_scope())
    assert start["headers"] == [(b"cache-control", b"max-age=60"), (b"x-frame-options", b"DENY")]


async def test_defaults_come_after_what_the_answer_says() -> None:
    app = answering((b"content-type", b"text/plain"), defaults={b"x-frame-options": b"DENY"})
    start, *_ = await call(app, http_scope())
    assert start["headers"] == [(b"content-type", b"text/plain"), (b"x-frame-options", b"DENY")]


async def test_what_is_added_stands_beside_what_the_answer_says_itself() -> None:
    app = answering((b"vary", b"Accept"), added=((b"vary", b"Origin"),))
    start, *_ = await call(app, http_scope())
    assert start["headers"] == [(b"vary", b"Accept"), (b"vary", b"Origin")]


async def test_the_request_id_is_the_only_one() -> None:
    app = answering((b"x-request-id", b"another's"), request_id=b"mine")
    start, *_ = await call(app, http_scope())
    assert start["headers"] == [(b"x-request-id", b"mine")]


async def test_an_answer_without_headers_gets_those_of_the_edge() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange_of(scope).request_id = b"mine"
        await send({"type": "http.response.start", "status": 200})

    start, *_ = await call(app, http_scope())
    assert start["headers"] == [(b"x-request-id", b"mine")]


@pytest.mark.parametrize("fails", [True, False])
async def test_nothing_is_left_for_the_garbage_collector(*, fails: bool) -> None:
    """As in a server, whose `send` knows the scope."""

    class Cycle:
        def __init__(self, scope: Scope) -> None:
            self.scope = scope

        async def send(self, message: Message) -> None: ...

        async def receive(self) -> Message:
            raise AssertionError

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if fails:
            raise asyncio.CancelledError

    gc.disable()
    try:
        cycle = Cycle(http_scope())
        known = weakref.ref(cycle)
        try:
            await edge(app)(cycle.scope, cycle.receive, cycle.send)
        except asyncio.CancelledError:
            assert fails
        del cycle
        assert known() is None
    finally:
        gc.enable()
