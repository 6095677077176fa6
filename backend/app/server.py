"""`python -m app.server`: uvicorn, with what its sockets lack.

- Headers that do not arrive in time (REQUEST_HEADER_TIMEOUT), or do not end, are cut.
- What is no HTTP is answered by a problem like any other error.
- A client that is still sending when it has its answer is listened to for a moment: to close at
  once would reset the connection, and the answer with it (RFC 9112, 9.6).
- When the process ends, idle connections are closed a moment later: a request may be on its way. It
  is answered, with `Connection: close`.
"""

import argparse
import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import uvicorn
from uuid_utils import uuid7
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.supervisors import ChangeReload, Multiprocess, multiprocess

from app.core.exchange import Field
from app.core.migrations import BACKEND
from app.core.problems import MEDIA_TYPE

GRACE_SECONDS = 20
"""For the requests that are being answered when the end begins."""

KEEP_ALIVE_SECONDS = 65
"""Longer than load balancers keep idle connections: let them close, who know what they send."""

MAXIMUM_HEAD_BYTES = 64 * 1024
"""Of a request line and headers that do not end; the application's own bounds are tighter."""

SETTLE_SECONDS = 0.3
"""Until the other workers listen no more either: whoever has to leave would come back to one."""

IDLE_SECONDS = 1.0
LINGER_SECONDS = 2.0

TERMS = "terms"
"""The name of the `Terms` in what the application's lifespan gives the server."""


@dataclass(frozen=True)
class Terms:
    """On what terms the application is served."""

    header_seconds: float = 10.0
    headers: tuple[Field, ...] = ()
    """Sent with an answer that is given without the application."""


class Protocol(HttpToolsProtocol):
    """One connection.

    For a request that comes in one piece all of this costs next to nothing: no timer is needed.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._terms: Terms = self.app_state.get(TERMS) or Terms()
        self._outlet = _Outlet(transport, self._close)
        self._reads_head = False
        self._head_bytes = 0
        self._lingers = False
        self._is_leaving = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._lingers:
            return
        begun = self.scope if self._reads_head else None
        super().data_received(data)
        # Line ends between requests are no request, but they did end uvicorn's own timer.
        if (self._answers and not self._reads_head) or self._is_closing:
            return
        if begun is not None and self.scope is begun:  # else most of this may be the request before
            self._head_bytes += len(data)
        if self._head_bytes > MAXIMUM_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large")
        elif self._head_timer is None:
            self._expect_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reads_head = True

    def on_headers_complete(self) -> None:
        self._have_head()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.transport = cast("asyncio.Transport", self._outlet)
            if self._is_leaving:
                self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        if self.cycle.response_complete and self.cycle.more_body:
            self._close()  # else whoever drips a body that nobody reads would stay for ever
        if self._lingers:
            self.server_state.total_requests += 1
        else:
            super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words
        if not self._answers:
            self._refuse(HTTPStatus.BAD_REQUEST, "bad_request")
        elif not self.cycle.more_body:
            # It is no part of the request that is being answered, whose client must not be misled.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        elif self.cycle.response_started or self.pipeline:
            self.transport.close()
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, "bad_request")
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def shutdown(self) -> None:
        self.loop.call_later(SETTLE_SECONDS, self._leave)

    def _leave(self) -> None:
        self._is_leaving = True
        if self._answers:
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(IDLE_SECONDS, self._close_if_idle)

    @property
    def _is_closing(self) -> bool:
        return self._lingers or self.transport.is_closing()

    @property
    def _answers(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _close_if_idle(self) -> None:
        if not self._answers and not self._reads_head:
            self.transport.close()

    def _close(self) -> None:
        """Close when the client has the answer, or soon after."""
        if self.cycle.more_body:
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        """Close when the client has stopped sending, or soon: see the top."""
        if not self.transport.can_write_eof():
            self.transport.close()
        elif not self._lingers:
            self._lingers = True
            self.flow.resume_reading()
            self.transport.write_eof()
            self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self._terms.header_seconds, self._cut)

    def _cut(self) -> None:
        if self._answers:
            self.cycle.keep_alive = False  # the answer to the request before is still to come
        else:
            self.transport.close()

    def _have_head(self) -> None:
        self._reads_head = False
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: HTTPStatus, code: str) -> None:
        """Answer what never becomes a request, and close."""
        self._have_head()
        request_id = str(uuid7())
        problem: dict[str, object] = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status.value,
            "detail": status.description,
            "instance": "/",
            "code": code,
            "request_id": request_id,
            "errors": [],
        }
        body = json.dumps(problem).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", request_id.encode()),
            *self._terms.headers,
            (b"connection", b"close"),
        ]
        lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode())]
        lines += [b"%s: %s" % header for header in headers]
        self.transport.write(b"\r\n".join([*lines, b"", body]))
        self._linger()


class Cycle(RequestResponseCycle):
    """A request and its answer."""

    async def send(self, message: ASGISendEvent) -> None:
        if self.more_body and not self.response_started:
            self.keep_alive = False  # what still comes would be taken for the next request
        await super().send(message)


# What the protocol makes for each request.
httptools_impl.RequestResponseCycle = Cycle  # type: ignore[misc]  # there is no other way to say so


class _Outlet:
    """What a request's answer is written to: the connection, which decides itself how to close."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


class Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does, but those who wait to be accepted are let in, not reset."""
        late: list[socket.socket] = []
        for server in self.servers:
            late += _waiting(server.sockets)
            server.close()  # at once: whoever comes in between is reset
        loop = asyncio.get_running_loop()
        arrivals = [loop.connect_accepted_socket(self._connection, one) for one in late]
        await asyncio.gather(super().shutdown(sockets), *arrivals)

    def _connection(self) -> Protocol:
        return Protocol(self.config, self.server_state, self.lifespan.state)


def _waiting(listening: Iterable[socket.socket]) -> Iterator[socket.socket]:
    """Those who have connected, and wait to be accepted."""
    for each in listening:
        with socket.socket(fileno=os.dup(each.fileno())) as queue:
            queue.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    yield queue.accept()[0]


# What `Multiprocess` runs in its processes, all of which come by here.
multiprocess.Server = Server  # type: ignore[attr-defined]  # there is no other way to say so


class Workers(Multiprocess):
    """Several processes that accept from one socket."""

    def join_all(self) -> None:
        # They have closed theirs. As long as this one is open, whoever connects waits for nobody.
        for listening in self.sockets:
            listening.close()
        super().join_all()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m app.server", description=__doc__)
    parser.add_argument("application", nargs="?", default="app.main:create_app")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--fd", type=int, help="a socket that is listened to, instead of these")
    parser.add_argument("--workers", type=int, help="processes; default: WEB_CONCURRENCY, or one")
    parser.add_argument("--reload", action="store_true", help="start anew when the code changes")
    parser.add_argument("--grace", type=int, default=GRACE_SECONDS, help="seconds, at the end")
    given = parser.parse_args()
    config = uvicorn.Config(
        given.application,
        factory=True,
        http=Protocol,
        ws="none",
        host=given.host,
        port=given.port,
        fd=given.fd,
        workers=given.workers,
        reload=given.reload,
        reload_dirs=[str(BACKEND / "app")] if given.reload else None,
        # Our own access log and headers replace uvicorn's; proxies are trusted by the application.
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=given.grace,
    )
    server = Server(config)
    if config.should_reload:
        ChangeReload(config, target=server.run, sockets=[config.bind_socket()]).run()
    elif config.workers > 1:
        Workers(config, sockets=[config.bind_socket()]).run()
    else:
        server.run()
        if not server.started:
            sys.exit(1)


if __name__ == "__main__":
    main()
