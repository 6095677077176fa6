"""Migrations and seeding: there and back again, by many replicas at once, and never too much."""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from app.auth.permissions import BUILT_IN_ROLES, Permission
from app.config import Settings
from app.core.migrations import BACKEND, alembic_config, migration_head
from tests.conftest import _maintain, make_settings

REPLICAS = 5

MIGRATE_ALOUD = """
from sqlalchemy import event
from sqlalchemy.engine import Engine
from alembic import command
from app.core.migrations import alembic_config

event.listen(Engine, "before_cursor_execute", lambda *args: print(args[2].strip()))
command.upgrade(alembic_config(), "head")
"""


@pytest.fixture
async def empty() -> AsyncIterator[Settings]:
    """Settings for a database with nothing in it."""
    name = f"empty_{uuid.uuid4().hex}"
    await _maintain(f'CREATE DATABASE "{name}"')
    yield make_settings(POSTGRES_DB=name)
    await _maintain(f'DROP DATABASE "{name}" WITH (FORCE)')


async def run(settings: Settings, *arguments: str, **environment: str) -> str:
    """Run `python -m …` as an operator would, against this database; it must succeed."""
    variables = {
        "POSTGRES_DB": settings.POSTGRES_DB,
        "BCRYPT_ROUNDS": "4",
        "FIRST_SUPERUSER_PASSWORD": settings.FIRST_SUPERUSER_PASSWORD.get_secret_value(),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        cwd=BACKEND,
        env=os.environ | variables | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def query(settings: Settings, statement: str, *arguments: object) -> list[Any]:
    connection = await asyncpg.connect(
        host=settings.POSTGRES_SERVER,
        port=settings.POSTGRES_PORT,
        user=settings.POSTGRES_USER,
        password=settings.POSTGRES_PASSWORD.get_secret_value() or None,
        database=settings.POSTGRES_DB,
    )
    try:
        return [tuple(row) for row in await connection.fetch(statement, *arguments)]
    finally:
        await connection.close()


async def schema(settings: Settings) -> set[Any]:
    """Every column, constraint and index of the database, as Postgres spells them."""
    rows = await query(
        settings,
        "SELECT c.relname::text, attname::text, format_type(atttypid, atttypmod)"
        " || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END"
        " || coalesce(' DEFAULT ' || pg_get_expr(adbin, adrelid), '')"
        " FROM pg_class c JOIN pg_attribute ON attrelid = c.oid"
        " LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        " AND attnum > 0 AND NOT attisdropped"
        " UNION ALL SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid)"
        " FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype NOT IN ('n', 't')"
        " UNION ALL SELECT tablename::text, indexname::text, indexdef"
        " FROM pg_indexes WHERE schemaname = 'public'",
    )
    return set(rows)


async def seed(settings: Settings) -> None:
    await run(settings, "app.cli", "seed")


async def grants(settings: Settings) -> set[tuple[str, str]]:
    return set(
        await query(
            settings,
            "SELECT name, permission FROM role_permissions JOIN roles ON roles.id = role_id",
        )
    )


BUILT_IN_GRANTS = {
    (role, permission.value)
    for role, (_, permissions) in BUILT_IN_ROLES.items()
    for permission in permissions
}


# --- Migrations ------------------------------------------------------------------------------
def test_there_is_one_head() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [migration_head()]


async def test_up_down_and_up_again_end_where_they_began(empty: Settings) -> None:
    await run(empty, "alembic", "upgrade", "head")
    first = await schema(empty)
    assert ("allocations", "ex_allocations_subject_id_during") in {row[:2] for row in first}
    await run(empty, "alembic", "downgrade", "base")
    assert {table for table, *_ in await schema(empty)} == {"alembic_version"}
    await run(empty, "alembic", "upgrade", "head")
    assert await schema(empty) == first
    assert await query(empty, "SELECT version_num FROM alembic_version") == [(migration_head(),)]


async def test_the_models_and_the_migrations_agree(settings: Settings) -> None:
    assert "No new upgrade operations detected" in await run(settings, "alembic", "check")


async def test_constraints_are_those_of_the_models(settings: Settings, empty: Settings) -> None:
    """`alembic check` looks at neither checks nor exclusions; Postgres is asked to compare them.

    Triggers are no part of the models; tests/api/test_offer_version.py says what they must do.
    """
    await run(empty, "tests.migrations.create_all")
    foreign = ("alembic_version", "pgqueuer")
    migrated = {row for row in await schema(settings) if not row[0].startswith(foreign)}
    assert migrated == await schema(empty)


async def test_five_replicas_migrate_and_seed_at_once(empty: Settings) -> None:
    await asyncio.gather(*(run(empty, "app.cli", "migrate") for _ in range(REPLICAS)))
    await asyncio.gather(*(seed(empty) for _ in range(REPLICAS)))
    assert await query(empty, "SELECT version_num FROM alembic_version") == [(migration_head(),)]
    permissions = await query(empty, "SELECT name FROM permissions ORDER BY name")
    assert permissions == sorted((p.value,) for p in Permission)
    roles = await query(empty, "SELECT name, is_builtin FROM roles ORDER BY name")
    assert roles == sorted((name, True) for name in BUILT_IN_ROLES)
    assert await grants(empty) == BUILT_IN_GRANTS
    users = await query(empty, "SELECT email, is_superuser, email_verified FROM users")
    assert users == [(empty.FIRST_SUPERUSER, True, True)]
    assert await query(empty, "SELECT type FROM events") == [("user.created",)]


async def test_a_migration_gives_up_instead_of_queueing_for_a_lock(empty: Settings) -> None:
    """In the order of its statements: the others are kept out, then waiting is bounded."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        MIGRATE_ALOUD,
        cwd=BACKEND,
        env=os.environ | {"POSTGRES_DB": empty.POSTGRES_DB},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    sent = output.decode().splitlines()
    assert process.returncode == 0
    lock = next(n for n, line in enumerate(sent) if "pg_advisory_xact_lock" in line)
    timeout = next(n for n, line in enumerate(sent) if "lock_timeout" in line)
    first_table = next(n for n, line in enumerate(sent) if line.startswith("CREATE TABLE"))
    assert lock < timeout < first_table


# --- Seeding ---------------------------------------------------------------------------------
async def test_seeding_again_changes_nothing(settings: Settings) -> None:
    everything = (
        "SELECT to_jsonb(u)::text FROM users u UNION ALL SELECT to_jsonb(r)::text FROM roles r"
        " UNION ALL SELECT to_jsonb(p)::text FROM role_permissions p"
        " UNION ALL SELECT to_jsonb(e)::text FROM events e ORDER BY 1"
    )
    before = await query(settings, everything)
    await seed(settings)
    assert await query(settings, everything) == before


async def test_a_grant_that_was_taken_away_stays_away(settings: Settings) -> None:
    await query(settings, "DELETE FROM role_permissions WHERE permission = 'bookings:create'")
    await seed(settings)
    assert await grants(settings) == {
        grant for grant in BUILT_IN_GRANTS if grant[1] != "bookings:create"
    }


async def test_a_permission_that_is_new_reaches_the_built_in_roles(settings: Settings) -> None:
    """A release that brings a permission finds a catalogue without it."""
    await query(settings, "INSERT INTO roles (id, name) VALUES (gen_random_uuid(), 'receptionist')")
    await query(settings, "DELETE FROM permissions WHERE name = 'schedules:write_own'")
    assert ("provider", "schedules:write_own") not in await grants(settings)
    await seed(settings)
    assert await grants(settings) == BUILT_IN_GRANTS


async def test_what_a_newer_release_granted_survives_an_older_ones_start(
    settings: Settings,
) -> None:
    await query(settings, "INSERT INTO permissions VALUES ('faxes:send', 'Send faxes.')")
    await query(
        settings,
        "INSERT INTO role_permissions SELECT id, 'faxes:send' FROM roles WHERE name = 'admin'",
    )
    await query(settings, "UPDATE permissions SET description = 'Old words.'")
    await seed(settings)
    assert await grants(settings) == BUILT_IN_GRANTS | {("admin", "faxes:send")}
    described = await query(
        settings, "SELECT description FROM permissions WHERE name <> 'faxes:send'"
    )
    assert ("Old words.",) not in described


async def test_the_first_superuser_is_not_made_again_where_there_is_one(
    settings: Settings,
) -> None:
    await query(
        settings,
        "UPDATE users SET email = 'boss@example.com', hashed_password = 'new' WHERE is_superuser",
    )
    await seed(settings)
    assert await query(settings, "SELECT email, hashed_password FROM users") == [
        ("boss@example.com", "new")
    ]


async def test_the_first_superuser_is_made_where_there_is_none(settings: Settings) -> None:
    await query(settings, "DELETE FROM users")
    await seed(settings)
    users = await query(settings, "SELECT email, is_superuser FROM users")
    assert users == [(settings.FIRST_SUPERUSER, True)]
