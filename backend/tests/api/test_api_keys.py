import asyncio
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event, text

from app.auth import api_key_authenticator, api_key_repository
from app.auth.api_key_schemas import ApiKeyCreated
from app.auth.api_key_service import MAXIMUM_LIVE_KEYS
from app.auth.api_keys import new_key, read_key
from app.auth.memory import REMEMBERED_SECONDS
from app.auth.permissions import Permission
from app.auth.rules import effective_permissions
from app.config import Settings
from app.core.middleware import access_log, errors
from app.main import create_app
from tests.business import PASSWORD, Business, Caller, Hands, execute, grant, ok, problem, serving
from tests.conftest import make_settings
from tests.unit.core.recorder import record_log

ID = "0199f0c0-0000-7000-8000-000000000000"
NOBODYS = new_key()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    # Lines for the console pass structlog, where a test can catch them.
    return settings.model_copy(update={"API_KEYS_ENABLED": True, "LOG_FORMAT": "console"})


@dataclass
class Program:
    """A client that sends an API key."""

    client: httpx.AsyncClient
    made: dict[str, Any]

    async def request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        headers = {"X-API-Key": self.made["key"]} | (headers or {})
        return await self.client.request(method, f"/api/v1{path}", headers=headers, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.request("GET", path, **options)

    async def post(self, path: str, json: object = None, **options: Any) -> httpx.Response:
        return await self.request("POST", path, json=json, **options)


async def program(owner: Caller, *permissions: str, **fields: Any) -> Program:
    body = {"name": "The website", "permissions": permissions} | fields
    return Program(owner.client, ok(await owner.post("/auth/api-keys", body)))


def forget(app: FastAPI) -> None:
    """Let the second pass for which a process remembers keys."""
    app.state.api_key_authenticator._standings.clear()


@pytest.fixture
def statements(app: FastAPI) -> Iterator[list[str]]:
    """What was sent to Postgres, whichever connection it took; a test clears it at will."""
    sent: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    engine = app.state.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def writes(statements: list[str]) -> list[str]:
    return [statement for statement in statements if not statement.startswith("SELECT")]


# --- Making, listing and revoking -------------------------------------------------------------
async def test_a_key_is_shown_once_and_acts_for_its_owner(business: Business) -> None:
    ada = await business.customer()
    body = {
        "name": "The website",
        "permissions": ["bookings:create"],
        "expires_at": "2026-04-01T00:00:00+02:00",
    }
    answer = await ada.post("/auth/api-keys", body)
    made = ok(answer)
    assert answer.status_code == 201
    assert re.fullmatch(r"osk_[0-9a-f]{12}_[0-9a-f]{64}", made["key"])
    assert made["key"].startswith(made["prefix"] + "_")
    assert made["expires_at"] == "2026-03-31T22:00:00Z"
    shown = {name: value for name, value in made.items() if name != "key"}
    assert ok(await ada.get("/auth/api-keys"))["items"] == [shown]

    website = Program(ada.client, made)
    assert ok(await website.get("/auth/me")) == ada.user
    service = await business.service()
    await business.provider(service)
    booking = {"service_id": service["id"], "start": "2026-03-03T09:00:00+01:00"}
    booked = ok(await website.post("/bookings", booking))
    assert [b["id"] for b in ok(await ada.get("/bookings"))["items"]] == [booked["id"]]


async def test_the_log_tells_of_its_making_and_revoking(business: Business) -> None:
    ada = await business.customer()
    made = (await program(ada, "bookings:create")).made
    await ada.delete(f"/auth/api-keys/{made['id']}")
    params = {"subject_id": ada.user["id"]}
    entries = ok(await (await business.admin()).get("/admin/audit-log", params=params))["items"]
    revoked, created = entries[:2]
    shown = {name: value for name, value in made.items() if name != "key"}
    assert (revoked["type"], created["type"]) == ("user.api_key_revoked", "user.api_key_created")
    assert {e["actor_id"] for e in (revoked, created)} == {ada.user["id"]}
    assert created["after"]["api_key"] == shown
    assert revoked["before"]["api_key"] == shown


async def test_no_two_keys_are_alike(business: Business) -> None:
    ada = await business.customer()
    made = [(await program(ada)).made for _ in range(5)]
    assert len({key["key"].rpartition("_")[2] for key in made}) == 5
    assert len({key["prefix"] for key in made}) == 5


async def test_keys_are_listed_in_pages_the_newest_first_and_only_to_their_owner(
    business: Business, clock: Hands
) -> None:
    ada, grace = await business.customer(), await business.customer()
    made = []
    for _ in range(3):
        clock.advance(seconds=1)
        made.append((await program(ada)).made["id"])
    first = ok(await ada.get("/auth/api-keys?limit=2"))
    params = {"limit": "2", "cursor": first["next_cursor"]}
    rest = ok(await ada.get("/auth/api-keys", params=params))
    assert [key["id"] for key in first["items"] + rest["items"]] == made[::-1]
    assert rest["next_cursor"] is None
    assert ok(await grace.get("/auth/api-keys"))["items"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "two\nlines"},
        {"name": None},
        {"permissions": ["bookings:fly"]},
        {"permissions": "bookings:create"},
        {"permissions": None},
        {"expires_at": "2026-03-02T08:00:00Z"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2026-04-01T00:00:00"},
        {"key": NOBODYS},
        {"user_id": ID},
        {"is_superuser": True},
    ],
)
async def test_a_body_that_says_something_else_is_refused(
    business: Business, changes: dict[str, object]
) -> None:
    ada = await business.customer()
    body = {"name": "x", "permissions": ["bookings:create"]} | changes
    problem(await ada.post("/auth/api-keys", body), 422, "validation_failed")
    assert ok(await ada.get("/auth/api-keys"))["items"] == []


