"""A real server in a process of its own, and many accounts that call it at once."""

import asyncio
import multiprocessing
import os
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import asyncpg
import httpx
from sqlalchemy.ext.asyncio import AsyncSession

from app import server, worker
from app.auth.permissions import CUSTOMER
from app.auth.repository import add_user
from app.auth.role_repository import ids_named
from app.auth.session_repository import open_session
from app.auth.tokens import Claims, TokenSigner
from app.config import Settings
from app.database import Database
from tests.business import WEEKDAYS, Caller

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

APPLICATION = "app.main:create_app"
ROUND_THE_CLOCK = {day: [("00:00", "24:00")] for day in WEEKDAYS}


class Reachable(Protocol):
    def client(self) -> httpx.AsyncClient: ...


def client_of(url: str) -> httpx.AsyncClient:
    """A client with a connection of its own."""
    return httpx.AsyncClient(base_url=url, timeout=60, verify=False)  # noqa: S501 - no TLS


# Processes are forked from one that has imported the application already: to import it takes longer
# than most of what they are started for.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["app.main", server.__name__, worker.__name__])


class Server:
    """The application, to be killed and started again at the same address.

    The socket is ours: whoever connects before the process is ready, or between two of them,
    waits in the kernel's queue, so nobody has to ask whether the server is up.
    """

    def __init__(self, settings: Settings, factory: str = APPLICATION) -> None:
        self._settings = settings
        self._factory = factory
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._process: ForkServerProcess | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def process(self) -> "ForkServerProcess":
        assert self._process is not None, "not started"
        return self._process

    def start(self) -> None:
        given = os.environ | environment(self._settings)
        self._process = _FORKS.Process(target=_serve, args=(given, self._factory, self._socket))
        self._process.start()

    def client(self) -> httpx.AsyncClient:
        return client_of(self.url)

    async def died(self) -> int:
        """Wait for the end of the process; minus the signal that ended it."""
        await asyncio.to_thread(self.process.join)
        assert self.process.exitcode is not None
        return self.process.exitcode

    async def kill(self) -> None:
        self.process.kill()
        await self.died()

    async def stop(self) -> None:
        if self._process is not None and self._process.is_alive():
            self._process.terminate()
            await self.died()
        self._socket.close()


class Worker:
    """`python -m app.worker`, to be killed and started again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: ForkServerProcess | None = None

    def start(self) -> None:
        given = os.environ | environment(self._settings)
        self._process = _FORKS.Process(target=_work, args=(given,))
        self._process.start()

    async def kill(self) -> None:
        assert self._process is not None, "not started"
        self._process.kill()
        await asyncio.to_thread(self._process.join)


def _serve(given: Mapping[str, str], factory: str, listening: socket.socket) -> None:
    _become(given, factory, "--fd", str(listening.fileno()))
    server.main()


def _work(given: Mapping[str, str]) -> None:
    _become(given)
    worker.main()


def _become(given: Mapping[str, str], *arguments: str) -> None:
    """A process with this environment and these arguments."""
    os.environ.clear()
    os.environ.update(given)
    sys.argv[1:] = arguments


def environment(settings: Settings) -> dict[str, str]:
    """What `make_settings` sets, for another process."""
    return {
        "ACCOUNT_MAIL_DELAY_SECONDS": str(settings.ACCOUNT_MAIL_DELAY_SECONDS),
        "BCRYPT_ROUNDS": str(settings.BCRYPT_ROUNDS),
        "FIRST_SUPERUSER_PASSWORD": settings.FIRST_SUPERUSER_PASSWORD.get_secret_value(),
        "JOBS_IN_PROCESS": str(settings.JOBS_IN_PROCESS),
        "LOG_LEVEL": settings.LOG_LEVEL,
        "MAIL_PORT": str(settings.MAIL_PORT),
        "MAIL_SERVER": settings.MAIL_SERVER,
        "POSTGRES_DB": settings.POSTGRES_DB,
        "POSTGRES_POOL_SIZE": str(settings.POSTGRES_POOL_SIZE),
        "RATE_LIMIT_ENABLED": str(settings.RATE_LIMIT_ENABLED),
        "SECRET_KEY": settings.SECRET_KEY.get_secret_value(),
        "WEBHOOK_ALLOWED_NETWORKS": ",".join(settings.WEBHOOK_ALLOWED_NETWORKS),
    }


def next_monday() -> datetime:
    """Midnight, in UTC, of a Monday at least a week ahead of the server's own clock."""
    day = datetime.now(UTC).date() + timedelta(days=7)
    return datetime.combine(day + timedelta(days=-day.weekday() % 7), time(), UTC)


@asynccontextmanager
async def customers(
    settings: Settings, server: Reachable, number: int, *, role: str = CUSTOMER
) -> AsyncIterator[list[Caller]]:
    """Customers, or others, each with an account and a connection of their own.

    The accounts are written to the database at once, instead of signed up one by one.
    """
    database, signer, now = (
        Database.from_settings(settings),
        TokenSigner(settings),
        datetime.now(UTC),
    )
    try:
        async with database.transaction() as session:
            logins = [await _logged_in(session, role, now) for _ in range(number)]
    finally:
        await database.dispose()
    async with AsyncExitStack() as clients:
        yield [
            Caller(
                await clients.enter_async_context(server.client()),
                {"id": str(login.user_id)},
                signer.issue(login, now),
            )
            for login in logins
        ]


async def _logged_in(session: AsyncSession, role: str, now: datetime) -> Claims:
    """A new account with an open session."""
    email = f"{uuid.uuid4().hex}@example.com"
    roles = await ids_named(session, [role])
    user_id = await add_user(
        session, email=email, name="Racer", hashed_password="none", role_ids=roles
    )
    assert user_id is not None
    session_id = await open_session(
        session,
        user_id=user_id,
        device="",
        address="",
        now=now,
        expires_at=now + timedelta(days=1),
    )
    return Claims(user_id, session_id)


def outcome(response: httpx.Response) -> str | int:
    """What an answer says, for counting: the error's code, else the status."""
    return response.status_code if response.is_success else response.json()["code"]


async def connect(settings: Settings) -> "asyncpg.Connection[Any]":
    return await asyncpg.connect(
        host=settings.POSTGRES_SERVER,
        port=settings.POSTGRES_PORT,
        user=settings.POSTGRES_USER,
        password=settings.POSTGRES_PASSWORD.get_secret_value() or None,
        database=settings.POSTGRES_DB,
    )


async def double_bookings(database: "asyncpg.Connection[Any]") -> int:
    """How many pairs of allocations of one subject overlap; the constraint is not asked."""
    return await database.fetchval(
        "SELECT count(*) FROM allocations a JOIN allocations b"
        " ON a.subject_id = b.subject_id AND a.id < b.id AND a.during && b.during"
    )
