"""A wire to a server that can be cut, or carry nothing, at a moment of a test's choosing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from app.config import Settings

_CHUNK = 65536

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Wire:
    """Everybody who connects here is connected to the server, for as long as the wire holds."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._carries = asyncio.Event()
        self._carries.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._cuts_at: Callable[[bytes], bool] | None = None

    def freeze(self) -> None:
        """Carry nothing, as a server that is stopped answers nothing."""
        self._carries.clear()

    def thaw(self) -> None:
        self._carries.set()

    def cut(self) -> None:
        """Break off all connections there are; new ones can be made."""
        for end in self._ends:
            end.close()
        self._ends.clear()

    def cut_after(self, word: bytes) -> None:
        """Break off when somebody has sent this, once: the server gets it, its answer is lost."""
        self._cuts_at = lambda data: word in data

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await self._connect()
        self._ends |= {writer, server_writer}
        for source, sink, watched in (
            (reader, server_writer, True),
            (server_reader, writer, False),
        ):
            task = asyncio.create_task(self._pump(source, sink, watched=watched))
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, watched: bool
    ) -> None:
        with suppress(OSError):
            while data := await source.read(_CHUNK):
                await self._carries.wait()
                sink.write(data)
                if watched and self._cuts_at is not None and self._cuts_at(data):
                    self._cuts_at = None
                    await sink.drain()
                    self.cut()
                    return
        sink.close()

    async def aclose(self) -> None:
        self.thaw()
        self.cut()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)


@asynccontextmanager
async def wire_to_postgres(
    settings: Settings, folder: Path
) -> AsyncIterator[tuple[Wire, Settings]]:
    """A wire to the tests' Postgres, and the settings with which an application uses it."""
    where, port = settings.POSTGRES_SERVER, settings.POSTGRES_PORT
    name = f".s.PGSQL.{port}"

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if where.startswith("/"):
            return await asyncio.open_unix_connection(f"{where}/{name}")
        return await asyncio.open_connection(where, port)

    wire = Wire(connect)
    server = await asyncio.start_unix_server(wire.carry, folder / name)
    try:
        yield wire, settings.model_copy(update={"POSTGRES_SERVER": str(folder)})
    finally:
        server.close()
        await wire.aclose()