async def test_a_revoked_key_is_refused_elsewhere_at_once_and_here_within_a_second(
    app: FastAPI, settings: Settings, clock: Hands, business: Business
) -> None:
    ada = await business.customer()
    website, other = await program(ada), await program(ada)
    ok(await website.get("/auth/me"))
    path = f"/auth/api-keys/{website.made['id']}"
    assert (await ada.delete(path)).status_code == 204
    async with serving(create_app(settings, clock=clock)) as elsewhere:
        problem(await Program(elsewhere, website.made).get("/auth/me"), 401, "invalid_token")
    assert app.state.api_key_authenticator._standings.seconds == REMEMBERED_SECONDS < 1
    forget(app)
    problem(await website.get("/auth/me"), 401, "invalid_token")
    problem(await ada.delete(path), 404, "not_found")
    ok(await other.get("/auth/me"))
    assert [k["id"] for k in ok(await ada.get("/auth/api-keys"))["items"]] == [other.made["id"]]


async def test_another_persons_key_is_not_there(app: FastAPI, business: Business) -> None:
    ada, admin = await business.customer(), await business.admin()
    website = await program(ada)
    problem(await admin.delete(f"/auth/api-keys/{website.made['id']}"), 404, "not_found")
    forget(app)
    ok(await website.get("/auth/me"))


async def test_nobody_has_more_than_fifty_live_keys_not_even_by_asking_at_once(
    app: FastAPI, business: Business, clock: Hands
) -> None:
    ada, grace = await business.customer(), await business.customer()
    await program(ada, expires_at="2026-03-02T09:00:00Z")
    await execute(
        app,
        "INSERT INTO api_keys (id, user_id, name, prefix, digest, permissions, created_at)"
        " SELECT gen_random_uuid(), :user, 'x', 'osk_' || n, sha256('x'), '{}', now()"
        " FROM generate_series(1, :count) n",
        user=UUID(ada.user["id"]),
        count=MAXIMUM_LIVE_KEYS - 2,
    )
    body = {"name": "x", "permissions": []}
    answers = await asyncio.gather(*(ada.post("/auth/api-keys", body) for _ in range(5)))
    assert sorted(a.status_code for a in answers) == [201] + [422] * 4
    refused = next(a for a in answers if a.status_code == 422)
    assert problem(refused, 422, "policy_violation")["reason"] == "too_many_api_keys"
    ok(await grace.post("/auth/api-keys", body))
    clock.advance(hours=1)  # one of them runs out and makes room
    ada = await business.log_in(ada.user["email"], PASSWORD)
    ok(await ada.post("/auth/api-keys", body))
    problem(await ada.post("/auth/api-keys", body), 422, "policy_violation")


