"""Accounts as administrators see and change them."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from tests.business import ADMIN_EMAIL, PASSWORD, Business, Caller, execute, grant, ok, problem

NEW = {"name": "Grace Hopper", "email": "grace@example.com", "password": PASSWORD}


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


@pytest.fixture
async def manager(app: FastAPI, business: Business) -> Caller:
    """An administrator by role, not a superuser."""
    caller = await business.customer("Manager")
    await grant(app, caller, "admin")
    return caller


@pytest.fixture
async def clerk(app: FastAPI, business: Business, admin: Caller) -> Caller:
    """Somebody who may manage accounts and nothing else."""
    permissions = ["users:read", "users:write", "bookings:create"]
    ok(await admin.post("/admin/roles", {"name": "clerk", "permissions": permissions}))
    caller = await business.customer("Clerk")
    await grant(app, caller, "clerk")
    return caller


def forget(app: FastAPI) -> None:
    """What this process remembers for a second, it now asks Postgres for."""
    app.state.authenticator._standings.clear()


async def test_an_account_is_made_with_roles_and_can_log_in(
    admin: Caller, business: Business
) -> None:
    answer = await admin.post("/admin/users", NEW | {"roles": ["provider", "customer"]})
    user = ok(answer)
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert user["roles"] == ["customer", "provider"]
    assert not user["email_verified"]
    grace = await business.log_in(NEW["email"], PASSWORD)
    assert grace.user["id"] == user["id"]
    problem(await admin.post("/admin/users", NEW), 409, "already_exists")


async def test_a_change_is_versioned_and_logged(admin: Caller, business: Business) -> None:
    ada = await business.customer()
    path = f"/admin/users/{ada.user['id']}"
    changed = ok(await admin.patch(path, {"name": "Countess"}, headers={"If-Match": '"1"'}))
    assert (changed["name"], changed["version"]) == ("Countess", 2)
    stale = await admin.patch(path, {"name": "X"}, headers={"If-Match": '"1"'})
    problem(stale, 412, "version_mismatch")
    params = {"subject_id": ada.user["id"], "type": "user.changed"}
    (entry,) = ok(await admin.get("/admin/audit-log", params=params))["items"]
    assert (entry["before"]["name"], entry["after"]["name"]) == ("Ada Lovelace", "Countess")
    assert entry["actor_id"] == admin.user["id"]


async def test_roles_are_replaced(app: FastAPI, admin: Caller, business: Business) -> None:
    ada = await business.customer()
    path = f"/admin/users/{ada.user['id']}/roles"
    changed = ok(await admin.put(path, {"roles": ["provider"]}))
    assert (changed["roles"], changed["version"]) == (["provider"], 2)
    assert "schedules:write_own" in changed["permissions"]
    emptied = ok(await admin.put(path, {"roles": []}))
    assert (emptied["roles"], emptied["permissions"]) == ([], [])
    forget(app)
    body = {"service_id": str(uuid4()), "start": "2026-03-03T09:00:00Z"}
    problem(await ada.post("/bookings", body), 403, "forbidden")
    unknown = await admin.put(path, {"roles": ["provider", "wizard"]})
    assert problem(unknown, 422, "validation_failed")["errors"][0]["pointer"] == "#/roles/1"


async def test_who_is_disabled_is_out_at_once_and_back_when_enabled(
    app: FastAPI, admin: Caller, business: Business, client: httpx.AsyncClient
) -> None:
    ada = await business.customer()
    path = f"/admin/users/{ada.user['id']}"
    assert not ok(await admin.patch(path, {"is_active": False}))["is_active"]
    forget(app)
    problem(await ada.get("/auth/me"), 401, "invalid_token")
    body = {"email": ada.user["email"], "password": PASSWORD}
    problem(await client.post("/api/v1/auth/login", json=body), 403, "account_disabled")
    ok(await admin.patch(path, {"is_active": True}))
    await business.log_in(ada.user["email"], PASSWORD)
    # The sessions of before stay ended.
    problem(await ada.get("/auth/me"), 401, "invalid_token")


async def test_a_new_address_is_unverified_and_taken_once(
    app: FastAPI, admin: Caller, business: Business
) -> None:
    ada, grace = await business.customer(), await business.customer()
    await execute(app, "UPDATE users SET email_verified = true")
    path = f"/admin/users/{ada.user['id']}"
    taken = await admin.patch(path, {"email": grace.user["email"].upper()})
    problem(taken, 409, "already_exists")
    changed = ok(await admin.patch(path, {"email": "Countess@Example.com"}))
    assert (changed["email"], changed["email_verified"]) == ("countess@example.com", False)


# --- Nobody rises -----------------------------------------------------------------------------
async def test_nobody_gives_a_role_that_grants_what_they_lack(
    clerk: Caller, business: Business
) -> None:
    ada = await business.customer()
    path = f"/admin/users/{ada.user['id']}"
    problem(await clerk.put(f"{path}/roles", {"roles": ["admin"]}), 403, "forbidden")
    problem(await clerk.patch(path, {"roles": ["customer", "admin"]}), 403, "forbidden")
    problem(await clerk.post("/admin/users", NEW | {"roles": ["admin"]}), 403, "forbidden")
    own = f"/admin/users/{clerk.user['id']}"
    problem(await clerk.put(f"{own}/roles", {"roles": ["clerk", "admin"]}), 403, "forbidden")
    ok(await clerk.post("/admin/users", NEW | {"roles": ["customer"]}))


@pytest.mark.parametrize(
    "change", [{"email": "mine@example.com"}, {"is_active": False}, {"roles": []}], ids=str
)
async def test_nobody_manages_an_account_that_may_do_more(
    clerk: Caller, manager: Caller, admin: Caller, change: dict[str, Any]
) -> None:
    for target in (manager, admin):
        path = f"/admin/users/{target.user['id']}"
        problem(await clerk.patch(path, change), 403, "forbidden")
    problem(await manager.patch(f"/admin/users/{admin.user['id']}", change), 403, "forbidden")


async def test_only_superusers_make_superusers(
    manager: Caller, admin: Caller, business: Business
) -> None:
    ada = await business.customer()
    path = f"/admin/users/{ada.user['id']}"
    problem(await manager.patch(path, {"is_superuser": True}), 403, "forbidden")
    own = f"/admin/users/{manager.user['id']}"
    problem(await manager.patch(own, {"is_superuser": True}), 403, "forbidden")
    assert ok(await admin.patch(path, {"is_superuser": True}))["is_superuser"]
    problem(
        await admin.post("/admin/users", NEW | {"is_superuser": True}), 422, "validation_failed"
    )


@pytest.mark.parametrize("change", [{"is_active": False}, {"is_superuser": False}], ids=str)
async def test_the_last_active_superuser_stays(
    admin: Caller, business: Business, change: dict[str, Any]
) -> None:
    own = f"/admin/users/{admin.user['id']}"
    problem(await admin.patch(own, change), 409, "in_use")
    ada = await business.customer()
    ok(await admin.patch(f"/admin/users/{ada.user['id']}", {"is_superuser": True}))
    ok(await admin.patch(own, change))


async def test_two_superusers_who_demote_each_other_leave_one(
    app: FastAPI, admin: Caller, business: Business
) -> None:
    ada = await business.customer()
    ok(await admin.patch(f"/admin/users/{ada.user['id']}", {"is_superuser": True}))
    forget(app)
    answers = await asyncio.gather(
        admin.patch(f"/admin/users/{ada.user['id']}", {"is_superuser": False}),
        ada.patch(f"/admin/users/{admin.user['id']}", {"is_superuser": False}),
    )
    assert sorted(answer.status_code for answer in answers) in ([200, 409], [200, 403])
    async with app.state.database.reading() as session:
        connection = await session.connection()
        left = await connection.exec_driver_sql("SELECT count(*) FROM users WHERE is_superuser")
        assert left.scalar_one() == 1


# --- Finding ----------------------------------------------------------------------------------
async def test_accounts_are_found_by_name_address_role_and_state(
    admin: Caller, business: Business
) -> None:
    ada, grace = await business.customer("Ada 100%"), await business.customer("Grace_Hopper")
    ok(await admin.put(f"/admin/users/{grace.user['id']}/roles", {"roles": ["provider"]}))
    ok(await admin.patch(f"/admin/users/{ada.user['id']}", {"is_active": False}))

    async def found(**params: str) -> set[str]:
        users = ok(await admin.get("/admin/users", params=params))["items"]
        return {user["email"] for user in users}

    everyone = {ADMIN_EMAIL, ada.user["email"], grace.user["email"]}
    assert await found() == everyone
    assert await found(q="ada 100%") == {ada.user["email"]}
    assert await found(q="%") == {ada.user["email"]}
    assert await found(q="_") == {grace.user["email"]}
    assert await found(q="EXAMPLE.com") == everyone
    assert await found(email=grace.user["email"].upper()) == {grace.user["email"]}
    assert await found(role="provider") == {grace.user["email"]}
    assert await found(is_active="false") == {ada.user["email"]}
    assert await found(is_active="true", role="customer") == set()


async def test_no_hash_is_ever_shown(admin: Caller, business: Business) -> None:
    await business.customer()
    assert "bcrypt" not in (await admin.get("/admin/users")).text
    assert "bcrypt" not in (await admin.get("/admin/audit-log")).text


async def test_an_account_that_is_not_there_is_not_found(admin: Caller) -> None:
    path = f"/admin/users/{uuid4()}"
    problem(await admin.get(path), 404, "not_found")
    problem(await admin.patch(path, {"name": "X"}), 404, "not_found")
    problem(await admin.put(f"{path}/roles", {"roles": []}), 404, "not_found")
