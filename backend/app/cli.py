"""`python -m app.cli`: what operators run by hand and containers run at start."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from tempfile import mkdtemp
from typing import Annotated, NoReturn, TypeVar
from zoneinfo import ZoneInfo

import typer
from alembic import command
from pydantic import SecretStr, TypeAdapter, ValidationError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from app.auth.codes import TotpSecrets
from app.auth.link_service import LinkService
from app.auth.link_tokens import LinkTokens
from app.auth.operator_service import OperatorService
from app.auth.schemas import EmailAddress, Signup, UserOut
from app.auth.second_factor import SecondFactor
from app.auth.service import AccountService
from app.auth.session_service import SessionService
from app.auth.tokens import RefreshTokens, TokenSigner
from app.auth.user_service import UserFilter, UserService
from app.bookings.clock_change_service import ClockChange, ClockChangeService, Outcome
from app.config import Environment, Settings
from app.core.clock import system_clock
from app.core.errors import AppError
from app.core.metrics import MULTIPROCESS_DIRECTORY
from app.core.migrations import BACKEND, alembic_config
from app.core.security import PasswordHasher
from app.database import Database
from app.doctor import examine, faults
from app.role_perm_seed import seed_database

cli = typer.Typer(
    no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False
)

PASSWORD_VARIABLE = "NEW_PASSWORD"  # noqa: S105 - the variable's name
_RETRY_SECONDS = 0.5

Email = Annotated[str, typer.Option(prompt=True, help="The address to log in with.")]
ResultT = TypeVar("ResultT")


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
    asyncio.run(_with_database(seed_database))


@cli.command()
def create_superuser(
    email: Email,
    name: Annotated[str, typer.Option(prompt=True)],
) -> None:
    """Make an account that may do everything. The password: NEW_PASSWORD, a prompt, or stdin."""
    try:
        new = Signup(name=name, email=email, password=_new_password())
    except ValidationError as error:
        _refuse("; ".join(faults(error)))
    created = _as_operator(lambda operator: operator.create_superuser(new))
    typer.echo(f"{created.email} may do everything now.")


@cli.command()
def set_password(email: Email) -> None:
    """Give an account another password and log it out. NEW_PASSWORD, a prompt, or stdin."""
    address = _address(email)
    password = _new_password().get_secret_value()
    _as_operator(lambda operator: operator.set_password(address, password))
    typer.echo(f"{address} has a new password and is logged out everywhere.")


@cli.command()
def remove_second_factor(email: Email) -> None:
    """For who has lost both phone and recovery codes: log in with the password alone again."""
    address = _address(email)
    _as_operator(lambda operator: operator.remove_second_factor(address))
    typer.echo(f"{address} has no second factor any more and is logged out everywhere.")


@cli.command()
def list_users(
    role: Annotated[str | None, typer.Option(help="Only those who hold it.")] = None,
    query: Annotated[str | None, typer.Option(help="In the name or the address.")] = None,
) -> None:
    """Show the accounts, one a line: address, name, roles, and what is unusual about it."""

    async def show(operator: OperatorService) -> None:
        async for user in operator.users(UserFilter(role=role, q=query)):
            typer.echo(_line(user))

    _as_operator(show)


@cli.command()
def clock_changes(
    *,
    apply: Annotated[
        bool, typer.Option("--apply", help="Move the bookings; without it nothing changes.")
    ] = False,
) -> None:
    """After a tzdata update: bookings ahead keep their wall time. Conflicts are exit code 1."""

    async def work(database: Database, _: Settings) -> list[ClockChange]:
        if apply:
            async with database.transaction() as session:
                return await ClockChangeService(session, system_clock).apply()
        async with database.reading() as session:
            return await ClockChangeService(session, system_clock).report()

    changes = asyncio.run(_with_database(work))
    for change in changes:
        zone = ZoneInfo(change.booking.time_zone)
        old, new = (i.astimezone(zone) for i in (change.booking.starts_at, change.start))
        told = (change.booking.reference, old.isoformat(), new.isoformat(), change.outcome)
        typer.echo("\t".join(told))
    if any(change.outcome is Outcome.CONFLICT for change in changes):
        raise typer.Exit(1)


@cli.command()
def doctor() -> None:
    """Check settings, Postgres, migrations, Redis and SMTP, and say what to do."""
    findings = examine()
    for finding in findings:
        mark = "problem" if finding.is_problem else "ok"
        typer.echo(f"{mark:8}{finding.subject:12}{finding.state}")
        if finding.remedy is not None:
            typer.echo(f"{'':20}→ {finding.remedy}")
    if any(finding.is_fatal for finding in findings):
        raise typer.Exit(1)


@cli.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from app.main import create_app  # the other commands need not wait for it

    typer.echo(json.dumps(create_app(Settings()).openapi(), ensure_ascii=False, indent=1))


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
    arguments = ["app.server", "--host", host, "--port", str(port)]
    if settings.ENVIRONMENT is Environment.LOCAL:
        arguments.append("--reload")
    if settings.ENABLE_METRICS and int(os.environ.get("WEB_CONCURRENCY") or 1) > 1:
        # The processes count together, in files of their own.
        os.environ.setdefault(MULTIPROCESS_DIRECTORY, mkdtemp(prefix="oneslot-metrics-"))
    os.execv(sys.executable, [sys.executable, "-m", *arguments])  # noqa: S606 - becomes the server


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


async def _with_database(work: Callable[[Database, Settings], Awaitable[ResultT]]) -> ResultT:
    settings = Settings()
    database = Database.from_settings(settings)
    try:
        return await work(database, settings)
    finally:
        await database.dispose()


def _as_operator(work: Callable[[OperatorService], Awaitable[ResultT]]) -> ResultT:
    """Do the work in one transaction; a refusal is a line on stderr and exit code 1."""

    async def run(database: Database, settings: Settings) -> ResultT:
        passwords = PasswordHasher(rounds=settings.BCRYPT_ROUNDS, threads=1)
        try:
            async with database.transaction() as session:
                return await work(_operator(session, passwords, settings))
        finally:
            passwords.close()

    try:
        return asyncio.run(_with_database(run))
    except AppError as error:
        _refuse("; ".join([error.detail, *(e.detail for e in error.errors)]))


def _operator(
    session: AsyncSession, passwords: PasswordHasher, settings: Settings
) -> OperatorService:
    sessions = SessionService(session, TokenSigner(settings), RefreshTokens(settings), system_clock)
    second_factor = SecondFactor(session, TotpSecrets(settings), system_clock)
    links = LinkService(session, LinkTokens(settings), system_clock)
    accounts = AccountService(session, passwords, sessions, second_factor, settings, links)
    return OperatorService(session, accounts, UserService(session, accounts, sessions))


def _address(email: str) -> str:
    """The address as accounts hold it."""
    try:
        return TypeAdapter[str](EmailAddress).validate_python(email)
    except ValidationError as error:
        _refuse("; ".join(faults(error)))


def _new_password() -> SecretStr:
    """From the environment, asked for twice at a terminal, or the first line of stdin.

    Never an argument: those can be read by every user of the machine and stay in the history.
    """
    if (password := os.environ.get(PASSWORD_VARIABLE)) is not None:
        return SecretStr(password)
    if _at_a_terminal():
        return SecretStr(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return SecretStr(sys.stdin.readline().rstrip("\r\n"))


def _line(user: UserOut) -> str:
    unusual = {
        "superuser": user.is_superuser,
        "disabled": not user.is_active,
        "not verified": not user.email_verified,
    }
    notes = ", ".join(note for note, holds in unusual.items() if holds)
    return "\t".join((user.email, user.name, ", ".join(user.roles), notes)).rstrip("\t")


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def _refuse(reason: str) -> NoReturn:
    typer.echo(reason, err=True)
    raise typer.Exit(1)


def main() -> None:
    try:
        cli()
    except ValidationError as error:
        sys.exit(f"The settings do not do: {'; '.join(faults(error))}")


if __name__ == "__main__":
    main()