async def test_who_asks_for_a_key_waits_for_the_one_that_is_being_made(
    app: FastAPI, business: Business
) -> None:
    ada = await business.customer()
    owner = {"user": UUID(ada.user["id"])}
    async with app.state.database.transaction() as session:
        await session.execute(text("SELECT FROM users WHERE id = :user FOR NO KEY UPDATE"), owner)
        await session.execute(
            text(
                "INSERT INTO api_keys (id, user_id, name, prefix, digest, permissions, created_at)"
                " SELECT gen_random_uuid(), :user, 'x', 'osk_' || n, sha256('x'), '{}', now()"
                " FROM generate_series(1, :count) n"
            ),
            owner | {"count": MAXIMUM_LIVE_KEYS},
        )
        asking = asyncio.create_task(ada.post("/auth/api-keys", {"name": "x", "permissions": []}))
        waiting = text(
            "SELECT EXISTS (SELECT FROM pg_locks"
            " WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
        )
        while not asking.done() and not await session.scalar(waiting):
            pass
    # Without the wait it had counted none of the fifty.
    problem(await asking, 422, "policy_violation")


# --- Keys that must not pass ------------------------------------------------------------------
PREFIX, SECRET = NOBODYS.rpartition("_")[::2]
BAD: dict[str, str | bytes] = {
    "unknown": NOBODYS,
    "empty": "",
    "a space": " ",
    "another scheme": NOBODYS.replace("osk_", "sk_"),
    "capitals": NOBODYS.upper(),
    "no prefix": f"osk__{SECRET}",
    "no secret": f"{PREFIX}_",
    "prefix alone": PREFIX,
    "secret alone": SECRET,
    "a secret too short": NOBODYS[:-1],
    "a secret too long": NOBODYS + "0",
    "a third part": f"{NOBODYS}_00",
    "another alphabet": NOBODYS[:-1] + "g",
    "10 KB": "osk_" + "0" * 10_000,
    "10 KB of underscores": "_" * 10_000,
    "NUL": b"\0",
    "NUL at the end": NOBODYS.encode() + b"\0",
    "NUL inside": NOBODYS.encode()[:20] + b"\0" + NOBODYS.encode()[21:],
    "a line at the end": NOBODYS.encode() + b"\n",
    "not ASCII": "é" * 81,
    "not UTF-8": b"\xff" * 81,
    "digits of another script": NOBODYS[:-1].encode() + "٣".encode(),
    "SQL": "osk_' OR 1=1 --_" + SECRET,
    "a pattern": f"osk_%%%%%%%%%%%%_{SECRET}",
    "a bearer": f"Bearer {NOBODYS}",
    "two": f"{NOBODYS}, {NOBODYS}",
}


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
@pytest.mark.parametrize("path", ["/auth/me", "/services"])
async def test_a_forged_key_is_refused_even_where_none_is_needed(
    client: httpx.AsyncClient, value: str | bytes, path: str
) -> None:
    raw = value if isinstance(value, bytes) else value.encode()
    answer = await client.get(f"/api/v1{path}", headers=[(b"X-API-Key", raw)])
    problem(answer, 401, "invalid_token")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_malformed_key_is_refused_without_asking_the_database(
    client: httpx.AsyncClient, statements: list[str]
) -> None:
    for value in (NOBODYS + "0", "x", ""):
        await client.get("/api/v1/auth/me", headers={"X-API-Key": value})
    assert statements == []
    await client.get("/api/v1/auth/me", headers={"X-API-Key": NOBODYS})
    assert len(statements) == 1


