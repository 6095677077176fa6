"""Is everything in place? One finding each for what this release needs, and what to do about it."""

import asyncio
import smtplib
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

import asyncpg
from alembic.script import ScriptDirectory
from pydantic import ValidationError
from redis.exceptions import AuthenticationError, RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.config import Environment, Settings
from app.core.migrations import alembic_config, migration_head
from app.core.redis import create_redis

CONNECT_TIMEOUT_SECONDS = 3
_OLDEST_POSTGRES = 15
_MIGRATE = "run `python -m app.cli migrate`"


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one thing; what to do where it is a problem."""

    subject: str
    state: str
    remedy: str | None = None
    is_fatal: bool = False
    """Whether the application cannot work before this is remedied."""

    @property
    def is_problem(self) -> bool:
        return self.remedy is not None


def examine() -> list[Finding]:
    """Look at the settings and at everything they name; this takes a few seconds at most."""
    try:
        settings = Settings()
    except ValidationError as error:
        return [
            Finding("settings", fault, "correct it in the environment or in .env", is_fatal=True)
            for fault in faults(error)
        ]
    postgres, migrations = asyncio.run(_postgres(settings))
    return [
        Finding("settings", f"read, for {settings.ENVIRONMENT}"),
        *_surprises(settings),
        postgres,
        migrations,
        asyncio.run(_redis(settings)),
        _smtp(settings),
    ]


def faults(error: ValidationError) -> list[str]:
    """What is wrong where, without the values: some of them are secrets."""
    return [
        ": ".join(part for part in (".".join(map(str, e["loc"])), e["msg"]) if part)
        for e in error.errors(include_input=False, include_url=False)
    ]


def _surprises(settings: Settings) -> Iterable[Finding]:
    """Settings that are allowed, but seldom meant."""
    if settings.ENVIRONMENT in {Environment.LOCAL, Environment.DEVELOPMENT}:
        return
    if "*" in settings.ALLOWED_HOSTS:
        yield Finding(
            "settings", "ALLOWED_HOSTS answers to any name", "list the names this is reached by"
        )
    if settings.FRONTEND_HOST.scheme != "https":
        yield Finding(
            "settings", "FRONTEND_HOST is not https", "people's tokens would travel in the clear"
        )


async def _postgres(settings: Settings) -> tuple[Finding, Finding]:
    """Postgres and, where it answers, how far it has been migrated."""
    engine = create_async_engine(
        settings.SQLALCHEMY_DATABASE_URI,
        connect_args={
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "command_timeout": CONNECT_TIMEOUT_SECONDS,
        },
    )
    try:
        version = await _version(engine)
        # A database that was never migrated has no such table.
        revision = await _revision(engine)
    except (OSError, TimeoutError, SQLAlchemyError, asyncpg.PostgresError) as error:
        return (
            Finding("postgres", _why(error), _postgres_remedy(error, settings), is_fatal=True),
            Finding("migrations", "not known", "let Postgres answer first", is_fatal=True),
        )
    finally:
        await engine.dispose()
    if version < _OLDEST_POSTGRES:
        old = Finding("postgres", f"version {version}", f"use {_OLDEST_POSTGRES} or newer")
        return old, _migrations(revision)
    return Finding("postgres", f"answers, version {version}"), _migrations(revision)


async def _version(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        number = await connection.scalar(text("SELECT current_setting('server_version_num')"))
    return int(str(number)) // 10_000


async def _revision(engine: AsyncEngine) -> str | None:
    async with engine.connect() as connection:
        if await connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
            return None
        revision: str | None = await connection.scalar(
            text("SELECT version_num FROM alembic_version")
        )
        return revision


def _migrations(revision: str | None) -> Finding:
    head = migration_head()
    if revision == head:
        return Finding("migrations", f"at {head}")
    if revision is None:
        return Finding("migrations", "none was run", _MIGRATE, is_fatal=True)
    known = {s.revision for s in ScriptDirectory.from_config(alembic_config()).walk_revisions()}
    if revision in known:
        return Finding("migrations", f"at {revision}, behind {head}", _MIGRATE, is_fatal=True)
    return Finding(
        "migrations",
        f"at {revision}, which this release does not know",
        "run the newer release that migrated it",
        is_fatal=True,
    )


def _postgres_remedy(error: Exception, settings: Settings) -> str:
    match getattr(error, "driver_exception", None) or error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return "check POSTGRES_USER and POSTGRES_PASSWORD"
        case asyncpg.InvalidCatalogNameError():
            return f"create the database {settings.POSTGRES_DB}, or check POSTGRES_DB"
        case asyncpg.TooManyConnectionsError():
            return "raise max_connections, or lower POSTGRES_POOL_SIZE"
    return (
        f"start it, or check POSTGRES_SERVER ({settings.POSTGRES_SERVER})"
        f" and POSTGRES_PORT ({settings.POSTGRES_PORT})"
    )


async def _redis(settings: Settings) -> Finding:
    redis = create_redis(settings)
    try:
        await redis.ping()
    except AuthenticationError as error:
        return Finding("redis", _why(error), "check REDIS_PASSWORD")
    except (OSError, RedisError) as error:
        return Finding(
            "redis",
            _why(error),
            f"start it, or check REDIS_HOST ({settings.REDIS_HOST}), REDIS_PORT and REDIS_SSL;"
            " until then everything works, but slower",
        )
    finally:
        await redis.aclose(close_connection_pool=True)
    return Finding("redis", "answers")


def _smtp(settings: Settings) -> Finding:
    """Connect, encrypt and log in as for a mail, and send none."""
    if settings.SUPPRESS_SEND:
        return Finding("smtp", "not asked, for SUPPRESS_SEND is on")
    host, port = settings.MAIL_SERVER, settings.MAIL_PORT
    trust = ssl.create_default_context()
    try:
        with (
            smtplib.SMTP_SSL(host, port, timeout=CONNECT_TIMEOUT_SECONDS, context=trust)
            if settings.MAIL_SSL_TLS
            else smtplib.SMTP(host, port, timeout=CONNECT_TIMEOUT_SECONDS)
        ) as server:
            if settings.MAIL_STARTTLS:
                server.starttls(context=trust)
            if settings.MAIL_USERNAME:
                server.login(settings.MAIL_USERNAME, settings.MAIL_PASSWORD.get_secret_value())
    except smtplib.SMTPAuthenticationError as error:
        return Finding("smtp", _why(error), "check MAIL_USERNAME and MAIL_PASSWORD")
    except (ssl.SSLError, smtplib.SMTPNotSupportedError) as error:
        return Finding("smtp", _why(error), "check MAIL_STARTTLS, MAIL_SSL_TLS and MAIL_PORT")
    except (OSError, smtplib.SMTPException) as error:
        return Finding(
            "smtp",
            _why(error),
            f"start it, or check MAIL_SERVER ({host}) and MAIL_PORT ({port});"
            " until then nobody gets mail",
        )
    return Finding("smtp", "takes mail")


def _why(error: Exception) -> str:
    """The kind of failure only: texts of drivers may quote what they were given."""
    return type(getattr(error, "driver_exception", None) or error).__name__
