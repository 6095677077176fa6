"""A program that webhooks tell: a socket in the test's own event loop that counts who comes."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """What arrived, in order, and what to answer to the next ones, before all are taken again."""

    def __init__(self) -> None:
        self.connections = 0
        self.received: list[Received] = []
        self.answers: deque[bytes] = deque()
        self.port = 0

    def url(self, host: str = "127.0.0.1", *, scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}/hooks?a=b"

    def answer(self, *statuses: int, **headers: str) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        for status in statuses:
            content = f"HTTP/1.1 {status} Said\r\ncontent-length: 2\r\n{lines}\r\nok"
            self.answers.append(content.encode())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.rstrip("\r\n").split("\r\n")
            headers = {
                name.lower(): value
                for name, _, value in (field.partition(": ") for field in fields)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.received.append(Received(line, headers, body))
            writer.write(self.answers.popleft() if self.answers else TAKEN)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # a visitor that was no HTTP client has been counted
        finally:
            writer.close()


@asynccontextmanager
async def receiving(
    *hosts: str, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver that listens on these addresses, all with one port."""
    receiver, servers = Receiver(), list[asyncio.Server]()
    receiver.port = port
    try:
        for host in hosts or ("127.0.0.1",):
            server = await asyncio.start_server(receiver.serve, host, receiver.port, ssl=tls)
            servers.append(server)
            receiver.port = server.sockets[0].getsockname()[1]
        yield receiver
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()
