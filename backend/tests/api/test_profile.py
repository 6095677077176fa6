"""What people change about their own account."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from passlib.context import CryptContext

from tests.business import ADMIN_EMAIL, PASSWORD, Business, execute, ok, problem

NEW_PASSWORD = "a quite different sentence"


async def test_a_profile_changes_field_by_field(business: Business) -> None:
    ada = await business.customer()
    changed = ok(
        await ada.patch("/auth/me", {"phone": "+33123456789", "time_zone": "Europe/Paris"})
    )
    assert (changed["phone"], changed["time_zone"]) == ("+33123456789", "Europe/Paris")
    assert changed["name"] == ada.user["name"]
    assert changed["version"] == ada.user["version"] + 1
    cleared = ok(await ada.patch("/auth/me", {"phone": None, "locale": "pt-BR"}))
    assert (cleared["phone"], cleared["locale"]) == (None, "pt-BR")


async def test_a_stale_profile_is_not_overwritten(business: Business) -> None:
    ada = await business.customer()
    ok(await ada.patch("/auth/me", {"name": "Ada"}, headers={"If-Match": '"1"'}))
    answer = await ada.patch("/auth/me", {"name": "A."}, headers={"If-Match": '"1"'})
    problem(answer, 412, "version_mismatch")


@pytest.mark.parametrize(
    "field",
    [
        {"is_superuser": True},
        {"roles": ["admin"]},
        {"hashed_password": "x"},
        {"id": "x"},
        {"email_verified": True},
        {"email": "other@example.com"},
        {"permissions": ["users:write"]},
        {"name": None},
        {"time_zone": "Mars/Olympus"},
        {"phone": "12"},
        {"locale": "no locale"},
    ],
    ids=str,
)
async def test_what_is_not_ones_own_to_change_is_refused(
    business: Business, field: dict[str, Any]
) -> None:
    ada = await business.customer()
    problem(await ada.patch("/auth/me", {"name": "Eve"} | field), 422, "validation_failed")
    assert ok(await ada.get("/auth/me")) == ada.user


async def test_a_new_password_replaces_the_old_one_and_logs_out_elsewhere(
    app: FastAPI, business: Business, client: httpx.AsyncClient
) -> None:
    here = await business.customer()
    there = await business.log_in(here.user["email"], PASSWORD)
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert (await here.post("/auth/me/password", body)).status_code == 204
    app.state.authenticator._standings.clear()
    ok(await here.get("/auth/me"))
    problem(await there.get("/auth/me"), 401, "invalid_token")
    old = {"email": here.user["email"], "password": PASSWORD}
    problem(await client.post("/api/v1/auth/login", json=old), 401, "invalid_credentials")
    await business.log_in(here.user["email"], NEW_PASSWORD)


async def test_a_wrong_current_password_changes_nothing(business: Business) -> None:
    ada = await business.customer()
    body = {"current_password": "not my password", "new_password": NEW_PASSWORD}
    problem(await ada.post("/auth/me/password", body), 401, "invalid_credentials")
    await business.log_in(ada.user["email"], PASSWORD)


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "passwordpassword",
        "Password1234!",
        "qwertyqwerty",
        "123456789012",
    ],
)
async def test_guessable_passwords_are_refused(business: Business, password: str) -> None:
    ada = await business.customer()
    body = {"current_password": PASSWORD, "new_password": password}
    answer = problem(await ada.post("/auth/me/password", body), 422, "validation_failed")
    assert answer["errors"][0]["pointer"] == "#/new_password"
    assert password not in str(answer)


async def test_a_hash_of_another_cost_is_renewed_at_login(app: FastAPI, business: Business) -> None:
    ada = await business.customer()
    costlier = CryptContext(["bcrypt_sha256"], bcrypt_sha256__default_rounds=5)
    await execute(
        app,
        "UPDATE users SET hashed_password = :hashed WHERE email = :email",
        hashed=costlier.hash(PASSWORD),
        email=ada.user["email"],
    )
    await business.log_in(ada.user["email"], PASSWORD)
    async with app.state.database.reading() as session:
        connection = await session.connection()
        row = await connection.exec_driver_sql("SELECT hashed_password FROM users ORDER BY email")
        hashes = [hashed for (hashed,) in row if "r=4" in hashed]
    assert len(hashes) == 2  # Ada's and the administrator's
    await business.log_in(ada.user["email"], PASSWORD)


async def test_other_domains_are_refused_where_the_business_says_so(
    app: FastAPI, business: Business, client: httpx.AsyncClient
) -> None:
    strict = app.state.settings.model_copy(
        update={"ENFORCE_EMAIL_DOMAIN": True, "ALLOWED_EMAIL_DOMAINS": ("bücher.example",)}
    )
    app.state.settings = strict
    body = {"name": "Ada", "password": PASSWORD}
    for address, admitted in (
        ("a@example.com", False),
        ("a@bücher.example", True),
        ("b@XN--bcher-kva.example", True),
        ("a@sub.bücher.example", False),
        ("a@xbücher.example", False),
    ):
        answer = await client.post("/api/v1/auth/signup", json=body | {"email": address})
        if admitted:
            ok(answer)
        else:
            problem(answer, 403, "email_domain_not_allowed")
    await business.log_in(ADMIN_EMAIL, "an administrator's password")
