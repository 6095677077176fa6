"""`python -m app.cli`, with a real database. A command runs in a thread, with its own loop."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pyotp
import pytest
from click.testing import Result
from fastapi import FastAPI
from typer.testing import CliRunner

from app.cli import PASSWORD_VARIABLE, cli
from app.config import Settings
from app.core.logging import configure_logging
from app.core.migrations import migration_head
from devserver.mail import MailCatcher
from tests.business import ADMIN_EMAIL, PASSWORD, Business, Hands, execute, ok, problem

CANARY = "canary horse battery staple"
NEW = ("create-superuser", "--email", "Grace@Example.com", "--name", "Grace Hopper")

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on this test's database; its output must never hold the password."""
    configure_logging(settings)  # another test may have left it talkative
    environment = {
        "POSTGRES_DB": settings.POSTGRES_DB,
        "BCRYPT_ROUNDS": "4",
        "SECRET_KEY": settings.SECRET_KEY.get_secret_value(),
        "SUPPRESS_SEND": "true",
    }

    async def run(*arguments: str, stdin: str = "", **variables: str) -> Result:
        result = await asyncio.to_thread(
            CliRunner().invoke, cli, arguments, input=stdin, env=environment | variables
        )
        assert CANARY not in result.output
        return result

    return run


def lines(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.stdout.splitlines()]


# --- create-superuser -------------------------------------------------------------------------
@pytest.mark.parametrize("way", ["stdin", "environment"])
async def test_a_superuser_is_made_and_may_do_everything(
    run: Run, business: Business, way: str
) -> None:
    if way == "stdin":
        result = await run(*NEW, stdin=f"{CANARY}\n")
    else:
        result = await run(*NEW, **{PASSWORD_VARIABLE: CANARY})
    assert (result.exit_code, result.stdout) == (0, "grace@example.com may do everything now.\n")
    grace = await business.log_in("grace@example.com", CANARY)
    assert (grace.user["name"], grace.user["is_superuser"]) == ("Grace Hopper", True)
    assert (grace.user["roles"], grace.user["email_verified"]) == (["admin"], True)
    log = ok(await grace.get("/admin/audit-log", params={"subject_id": grace.user["id"]}))
    created = log["items"][-1]
    assert (created["type"], created["actor_type"]) == ("user.created", "system")
    assert created["actor_id"] is None


async def test_what_is_not_said_is_asked_for(run: Run, business: Business) -> None:
    result = await run("create-superuser", stdin=f"grace@example.com\nGrace\n{CANARY}\n")
    assert result.exit_code == 0, result.output
    assert (await business.log_in("grace@example.com", CANARY)).user["name"] == "Grace"


async def test_a_password_is_no_argument(run: Run) -> None:
    for command in ("create-superuser", "set-password"):
        assert (await run(command, "--password", "x")).exit_code == 2


