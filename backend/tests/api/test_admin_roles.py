"""Roles: what they grant, and that nobody rises by them."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI

from app.auth.permissions import DESCRIPTIONS, Permission
from tests.business import Business, Caller, grant, ok, problem


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


@pytest.fixture
async def clerk(app: FastAPI, business: Business, admin: Caller) -> Caller:
    """Somebody who manages users and roles, and may see bookings; not a superuser."""
    permissions = ["users:read", "users:write", "roles:read", "roles:write", "bookings:read_all"]
    ok(await admin.post("/admin/roles", {"name": "clerk", "permissions": permissions}))
    caller = await business.customer("Clerk")
    await grant(app, caller, "clerk")
    return caller


async def role_named(caller: Caller, name: str) -> Any:
    roles = ok(await caller.get("/admin/roles"))["items"]
    return next(role for role in roles if role["name"] == name)


async def test_the_catalogue_lists_every_permission(admin: Caller) -> None:
    listed = ok(await admin.get("/admin/permissions"))["items"]
    assert {p["name"]: p["description"] for p in listed} == DESCRIPTIONS


async def test_the_built_in_roles_are_there(admin: Caller) -> None:
    roles = {role["name"]: role for role in ok(await admin.get("/admin/roles"))["items"]}
    assert set(roles) == {"admin", "customer", "provider"}
    assert all(role["is_builtin"] for role in roles.values())
    assert roles["admin"]["permissions"] == sorted(Permission)


async def test_a_role_is_made_changed_and_deleted(admin: Caller) -> None:
    made = await admin.post("/admin/roles", {"name": "desk", "permissions": ["users:read"]})
    role = ok(made)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    path = f"/admin/roles/{role['id']}"
    changed = ok(await admin.patch(path, {"permissions": ["audit:read", "users:read"]}))
    assert changed["permissions"] == ["audit:read", "users:read"]
    assert changed["version"] == 2
    renamed = ok(await admin.patch(path, {"name": "front-desk", "description": "First faces."}))
    assert (renamed["name"], renamed["version"]) == ("front-desk", 3)
    stale = await admin.delete(path, headers={"If-Match": '"2"'})
    problem(stale, 412, "version_mismatch")
    assert (await admin.delete(path, headers={"If-Match": '"3"'})).status_code == 204
    problem(await admin.get(path), 404, "not_found")
    params = {"subject_id": role["id"]}
    log = ok(await admin.get("/admin/audit-log", params=params))["items"]
    assert [entry["type"] for entry in log] == [
        "role.deleted",
        "role.changed",
        "role.changed",
        "role.created",
    ]
    assert log[2]["before"]["permissions"] == ["users:read"]
    assert log[2]["after"]["permissions"] == ["audit:read", "users:read"]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "permissions": []},
        {"name": "Has Spaces", "permissions": []},
        {"name": "desk", "permissions": ["no:such"]},
        {"name": "desk", "permissions": [], "is_builtin": True},
        {"name": "desk"},
    ],
    ids=str,
)
async def test_what_is_no_role_is_refused(admin: Caller, body: dict[str, Any]) -> None:
    problem(await admin.post("/admin/roles", body), 422, "validation_failed")


async def test_a_name_is_taken_once_also_in_a_race(admin: Caller) -> None:
    answers = await asyncio.gather(
        *(admin.post("/admin/roles", {"name": "desk", "permissions": []}) for _ in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
    problem(
        await admin.patch(
            f"/admin/roles/{(await role_named(admin, 'desk'))['id']}", {"name": "customer"}
        ),
        409,
        "already_exists",
    )


async def test_built_in_roles_keep_their_names_and_stay(admin: Caller) -> None:
    role = await role_named(admin, "provider")
    path = f"/admin/roles/{role['id']}"
    problem(await admin.delete(path), 409, "in_use")
    problem(await admin.patch(path, {"name": "healer"}), 422, "validation_failed")
    ok(await admin.patch(path, {"name": "provider", "description": "Heals."}))


async def test_a_role_that_somebody_holds_is_in_use(clerk: Caller, admin: Caller) -> None:
    role = await role_named(admin, "clerk")
    problem(await admin.delete(f"/admin/roles/{role['id']}"), 409, "in_use")


async def test_nobody_grants_what_they_lack(clerk: Caller) -> None:
    lacked = {"name": "desk", "permissions": ["users:read", "audit:read"]}
    problem(await clerk.post("/admin/roles", lacked), 403, "forbidden")
    own = ok(await clerk.post("/admin/roles", lacked | {"permissions": ["users:read"]}))
    path = f"/admin/roles/{own['id']}"
    problem(await clerk.patch(path, {"permissions": ["audit:read"]}), 403, "forbidden")
    ok(await clerk.patch(path, {"permissions": ["users:read", "roles:read"]}))


async def test_who_cannot_grant_a_permission_can_still_leave_it(
    clerk: Caller, admin: Caller
) -> None:
    role = await role_named(admin, "admin")
    path = f"/admin/roles/{role['id']}"
    fewer = [p for p in role["permissions"] if p != "users:write"]
    ok(await clerk.patch(path, {"permissions": fewer}))
    ok(await clerk.patch(path, {"description": "Runs most of the business."}))


async def test_a_changed_role_counts_within_a_second(
    app: FastAPI, clerk: Caller, admin: Caller
) -> None:
    ok(await clerk.get("/admin/users"))
    role = await role_named(admin, "clerk")
    ok(await admin.patch(f"/admin/roles/{role['id']}", {"permissions": ["roles:read"]}))
    app.state.authenticator._standings.clear()
    problem(await clerk.get("/admin/users"), 403, "forbidden")


async def test_customers_see_no_roles(business: Business) -> None:
    ada = await business.customer()
    for path in ("/admin/roles", "/admin/permissions", "/admin/users", "/admin/audit-log"):
        problem(await ada.get(path), 403, "forbidden")
