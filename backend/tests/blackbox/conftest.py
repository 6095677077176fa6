"""The application as it is run: real servers, a real socket, nothing stubbed, nothing shared."""

from collections.abc import Iterator

import pytest

from devserver.throwaway import Server, running_server
from tests.business import ADMIN_PASSWORD

ORIGIN = "https://app.example.com"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One for all: whoever breaks it mends it."""
    settings = {
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "BACKEND_CORS_ORIGINS": ORIGIN,
        "BCRYPT_ROUNDS": "4",
        "FIRST_SUPERUSER_PASSWORD": ADMIN_PASSWORD,
        "POSTGRES_POOL_SIZE": "4",
        "RATE_LIMIT_ENABLED": "true",
        "RATE_LIMIT_REQUESTS": "100000",
        "REQUEST_BODY_TIMEOUT": "3",
        "REQUEST_HEADER_TIMEOUT": "3",
    }
    with running_server(**settings) as server:
        yield server