async def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown(
    run: Run, business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli._at_a_terminal", lambda: True)
    typed = (CANARY, "a slip of the finger", CANARY, CANARY)
    result = await run(*NEW, stdin="".join(f"{line}\n" for line in typed))
    assert result.exit_code == 0, result.output
    assert "a slip" not in result.output
    await business.log_in("grace@example.com", CANARY)


@pytest.mark.parametrize(
    ("arguments", "password", "reason"),
    [
        (NEW, "short", "at least 12 characters"),
        (NEW, "", "at least 12 characters"),
        (NEW, "grace@example.com", "not the name or the address"),
        ((*NEW[:2], "nobody", *NEW[3:]), CANARY, "email"),
        ((*NEW[:2], ADMIN_EMAIL, *NEW[3:]), CANARY, "has an account already"),
        ((*NEW[:4], " "), CANARY, "name"),
    ],
)
async def test_what_the_rules_refuse_makes_no_superuser(
    run: Run, arguments: tuple[str, ...], password: str, reason: str
) -> None:
    result = await run(*arguments, stdin=f"{password}\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert len(lines(await run("list-users"))) == 1


async def test_addresses_of_other_domains_are_refused_here_too(run: Run) -> None:
    rules = {"ENFORCE_EMAIL_DOMAIN": "true", "ALLOWED_EMAIL_DOMAINS": "example.org"}
    result = await run(*NEW, stdin=CANARY, **rules)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "domain" in result.stderr


# --- set-password -----------------------------------------------------------------------------
async def test_a_new_password_replaces_the_old_one_and_logs_out(
    app: FastAPI, run: Run, business: Business
) -> None:
    ada = await business.customer()
    result = await run("set-password", "--email", ada.user["email"].upper(), stdin=f"{CANARY}\n")
    assert result.exit_code == 0, result.output
    app.state.authenticator._standings.clear()  # which a second would do
    problem(await ada.get("/auth/me"), 401, "invalid_token")
    old = {"email": ada.user["email"], "password": PASSWORD}
    problem(await business.client.post("/api/v1/auth/login", json=old), 401, "invalid_credentials")
    await business.log_in(ada.user["email"], CANARY)
    params = {"subject_id": ada.user["id"], "type": "user.password_changed"}
    (entry,) = ok(await (await business.admin()).get("/admin/audit-log", params=params))["items"]
    assert (entry["actor_type"], entry["before"], entry["after"]) == ("system", None, None)


async def test_who_lost_the_second_factor_logs_in_without_it_again(
    app: FastAPI, run: Run, business: Business, clock: Hands
) -> None:
    ada = await business.customer()
    email = ada.user["email"]
    started = ok(await ada.post("/auth/mfa/totp", {"password": PASSWORD}))
    code = pyotp.TOTP(started["secret"]).at(clock())
    ok(await ada.post("/auth/mfa/totp/confirm", {"code": code}))
    body = {"email": email, "password": PASSWORD}
    problem(await business.client.post("/api/v1/auth/login", json=body), 401, "mfa_required")

    result = await run("remove-second-factor", "--email", email)
    assert result.exit_code == 0, result.output
    again = await business.log_in(email, PASSWORD)
    assert not again.user["mfa_enabled"]
    app.state.authenticator._standings.clear()
    problem(await ada.get("/auth/me"), 401, "invalid_token")
    refused = await run("remove-second-factor", "--email", email)
    assert (refused.exit_code, "no second factor" in refused.output) == (1, True)


@pytest.mark.parametrize(
    ("email", "password", "reason"),
    [
        (ADMIN_EMAIL, "short", "at least 12 characters"),
        ("nobody@example.com", CANARY, "No account has this address."),
        ("nobody", CANARY, "not a valid email address"),
    ],
)
async def test_what_the_rules_refuse_sets_no_password(
    run: Run, business: Business, email: str, password: str, reason: str
) -> None:
    result = await run("set-password", "--email", email, stdin=f"{password}\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert reason in result.stderr
    await business.admin()


# --- list-users -------------------------------------------------------------------------------
async def test_accounts_are_listed_one_a_line(app: FastAPI, run: Run, business: Business) -> None:
    ada = await business.customer("Ada Lovelace")
    admin = await business.admin()
    ok(await admin.patch(f"/admin/users/{ada.user['id']}", {"is_active": False}))
    assert lines(await run("list-users")) == [
        [ADMIN_EMAIL, "Administrator", "admin", "superuser"],
        [ada.user["email"], "Ada Lovelace", "customer", "disabled, not verified"],
    ]
    assert len(lines(await run("list-users", "--role", "customer"))) == 1
    assert len(lines(await run("list-users", "--query", "LOVELACE"))) == 1
    assert lines(await run("list-users", "--query", "nobody")) == []


async def test_more_accounts_than_a_page_are_listed_all(app: FastAPI, run: Run) -> None:
    await execute(
        app,
        "INSERT INTO users (id, email, name, hashed_password)"
        " SELECT gen_random_uuid(), 'user' || n || '@example.com', 'n', '' "
        " FROM generate_series(1, 401) n",
    )
    emails = [line[0] for line in lines(await run("list-users"))]
    assert len(emails) == 402
    assert emails == sorted(set(emails))


# --- doctor -----------------------------------------------------------------------------------
def findings(result: Result) -> dict[str, str]:
    """`ok` or `problem`, by subject."""
    words = [line.split() for line in result.stdout.splitlines() if not line.startswith(" ")]
    return {subject: mark for mark, subject, *_ in words}


HEALTHY = dict.fromkeys(("settings", "postgres", "migrations", "redis", "smtp"), "ok")


async def test_the_doctor_finds_nothing_wrong(run: Run, tmp_path: Path) -> None:
    with MailCatcher(tmp_path / "mail") as mail:
        result = await run("doctor", **mail.environment, SUPPRESS_SEND="false")
    assert (result.exit_code, findings(result)) == (0, HEALTHY), result.output
    assert "takes mail" in result.stdout
    assert migration_head() in result.stdout
    assert "→" not in result.stdout


@pytest.fixture
def nowhere() -> str:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


async def test_without_redis_and_mail_it_works_but_is_told(run: Run, nowhere: str) -> None:
    away = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": nowhere}
    away |= {"SUPPRESS_SEND": "false", "MAIL_SERVER": "127.0.0.1", "MAIL_PORT": nowhere}
    result = await run("doctor", **away)
    expected = HEALTHY | {"redis": "problem", "smtp": "problem"}
    assert (result.exit_code, findings(result)) == (0, expected), result.output
    for name in ("REDIS_HOST", "MAIL_SERVER"):
        assert name in result.stdout


async def test_without_postgres_nothing_works(run: Run, nowhere: str) -> None:
    away = {"POSTGRES_SERVER": "127.0.0.1", "POSTGRES_PORT": nowhere, "POSTGRES_PASSWORD": CANARY}
    result = await run("doctor", **away)
    expected = HEALTHY | {"postgres": "problem", "migrations": "problem"}
    assert (result.exit_code, findings(result)) == (1, expected), result.output
    assert "POSTGRES_SERVER" in result.stdout


async def test_a_database_that_is_not_there_is_named(run: Run) -> None:
    result = await run("doctor", POSTGRES_DB="not_there")
    assert (result.exit_code, findings(result)["postgres"]) == (1, "problem")
    assert "create the database not_there" in result.stdout


@pytest.mark.parametrize(
    ("statement", "state"),
    [
        ("DROP TABLE alembic_version", "none was run"),
        ("UPDATE alembic_version SET version_num = '0001'", "behind"),
        ("UPDATE alembic_version SET version_num = 'future'", "does not know"),
    ],
)
async def test_migrations_that_do_not_fit_are_fatal(
    app: FastAPI, run: Run, statement: str, state: str
) -> None:
    await execute(app, statement)
    result = await run("doctor")
    expected = HEALTHY | {"migrations": "problem"}
    assert (result.exit_code, findings(result)) == (1, expected), result.output
    assert state in result.stdout


async def test_settings_that_do_not_do_are_named_without_their_values(run: Run) -> None:
    weak: dict[str, Any] = {"ENVIRONMENT": "production", "SECRET_KEY": CANARY[:20]}
    result = await run("doctor", **weak, POSTGRES_PORT="canary")
    assert (result.exit_code, findings(result)) == (1, {"settings": "problem"}), result.output
    assert "POSTGRES_PORT" in result.stdout
    assert "canary" not in result.stdout
