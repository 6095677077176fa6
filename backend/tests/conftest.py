"""Real servers for every test: one Postgres and one Valkey a run, one database a test.

The controller starts both in a temporary folder (fsync off), migrates and seeds one template
database, and hands its name to the xdist workers through the environment. Each test that asks for
`settings` gets a clone of the template, which takes some ten milliseconds.

Set POSTGRES_SERVER (and REDIS_HOST) to run against ordinary servers instead.
"""

import asyncio
import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import cache
from pathlib import Path

import asyncpg
import httpx
import pytest
from alembic import command
from fastapi import FastAPI

from app.config import Settings
from app.core.migrations import alembic_config
from app.database import Database
from app.main import create_app
from app.role_perm_seed import seed_database
from devserver.postgres import EmbeddedPostgres
from devserver.valkey import EmbeddedValkey
from tests.business import ADMIN_PASSWORD, Business, Hands
from tests.mailbox import Mailbox, serving_mail

MEMORY_BYTES = 8 * 1024**3
TEMPLATE_VARIABLE = "ONESLOT_TEST_TEMPLATE"
_servers = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    # What is imported stays: to look through all of it for garbage, again and again, takes longer
    # than the garbage is worth.
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    if hasattr(config, "workerinput"):
        return
    for name in Settings.model_fields:
        if not name.startswith(("POSTGRES_", "REDIS_")):
            os.environ.pop(name, None)
    folder = Path(tempfile.mkdtemp(prefix="oneslot-test-", dir=_memory()))
    _servers.callback(shutil.rmtree, folder, ignore_errors=True)
    if "POSTGRES_SERVER" not in os.environ:
        postgres = _servers.enter_context(EmbeddedPostgres(folder / "pg", ephemeral=True))
        os.environ.update(postgres.environment)
    if "REDIS_HOST" not in os.environ:
        valkey = _servers.enter_context(EmbeddedValkey(folder / "valkey", ephemeral=True))
        os.environ.update(valkey.environment)
    template = f"template_{uuid.uuid4().hex}"
    os.environ[TEMPLATE_VARIABLE] = template
    _servers.callback(lambda: asyncio.run(_maintain(f'DROP DATABASE "{template}" WITH (FORCE)')))
    asyncio.run(_maintain(f'CREATE DATABASE "{template}"'))
    os.environ["POSTGRES_DB"], before = template, os.environ.get("POSTGRES_DB", "app")
    command.upgrade(alembic_config(), "head")
    asyncio.run(_seed_template())
    os.environ["POSTGRES_DB"] = before


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests wait for servers, and for each other's transactions."""
    return (os.cpu_count() or 1) + 1


def _memory() -> str | None:
    """A file system in memory with room for the servers, if there is one.

    Each database that is cloned and dropped is hundreds of files.
    """
    path = Path("/dev/shm")
    roomy = path.is_dir() and shutil.disk_usage(path).free > MEMORY_BYTES
    return str(path) if roomy and os.access(path, os.W_OK) else None


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        _servers.close()


def make_settings(**changes: object) -> Settings:
    """Settings of the test environment; no `.env` is read."""
    defaults: dict[str, object] = {
        "BCRYPT_ROUNDS": 4,
        "FIRST_SUPERUSER_PASSWORD": ADMIN_PASSWORD,
        "SECRET_KEY": "0123456789abcdef0123456789abcdef",
        "POSTGRES_POOL_SIZE": 20,
        "LOG_LEVEL": "WARNING",
        # All tests come from one address; those about limits turn them on.
        "RATE_LIMIT_ENABLED": False,
        "ACCOUNT_MAIL_DELAY_SECONDS": 0,  # what a request enqueues is due when it is answered
        "JOBS_IN_PROCESS": False,  # tests run the jobs themselves, when they want them run
    }
    return Settings(_env_file=None, **(defaults | changes))  # type: ignore[arg-type]  # any setting, by name


@cache
def _servers_settings() -> Settings:
    return make_settings()


async def _maintain(*statements: str) -> None:
    settings = _servers_settings()
    connection = await asyncpg.connect(
        host=settings.POSTGRES_SERVER,
        port=settings.POSTGRES_PORT,
        user=settings.POSTGRES_USER,
        password=settings.POSTGRES_PASSWORD.get_secret_value() or None,
        database="postgres",
    )
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _seed_template() -> None:
    settings = make_settings()
    database = Database.from_settings(settings)
    await seed_database(database, settings)
    await database.dispose()


@asynccontextmanager
async def cloned_database() -> AsyncIterator[str]:
    """The name of a database of the block's own: migrated, seeded, otherwise empty."""
    name = f"test_{uuid.uuid4().hex}"
    template = os.environ[TEMPLATE_VARIABLE]
    await _maintain(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
    yield name
    await _maintain(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def settings() -> AsyncIterator[Settings]:
    """Settings for a database of this test's own: migrated, seeded, otherwise empty."""
    async with cloned_database() as name:
        yield make_settings(POSTGRES_DB=name)


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    """A mail server; tests that want it used say so in their `settings`."""
    async with serving_mail() as mailbox:
        yield mailbox


@pytest.fixture
def clock() -> Hands:
    """The application's clock: Monday, 2 March 2026, 08:00 UTC, until a test turns its hands."""
    return Hands()


@pytest.fixture
async def app(settings: Settings, clock: Hands) -> AsyncIterator[FastAPI]:
    app = create_app(settings, clock=clock)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """An anonymous client of the application."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.fixture
def business(client: httpx.AsyncClient) -> Business:
    """A business run through the API."""
    return Business(client)
