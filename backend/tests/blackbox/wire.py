"""HTTP by hand, for what no client library would send."""

import asyncio
from dataclasses import dataclass

from devserver.throwaway import HOST, Server


@dataclass(frozen=True)
class Raw:
    """An answer as it stands on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


async def exchange(server: Server, request: bytes) -> Raw:
    """Send these bytes, and read one answer, which must end the connection or say its length."""
    reader, writer = await asyncio.open_connection(HOST, server.port)
    try:
        writer.write(request)
        await writer.drain()
        return await answer(reader)
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> Raw:
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).decode("latin-1")
    line, *fields = head.strip().split("\r\n")
    headers = {}
    for field in fields:
        name, _, value = field.partition(":")
        headers[name.lower()] = value.strip()
    length = int(headers.get("content-length", 0))
    return Raw(int(line.split()[1]), headers, await reader.readexactly(length))


def get(path: str, *fields: str) -> bytes:
    """A GET with exactly these header fields."""
    return "\r\n".join([f"GET {path} HTTP/1.1", *fields, "", ""]).encode("latin-1")
