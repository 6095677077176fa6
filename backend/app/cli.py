"""`python -m app.cli`: what operators run by hand and containers run at start."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, NoReturn

import typer
from alembic import command
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from app.config import Environment, Settings
from app.core.migrations import BACKEND, alembic_config
from app.core.security import PasswordHasher
from app.database import Database
from app.role_perm_seed import seed as seed_rbac

cli = typer.Typer(
    no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False
)

_RETRY_SECONDS = 0.5


@cli.command()
def wait(seconds: Annotated[float, typer.Option(help="Give up after this long.")] = 60) -> None:
    """Wait until Postgres answers."""
    deadline = time.monotonic() + seconds
    while (problem := asyncio.run(_unreachable())) is not None:
        if time.monotonic() > deadline:
            typer.echo(f"Postgres did not answer within {seconds:g} s: {problem}", err=True)
            raise typer.Exit(1)
        time.sleep(_RETRY_SECONDS)


@cli.command()
def migrate() -> None:
    """Bring the database to this release; safe to run on several replicas at once."""
    config = alembic_config()
    if not any((BACKEND / "alembic" / "versions").glob("*.py")):
        command.revision(config, "initial", autogenerate=True)
    command.upgrade(config, "head")


@cli.command()
def seed() -> None:
    """Add missing permissions, built-in roles and the first superuser."""
    asyncio.run(_in_transaction(_seed))


@cli.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    typer.echo(openapi_document(Settings()), nl=False)


@cli.command()
def serve(
    host: Annotated[str, typer.Option()] = "0.0.0.0",  # noqa: S104 - a container's own network
    port: Annotated[int, typer.Option(envvar="PORT")] = 8000,
) -> NoReturn:
    """Wait, migrate, seed (INIT_RBAC_ON_STARTUP), and become the server."""
    settings = Settings()
    wait()
    migrate()
    if settings.INIT_RBAC_ON_STARTUP:
        seed()
    arguments = ["uvicorn", "app.main:create_app", "--factory", "--host", host, "--port", str(port)]
    # Our own access log and headers replace uvicorn's; proxies are trusted by the application.
    arguments += ["--no-access-log", "--no-server-header", "--no-proxy-headers"]
    if settings.ENVIRONMENT is Environment.LOCAL:
        arguments += ["--reload", "--reload-dir", str(BACKEND / "app")]
    os.execv(sys.executable, [sys.executable, "-m", *arguments])  # noqa: S606 - becomes the server


def openapi_document(settings: Settings) -> str:
    from app.main import create_app  # the other commands need not wait for it

    document = create_app(settings).openapi()
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


async def _unreachable() -> str | None:
    engine = create_async_engine(Settings().SQLALCHEMY_DATABASE_URI, connect_args={"timeout": 3})
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (OSError, TimeoutError, SQLAlchemyError) as error:
        return type(error).__name__
    finally:
        await engine.dispose()
    return None


async def _in_transaction(work: Callable[[Database, Settings], Awaitable[None]]) -> None:
    settings = Settings()
    database = Database.from_settings(settings)
    try:
        await work(database, settings)
    finally:
        await database.dispose()


async def _seed(database: Database, settings: Settings) -> None:
    passwords = PasswordHasher(rounds=settings.BCRYPT_ROUNDS, threads=1)
    try:
        async with database.transaction() as session:
            await seed_rbac(session, settings, passwords)
    finally:
        passwords.close()


def main() -> None:
    try:
        cli()
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))} {e['msg']}" for e in error.errors())
        sys.exit(f"The settings do not do: {problems}")


if __name__ == "__main__":
    main()
