"""The Redis client. Redis is never the truth here: every caller must do without it.

Timeouts are short and nothing is retried, so that a Redis that is away or frozen costs a request
a quarter of a second at most.
"""

from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.config import Settings

TIMEOUT_SECONDS = 0.25


def create_redis(settings: Settings) -> Redis:
    """A client for REDIS_*; an absolute path in REDIS_HOST means a Unix socket."""
    options = _prompt() | {
        "db": settings.REDIS_DB,
        "password": settings.REDIS_PASSWORD.get_secret_value() or None,
    }
    if settings.REDIS_HOST.startswith("/"):
        options |= {
            "connection_class": UnixDomainSocketConnection,
            "path": settings.REDIS_HOST,
        }
    else:
        options |= {"host": settings.REDIS_HOST, "port": settings.REDIS_PORT}
        if settings.REDIS_SSL:
            options["connection_class"] = SSLConnection
    return Redis.from_pool(BlockingConnectionPool(**options))


def create_limits_redis(settings: Settings) -> Redis:
    """A client for RATE_LIMIT_STORAGE_URL (`redis://`, `rediss://`, `unix://`), else for REDIS_*.

    Raises:
        ValueError: the URL has another scheme.
    """
    url = settings.RATE_LIMIT_STORAGE_URL
    if url is None:
        return create_redis(settings)
    return Redis.from_pool(BlockingConnectionPool.from_url(url.get_secret_value(), **_prompt()))


def _prompt() -> dict[str, Any]:
    """Options of a client that answers or fails within TIMEOUT_SECONDS for each of its steps."""
    return {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": 50,
        "timeout": TIMEOUT_SECONDS,
    }