@pytest.mark.parametrize("remembered", [True, False])
async def test_a_known_prefix_with_another_secret_is_refused(
    app: FastAPI, business: Business, *, remembered: bool
) -> None:
    ada = await business.customer()
    website, other = await program(ada), await program(ada)
    for secret in ("0" * 64, other.made["key"].rpartition("_")[2], website.made["key"][-64:-1]):
        if remembered:
            ok(await website.get("/auth/me"))
        else:
            forget(app)
        forged = Program(ada.client, {"key": f"{website.made['prefix']}_{secret}"})
        problem(await forged.get("/auth/me"), 401, "invalid_token")
        ok(await website.get("/auth/me"))


async def test_a_digest_is_no_key(app: FastAPI, business: Business) -> None:
    website = await program(await business.customer())
    digest = read_key(website.made["key"]).digest.hex()
    stolen = Program(website.client, {"key": f"{website.made['prefix']}_{digest}"})
    problem(await stolen.get("/auth/me"), 401, "invalid_token")


async def test_a_key_that_has_run_out_says_so_at_that_instant(
    business: Business, clock: Hands
) -> None:
    website = await program(await business.customer(), expires_at="2026-03-02T09:00:00Z")
    clock.advance(minutes=59, seconds=59)
    ok(await website.get("/auth/me"))
    clock.advance(seconds=1)  # the process still remembers it
    answer = await website.get("/auth/me")
    problem(answer, 401, "token_expired")
    assert answer.headers["www-authenticate"] == "Bearer"
    forged = Program(website.client, {"key": f"{website.made['prefix']}_{'0' * 64}"})
    problem(await forged.get("/auth/me"), 401, "invalid_token")


async def test_a_key_without_an_end_works_until_it_is_revoked(
    business: Business, clock: Hands
) -> None:
    website = await program(await business.customer())
    assert website.made["expires_at"] is None
    clock.advance(days=20_000)
    ok(await website.get("/auth/me"))


async def test_it_dies_with_the_account_that_owns_it(app: FastAPI, business: Business) -> None:
    ada, admin = await business.customer(), await business.admin()
    website = await program(ada)
    ok(await admin.patch(f"/admin/users/{ada.user['id']}", json={"is_active": False}))
    forget(app)
    problem(await website.get("/auth/me"), 401, "invalid_token")
    await execute(app, "DELETE FROM users WHERE id = :id", id=UUID(ada.user["id"]))
    forget(app)
    problem(await website.get("/auth/me"), 401, "invalid_token")


async def test_a_key_as_bearer_and_a_token_as_key_are_refused(business: Business) -> None:
    ada = await business.customer()
    website = await program(ada)
    headers = {"Authorization": f"Bearer {website.made['key']}"}
    problem(await ada.client.get("/api/v1/auth/me", headers=headers), 401, "invalid_token")
    problem(await Program(ada.client, {"key": ada.token}).get("/auth/me"), 401, "invalid_token")


async def test_more_than_one_key_or_token_is_one_too_many(business: Business) -> None:
    ada = await business.customer()
    key = (b"X-API-Key", (await program(ada)).made["key"].encode())
    token = (b"Authorization", f"Bearer {ada.token}".encode())
    for other in (key, token, (b"X-API-Key", b""), (b"Authorization", b"Basic YTpi")):
        for pair in ([key, other], [other, key]):
            for path in ("/auth/me", "/services"):
                answer = await ada.client.get(f"/api/v1{path}", headers=pair)
                problem(answer, 401, "invalid_token")


# --- What a key may do ------------------------------------------------------------------------
async def test_a_key_may_do_less_than_its_owner(business: Business) -> None:
    ada = await business.customer()
    website = await program(ada)
    booking = {"service_id": ID, "start": "2026-03-03T09:00:00Z"}
    problem(await website.post("/bookings", booking), 403, "forbidden")
    problem(await ada.post("/bookings", booking), 404, "not_found")


