"""How Postgres is reached, and how it is noticed that it has fallen silent.

A server that is gone closes its connections, and everybody knows. One that is frozen, or behind a
network that swallows packets, does not: whoever waits for it would wait until a timeout that must
be long, since some statements are. So while anybody waits, a `Pulse` asks for as little as there
is, and when that is not answered, all who wait are told at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

import asyncpg
import structlog

from app.config import Settings

log = structlog.get_logger(__name__)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CONNECT_TIMEOUT_SECONDS = 3
STATEMENT_TIMEOUT_SECONDS = 10
LOCK_TIMEOUT_SECONDS = 5

SERVER_SETTINGS = {
    "application_name": "oneslot",
    "timezone": "UTC",
    "jit": "off",
    "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
    "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
    "idle_in_transaction_session_timeout": "60s",
}

# Half a second and three: who waits for a silent server knows after four seconds.
_BETWEEN_BEATS_SECONDS = 0.5
_PATIENCE_SECONDS = 3.0
_SLICES = 30

LOST = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)
"""What is raised where no answer came: the server is away, going or coming, or its client gave up.

`InternalClientError` is what asyncpg stumbles over when it is cut off in the middle.
"""


async def connect(settings: Settings, **options: Any) -> Connection:  # noqa: ANN401 - asyncpg's own
    """A connection that speaks UTC and gives up rather than hang.

    A statement may run 10 s and wait 5 s for a lock; the client gives up a second later than the
    server. `options` are asyncpg's.
    """
    return await asyncpg.connect(
        **{
            "host": settings.POSTGRES_SERVER,
            "port": settings.POSTGRES_PORT,
            "user": settings.POSTGRES_USER,
            "password": settings.POSTGRES_PASSWORD.get_secret_value() or None,
            "database": settings.POSTGRES_DB,
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "command_timeout": STATEMENT_TIMEOUT_SECONDS + 1,
            "server_settings": SERVER_SETTINGS,
        }
        | options
    )


class Pulse:
    """Asks Postgres on a connection of its own: the others' would wait with them."""

    def __init__(self, open_connection: Callable[[], Awaitable[Connection]]) -> None:
        self.is_beating = True
        self._open = open_connection
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()

    async def ask(self, question: str = "SELECT 1") -> list[Any]:
        """The first column of the answer, in one round trip.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: there is none.
        """
        async with self._turn:
            try:
                rows = await self._rows(question)
            except BaseException:
                # Also when nobody waits any more: the answer may still come.
                self.hang_up()
                raise
        if not self.is_beating:
            self.is_beating = True
            log.warning("postgres_answers_again")
        return [row[0] for row in rows]

    async def watch(self, is_awaited: Callable[[], bool], on_silence: Callable[[], None]) -> None:
        """Ask for ever: as long as somebody waits for Postgres, and from its silence to its return.

        `on_silence` is called once for each silence.
        """
        while True:
            await asyncio.sleep(_BETWEEN_BEATS_SECONDS)
            if self.is_beating and not is_awaited():
                continue
            silence = await self._silence()
            if silence is not None and self.is_beating:
                self.is_beating = False
                log.warning("postgres_silent", error=silence)
                on_silence()

    def hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _rows(self, question: str) -> list[Any]:
        rows: list[Any]
        if self._connection is not None:
            # It may have been lost since it was used last: that says nothing about Postgres now.
            with suppress(*LOST):
                rows = await self._connection.fetch(question)
                return rows
            self.hang_up()
        self._connection = await self._open()
        rows = await self._connection.fetch(question)
        return rows

    async def _silence(self) -> str | None:
        """The kind of silence that Postgres keeps; None: it answered."""
        asking = asyncio.ensure_future(self.ask())
        try:
            # In slices, which a process that stands still, or has to share its CPU with too many,
            # is late with: it is patient for longer, since the answer may lie there unread.
            for _ in range(_SLICES):
                await asyncio.wait([asking], timeout=_PATIENCE_SECONDS / _SLICES)
                if asking.done():
                    break
        finally:
            asking.cancel()
        await asyncio.wait([asking])
        if asking.cancelled():
            return "TimeoutError"
        error = asking.exception()
        # A refusal is an answer, unless the server says that it is going or coming.
        return type(error).__name__ if isinstance(error, LOST) else None
