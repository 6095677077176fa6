"""The application in a process of its own, on the database of the test."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from app.config import Settings
from tests.business import Business
from tests.race.support import Server, connect

CONNECTIONS = 64


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As everywhere, with as many connections as there are clients: all race inside Postgres."""
    return settings.model_copy(update={"POSTGRES_POOL_SIZE": CONNECTIONS})


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    server = Server(settings)
    server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """An anonymous client of the live server."""
    async with server.client() as client:
        yield client


@pytest.fixture
def business(client: httpx.AsyncClient) -> Business:
    return Business(client)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A look behind the scenes: a connection that is not the server's."""
    connection = await connect(settings)
    yield connection
    await connection.close()