async def test_a_key_may_not_do_more_than_its_owner(business: Business) -> None:
    ada = await business.customer()
    for permissions in (["services:write"], ["bookings:create", "users:read"]):
        body = {"name": "x", "permissions": permissions}
        problem(await ada.post("/auth/api-keys", body), 403, "forbidden")
    assert ok(await ada.get("/auth/api-keys"))["items"] == []


async def test_a_key_loses_what_its_owner_loses_and_no_more(
    app: FastAPI, business: Business
) -> None:
    ada, admin = await business.customer(), await business.admin()
    await grant(app, ada, "admin")
    reader = await program(ada, "users:read", "bookings:create")
    path, service = f"/admin/users/{ada.user['id']}/roles", {"service_id": ID}
    booking = service | {"start": "2026-03-03T09:00:00Z"}
    for roles, may_read, may_book in (
        (["customer", "admin"], True, True),
        (["customer"], False, True),
        ([], False, False),
        (["customer", "admin"], True, True),
    ):
        ok(await admin.put(path, {"roles": roles}))
        forget(app)
        assert (await reader.get("/admin/users")).status_code == (200 if may_read else 403)
        assert (await reader.post("/bookings", booking)).status_code == (404 if may_book else 403)
        problem(await reader.get("/admin/roles"), 403, "forbidden")


async def test_a_superusers_key_is_no_superuser(app: FastAPI, business: Business) -> None:
    admin, ada = await business.admin(), await business.customer()
    await execute(app, "DELETE FROM user_roles WHERE user_id = :id", id=UUID(admin.user["id"]))
    helper = await program(admin, "users:write", "users:read")
    ok(await helper.get("/admin/users"))
    problem(await helper.get("/admin/audit-log"), 403, "forbidden")
    for user in (ada.user, admin.user):
        path = f"/admin/users/{user['id']}"
        answer = await helper.request("PATCH", path, json={"is_superuser": True})
        problem(answer, 403, "forbidden")
    ok(await admin.get("/admin/audit-log"))


async def test_the_key_of_a_former_superuser_keeps_what_the_roles_grant(
    app: FastAPI, business: Business
) -> None:
    admin = await business.admin()
    helper = await program(admin, "users:read", "bookings:create")
    await execute(app, "UPDATE users SET is_superuser = false")
    await execute(app, "DELETE FROM user_roles WHERE user_id = :id", id=UUID(admin.user["id"]))
    await grant(app, admin, "customer")
    forget(app)
    problem(await helper.get("/admin/users"), 403, "forbidden")
    booking = {"service_id": ID, "start": "2026-03-03T09:00:00Z"}
    problem(await helper.post("/bookings", booking), 404, "not_found")


def test_what_a_key_may_is_what_both_scope_and_owner_may() -> None:
    everything = [permission.value for permission in Permission]
    scope = ["users:read", "bookings:create", "future:read"]
    known = {Permission.USERS_READ, Permission.BOOKINGS_CREATE}

    def effective(owner: list[str], *, superuser: bool = False) -> frozenset[Permission]:
        return effective_permissions(scope, owner=owner, owner_is_superuser=superuser)

    assert effective(everything) == known
    assert effective([*everything, "future:read"]) == known
    assert effective(["users:read", "users:write"]) == {Permission.USERS_READ}
    assert effective([]) == frozenset()
    assert effective([], superuser=True) == known


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/auth/logout", None),
        ("POST", "/auth/logout-all", None),
        ("GET", "/auth/sessions", None),
        ("DELETE", f"/auth/sessions/{ID}", None),
        ("PATCH", "/auth/me", {"name": "Mallory"}),
        ("POST", "/auth/me/password", {"current_password": PASSWORD, "new_password": "x" * 20}),
        ("GET", "/auth/api-keys", None),
        ("POST", "/auth/api-keys", {"name": "x", "permissions": []}),
        ("DELETE", "/auth/api-keys/{own}", None),
    ],
)
async def test_a_key_does_not_manage_the_account(
    app: FastAPI, business: Business, method: str, path: str, body: object
) -> None:
    admin = await business.admin()
    website = await program(admin, *Permission)
    path = path.replace("{own}", website.made["id"])
    problem(await website.request(method, path, json=body), 403, "forbidden")
    forget(app)
    ok(await website.get("/auth/me"))
    assert ok(await admin.get("/auth/me")) == admin.user
    await business.log_in(admin.user["email"], "an administrator's password")


