"""What `app/server.py` adds to uvicorn, on real sockets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send
from uvicorn.supervisors.multiprocess import Process

from app import server
from app.config import Settings
from app.core.middleware.security_headers import security_headers
from app.main import create_app
from app.server import TERMS, Protocol, Server, Terms

HOST = "127.0.0.1"
PATIENCE = 0.1
"""Seconds, where something is to be cut."""

LONG = 20.0
"""Seconds, where nothing may be: a test that takes this long has failed."""

SECURITY = security_headers(hsts=False)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
Call = Callable[[Scope, Receive, Send], Awaitable[None]]


async def answer(send: Send, status: int = 200, body: bytes = b"answer") -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


async def at_once(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers, without a look at the body."""
    await answer(send)


@dataclass
class Client:
    """A connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), LONG)).decode()
        line, *fields = head.strip().split("\r\n")
        headers = dict(field.lower().split(": ", 1) for field in fields)
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(line.split()[1]), headers, body

    async def rest(self) -> bytes:
        """All there is until the server closes."""
        return await asyncio.wait_for(self.reader.read(), LONG)


async def forever(do: Callable[[], Awaitable[None]]) -> None:
    while True:
        await do()
        await asyncio.sleep(PATIENCE / 10)


class Running:
    """A server in this process."""

    def __init__(self, app: Call, terms: Terms) -> None:
        async def whole(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "lifespan":
                await app(scope, receive, send)
                return
            await receive()
            scope["state"][TERMS] = terms
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})

        config = uvicorn.Config(
            whole,
            host=HOST,
            port=0,
            http=Protocol,
            lifespan="on",
            log_config=None,
            timeout_keep_alive=server.KEEP_ALIVE_SECONDS,
        )
        self.server = Server(config)
        self._task = asyncio.create_task(self.server._serve())

    async def start(self) -> None:
        while not self.server.started:  # noqa: ASYNC110 - uvicorn sends no event
            await asyncio.sleep(0.001)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()

    async def visit(self) -> None:
        async with self.client():
            pass

    def stop(self) -> None:
        self.server.should_exit = True

    async def end(self) -> None:
        self.stop()
        await asyncio.wait_for(self._task, LONG)


@asynccontextmanager
async def running(
    app: Call = at_once, *, header_seconds: float = LONG, headers: tuple[()] | None = None
) -> AsyncIterator[Running]:
    terms = Terms(header_seconds, SECURITY if headers is None else headers)
    one = Running(app, terms)
    await one.start()
    try:
        yield one
    finally:
        await one.end()


def says(raw: tuple[int, dict[str, str], bytes], status: int, code: str) -> None:
    """The answer is this problem, and looks like those that the application gives."""
    seen, headers, body = raw
    problem = json.loads(body)
    assert (seen, problem["status"], problem["code"]) == (status, status, code)
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == problem["request_id"]
    assert headers["connection"] == "close"
    for name, value in SECURITY:
        assert headers[name.decode().lower()] == value.decode().lower()


# --- Headers that do not come ------------------------------------------------------------------
@pytest.mark.parametrize("sent", [b"", b"\r\n", GET[:-2], GET + GET[:-2]])
async def test_who_sends_no_whole_headers_is_cut(sent: bytes) -> None:
    async with running(header_seconds=PATIENCE) as live, live.client() as client:
        await client.send(sent)
        answers = await client.rest()
        assert answers.count(b"HTTP/1.1 200") == sent.count(GET)


async def test_who_drips_headers_is_cut_too() -> None:
    async with running(header_seconds=PATIENCE) as live, live.client() as client:
        closed = asyncio.create_task(client.rest())
        await client.send(GET[:-2] + b"X-Slow: ")
        for _ in range(1000):
            await asyncio.wait([closed], timeout=PATIENCE / 10)
            if closed.done():
                break
            client.writer.write(b"a")
        assert await closed == b""


async def test_line_ends_do_not_keep_a_connection_open() -> None:
    async with running(header_seconds=PATIENCE) as live, live.client() as client:
        await client.send(GET)
        await client.answer()
        await client.send(b"\r\n")
        assert await client.rest() == b""


async def test_neither_a_slow_answer_nor_a_pause_between_requests_is_cut() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(PATIENCE * 3)
        await answer(send)

    async with running(slow, header_seconds=PATIENCE) as live, live.client() as client:
        for _ in range(2):
            await client.send(GET)
            assert (await client.answer())[0] == 200
            await asyncio.sleep(PATIENCE * 3)


async def test_a_slow_answer_comes_although_the_next_headers_do_not() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(PATIENCE * 3)
        await answer(send)

    async with running(slow, header_seconds=PATIENCE) as live, live.client() as client:
        await client.send(GET + GET[:-2])
        assert (await client.answer())[1]["connection"] == "close"
        assert await client.rest() == b""


async def test_the_setting_says_how_long(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"REQUEST_HEADER_TIMEOUT": 7}))
    async with app.router.lifespan_context(app) as state:
        terms = state[TERMS]
    assert terms == Terms(header_seconds=7, headers=security_headers(hsts=False))


async def test_headers_that_do_not_end_are_refused_while_they_come() -> None:
    async with running() as live, live.client() as client:
        await client.send(GET[:-2])
        answered = asyncio.create_task(client.answer())
        while not answered.done():
            await client.send(b"X-Endless: " + b"a" * 4096 + b"\r\n")
            await asyncio.sleep(0)
        says(await answered, 431, "headers_too_large")


async def test_a_large_body_is_not_counted_with_the_headers_that_follow_it() -> None:
    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await answer(send)

    body = b" " * server.MAXIMUM_HEAD_BYTES
    post = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with running(reads) as live, live.client() as client:
        await client.send(post + body + GET[:-2])
        await client.answer()
        await client.send(GET[-2:])
        assert (await client.answer())[0] == 200


# --- What is no HTTP ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"hello?\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nName without colon\r\n\r\n",
        b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    ],
)
async def test_what_is_no_http_is_answered_like_any_other_error(sent: bytes) -> None:
    async with running() as live, live.client() as client:
        await client.send(sent)
        says(await client.answer(), 400, "bad_request")
        assert await client.rest() == b""


async def test_it_says_nothing_of_security_where_the_application_does_not() -> None:
    async with running(headers=()) as live, live.client() as client:
        await client.send(b"\x00")
        _, headers, _ = await client.answer()
        assert "x-content-type-options" not in headers


async def test_what_follows_a_request_does_not_change_its_answer() -> None:
    async with running() as live, live.client() as client:
        await client.send(GET + b"\x00\x00 no HTTP\r\n\r\n")
        assert (await client.answer())[0] == 200
        assert b"HTTP/1.1" not in await client.rest()


async def test_a_body_that_goes_wrong_is_refused_and_its_request_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "LINGER_SECONDS", LONG)
    heard: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive()).get("more_body"):
            pass
        heard.set_result(message)

    async with running(reads) as live, live.client() as client:
        await client.send(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\nno length\r\n"
        )
        says(await client.answer(), 400, "bad_request")
        async with asyncio.timeout(LONG):
            assert (await heard)["type"] == "http.disconnect"


# --- Answers before the end of a request ------------------------------------------------------
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n"


async def too_large(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, 413)


async def test_who_is_still_sending_gets_the_answer() -> None:
    async with running(too_large) as live, live.client() as client:
        await client.send(POST)
        # Far more than all buffers hold, and nothing is read before it is sent.
        for _ in range(400):
            await client.send(b" " * 65536)
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert await client.rest() == b""


async def test_who_goes_on_sending_is_listened_to_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "LINGER_SECONDS", PATIENCE)
    async with running(too_large) as live, live.client() as client:
        await client.send(POST)
        await client.answer()
        assert await client.rest() == b""
        async with asyncio.timeout(LONG):
            with pytest.raises(ConnectionError):
                await forever(lambda: client.send(b" "))


# --- The end ------------------------------------------------------------------------------------
async def test_an_idle_connection_may_still_ask_when_the_end_has_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "SETTLE_SECONDS", 0)
    async with running() as live, live.client() as idle, live.client() as asking:
        for client in (idle, asking):
            await client.send(GET)
            assert "connection" not in (await client.answer())[1]
        live.stop()
        await asyncio.sleep(server.IDLE_SECONDS / 2)
        await asking.send(GET)
        status, headers, _ = await asking.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert [await client.rest() for client in (idle, asking)] == [b"", b""]


async def test_who_is_being_answered_is_answered_and_nobody_else_is_let_in() -> None:
    begun, may_answer = asyncio.Event(), asyncio.Event()

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await may_answer.wait()
        await answer(send)

    async with running(held) as live, live.client() as client:
        await client.send(GET)
        await begun.wait()
        live.stop()
        async with asyncio.timeout(LONG):
            with pytest.raises(ConnectionRefusedError):
                await forever(live.visit)
        may_answer.set()
        assert (await client.answer())[0] == 200


async def test_who_waits_to_be_accepted_is_let_in() -> None:
    async with running() as live:
        waiting = [socket.create_connection((HOST, live.port)) for _ in range(20)]
        for one in waiting:
            one.sendall(GET)
        # Nothing has been awaited: nobody has been accepted.
        ending = asyncio.create_task(live.server.shutdown())
        for one in waiting:
            client = Client(*await asyncio.open_connection(sock=one))
            assert (await client.answer())[0] == 200
            client.writer.close()
        await ending


def test_workers_end_as_a_single_process_does() -> None:
    process = Process(uvicorn.Config(at_once, http=Protocol), [])
    assert type(process.server) is Server