async def test_a_key_and_its_owner_have_idempotency_keys_of_their_own(business: Business) -> None:
    ada = await business.customer()
    service = await business.service()
    for _ in range(3):
        await business.provider(service)
    booking = {"service_id": service["id"], "start": "2026-03-03T09:00:00+01:00"}
    website, app_ = await program(ada, "bookings:create"), await program(ada, "bookings:create")
    reader = await program(ada)
    same = {"Idempotency-Key": "1"}
    first = [ok(await c.post("/bookings", booking, headers=same)) for c in (ada, website, app_)]
    again = [ok(await c.post("/bookings", booking, headers=same)) for c in (ada, website, app_)]
    assert len({b["id"] for b in first}) == 3
    assert again == first
    problem(await reader.post("/bookings", booking, headers=same), 403, "forbidden")


# --- What a key costs, and its last use -------------------------------------------------------
async def last_use(owner: Caller) -> str | None:
    (key,) = ok(await owner.get("/auth/api-keys"))["items"]
    return key["last_used_at"]


async def test_its_last_use_is_noted_once_a_minute(
    app: FastAPI, business: Business, clock: Hands, statements: list[str]
) -> None:
    ada = await business.customer()
    website = await program(ada)
    assert await last_use(ada) is None
    statements.clear()
    for seconds in (0, 1, 58):
        clock.advance(seconds=seconds)
        forget(app)
        ok(await website.get("/auth/me"))
        assert await last_use(ada) == "2026-03-02T08:00:00Z"
    assert len(writes(statements)) == 1
    clock.advance(seconds=1)
    ok(await website.get("/auth/me"))
    assert await last_use(ada) == "2026-03-02T08:01:00Z"
    assert len(writes(statements)) == 2


async def test_what_another_process_noted_is_not_noted_again(
    app: FastAPI, business: Business, settings: Settings, clock: Hands, statements: list[str]
) -> None:
    ada = await business.customer()
    website = await program(ada)
    async with serving(create_app(settings, clock=clock)) as elsewhere:
        ok(await Program(elsewhere, website.made).get("/auth/me"))
    clock.advance(seconds=30)
    statements.clear()
    ok(await website.get("/auth/me"))
    assert writes(statements) == []
    assert await last_use(ada) == "2026-03-02T08:00:00Z"


async def test_twenty_requests_at_once_note_one_use(
    business: Business, statements: list[str]
) -> None:
    website = await program(await business.customer())
    statements.clear()
    answers = await asyncio.gather(*(website.get("/auth/me") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(writes(statements)) == 1


async def test_a_forged_or_dead_key_notes_no_use(
    business: Business, clock: Hands, statements: list[str]
) -> None:
    website = await program(await business.customer(), expires_at="2026-03-02T08:01:00Z")
    forged = Program(website.client, {"key": f"{website.made['prefix']}_{'0' * 64}"})
    statements.clear()
    await forged.get("/auth/me")
    clock.advance(minutes=2)
    await website.get("/auth/me")
    assert writes(statements) == []


async def test_a_remembered_key_costs_no_statement(
    app: FastAPI, business: Business, statements: list[str]
) -> None:
    website = await program(await business.customer())
    ok(await website.get("/bookings"))
    app.state.api_key_authenticator._standings.seconds = float("inf")  # however slow the machine is
    statements.clear()
    ok(await website.get("/bookings"))
    assert len(statements) == 1  # the bookings themselves


async def test_a_use_that_cannot_be_noted_fails_no_request_and_is_not_tried_again(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    website = await program(await business.customer())
    tries = []

    async def fail(*_: object, **__: object) -> None:
        tries.append(1)
        raise OSError(website.made["key"])

    monkeypatch.setattr(api_key_repository, "note_use", fail)
    lines = record_log(monkeypatch, api_key_authenticator)
    for _ in range(3):
        ok(await website.get("/auth/me"))
    assert len(tries) == 1
    (line,) = lines
    assert (line["event"], line["error"]) == ("key_use_not_noted", "OSError")
    assert line["key_id"] == website.made["id"]
    assert website.made["key"] not in repr(lines)


async def test_noting_a_use_waits_for_nobody(
    app: FastAPI, business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await business.customer()
    website = await program(ada)
    lines = record_log(monkeypatch, api_key_authenticator)
    async with app.state.database.transaction() as session:
        await session.execute(text("SELECT 1 FROM api_keys FOR UPDATE"))
        ok(await website.get("/auth/me"))
    assert await last_use(ada) is None
    assert lines == []  # a wait for the lock would have ended in its timeout


async def test_a_request_with_a_key_holds_one_connection(
    settings: Settings, clock: Hands, business: Business
) -> None:
    ada = await business.customer()
    website = await program(ada, "bookings:create")
    service = await business.service()
    await business.provider(service)
    small = settings.model_copy(update={"POSTGRES_POOL_SIZE": 1, "POSTGRES_MAX_OVERFLOW": 0})
    async with serving(create_app(small, clock=clock)) as client:
        booking = {"service_id": service["id"], "start": "2026-03-03T09:00:00+01:00"}
        headers = {"Idempotency-Key": "1"}
        ok(await Program(client, website.made).post("/bookings", booking, headers=headers))
    assert await last_use(ada) == "2026-03-02T08:00:00Z"


# --- Secrecy ----------------------------------------------------------------------------------
async def test_a_key_is_nowhere_but_in_the_one_answer(
    app: FastAPI,
    business: Business,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def crash() -> None:
        raise RuntimeError

    app.add_api_route("/api/v1/crash", crash)
    caplog.set_level(logging.DEBUG)
    lines = [record_log(monkeypatch, m) for m in (access_log, errors, api_key_authenticator)]
    ada = await business.customer()
    website = await program(ada, "bookings:create")
    key = website.made["key"]
    forged = Program(website.client, {"key": f"{website.made['prefix']}_{'ab' * 32}"})
    answers = [
        await caller.request(method, path)
        for caller in (website, forged)
        for method, path in (
            ("GET", "/auth/me"),
            ("GET", "/auth/api-keys"),
            ("GET", "/nothing"),
            ("GET", "/crash"),
            ("POST", "/bookings"),
            ("DELETE", "/services"),
        )
    ]
    answers += [
        await ada.get("/auth/api-keys"),
        await ada.delete(f"/auth/api-keys/{website.made['id']}"),
        await ada.get("/auth/me"),
        await (await business.admin()).get("/admin/audit-log"),
    ]
    async with app.state.database.reading() as session:
        stored = {
            table: str((await session.execute(text(f"SELECT t::text FROM {table} t"))).all())
            for table in ("events", "idempotency_keys", "sessions", "users")
        }
    assert "user.api_key_created" in stored["events"]
    output = capsys.readouterr()
    standings = dict(app.state.api_key_authenticator._standings._answers)
    assert len(standings) == 1
    seen = "\n".join(
        [
            *(answer.text + repr(answer.headers) for answer in answers),
            *stored.values(),
            repr(lines),
            caplog.text,
            output.out,
            output.err,
            repr(standings),
            repr(read_key(key)),
            repr(ApiKeyCreated(**website.made)),
        ]
    )
    assert "/api/v1/auth/me" in seen
    digest = read_key(key).digest
    for secret in (key[-64:], "ab" * 32, digest.hex(), repr(digest)):
        assert secret not in seen


async def test_the_access_log_names_the_key_that_was_used(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await business.customer()
    website = await program(ada)
    lines = record_log(monkeypatch, access_log)
    for caller in (website, ada):
        ok(await caller.get("/auth/me"))
    assert [line["user_id"] for line in lines] == [ada.user["id"]] * 2
    assert [line.get("key_id") for line in lines] == [website.made["id"], None]


async def test_the_database_keeps_a_digest_only(app: FastAPI, business: Business) -> None:
    key = (await program(await business.customer())).made["key"]
    async with app.state.database.reading() as session:
        row = (await session.execute(text("SELECT digest, k::text FROM api_keys k"))).one()
    assert row[0] == read_key(key).digest
    assert key[-64:] not in row[1]


# --- The document, and where keys are not offered ---------------------------------------------
def security(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """By operation, how one may say who one is."""
    return {
        operation["operationId"]: operation["security"]
        for path in document["paths"].values()
        for operation in path.values()
        if "security" in operation
    }


SESSION_ONLY = {
    "auth_api_keys_create",
    "auth_api_keys_list",
    "auth_api_keys_revoke",
    "auth_logout",
    "auth_logout_all",
    "auth_me_erase",
    "auth_me_export",
    "auth_me_password",
    "auth_me_update",
    "auth_mfa_disable",
    "auth_mfa_get",
    "auth_mfa_recovery_codes_renew",
    "auth_mfa_totp_confirm",
    "auth_mfa_totp_start",
    "auth_sessions_end",
    "auth_sessions_list",
    "calendar_feeds_create",
    "calendar_feeds_list",
    "calendar_feeds_revoke",
    "notifications_get",
    "notifications_put",
}


def test_the_document_offers_keys_wherever_one_is_taken() -> None:
    document = create_app(make_settings(API_KEYS_ENABLED=True)).openapi()
    scheme = document["components"]["securitySchemes"]["ApiKey"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
    ways = security(document)
    assert len(ways) > 25
    assert {name for name, way in ways.items() if {"ApiKey": []} not in way} == SESSION_ONLY
    assert all({"Bearer": []} in way for way in ways.values())
    for name in SESSION_ONLY:
        operation = next(
            operation
            for path in document["paths"].values()
            for operation in path.values()
            if operation["operationId"] == name
        )
        assert "403" in operation["responses"]


async def test_where_keys_are_not_offered_their_routes_do_not_exist(
    app: FastAPI, settings: Settings, clock: Hands, business: Business
) -> None:
    ada = await business.customer()
    website = await program(ada)
    disabled = create_app(settings.model_copy(update={"API_KEYS_ENABLED": False}), clock=clock)
    document = disabled.openapi()
    assert "ApiKey" not in document["components"]["securitySchemes"]
    assert not [path for path in document["paths"] if "api-keys" in path]
    assert len(security(document)) > 25
    assert not [way for way in security(document).values() if {"ApiKey": []} in way]
    async with serving(disabled) as client:
        elsewhere = Caller(client, ada.user, ada.token)
        for method, path in (("GET", ""), ("POST", ""), ("DELETE", f"/{website.made['id']}")):
            answer = await elsewhere.request(method, f"/auth/api-keys{path}")
            problem(answer, 404, "not_found")
        # The header means nothing there, neither good nor bad.
        sent = Program(client, website.made)
        problem(await sent.get("/auth/me"), 401, "unauthenticated")
        ok(await sent.get("/services"))
        ok(await elsewhere.get("/auth/me", headers={"X-API-Key": "of the gateway"}))


async def test_the_example_in_the_document_makes_a_key(business: Business) -> None:
    document = create_app(make_settings(API_KEYS_ENABLED=True)).openapi()
    (example,) = document["components"]["schemas"]["ApiKeyCreate"]["examples"]
    ok(await (await business.customer()).post("/auth/api-keys", example))


async def test_a_key_lives_no_longer_for_being_used(business: Business, clock: Hands) -> None:
    website = await program(await business.customer(), expires_at="2026-03-02T08:10:00Z")
    for _ in range(10):
        ok(await website.get("/auth/me"))
        clock.now += timedelta(minutes=1)
    problem(await website.get("/auth/me"), 401, "token_expired")
