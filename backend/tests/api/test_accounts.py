import asyncio
import itertools
import unicodedata
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from app.auth.memory import REMEMBERED_SECONDS
from app.config import Settings
from app.main import create_app
from tests.business import PASSWORD, Business, Hands, execute, ok, problem, serving

LONG = "correct horse battery staple"
ADA = {"name": "Ada Lovelace", "email": "ada@example.com", "password": PASSWORD}

SignUp = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
def sign_up(client: httpx.AsyncClient) -> SignUp:
    async def sign_up(**changes: object) -> httpx.Response:
        return await client.post("/api/v1/auth/signup", json=ADA | changes)

    return sign_up


async def log_in(client: httpx.AsyncClient, email: str, password: str) -> httpx.Response:
    body = {"email": email, "password": password}
    return await client.post("/api/v1/auth/login", json=body)


async def log_in_by_form(client: httpx.AsyncClient, email: str, password: str) -> httpx.Response:
    form = {"grant_type": "password", "username": email, "password": password}
    return await client.post("/api/v1/auth/token", data=form)


async def me(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})


# --- Signing up -------------------------------------------------------------------------------
async def test_who_signs_up_is_a_customer(business: Business, sign_up: SignUp) -> None:
    answer = await sign_up()
    user = ok(answer)
    assert answer.status_code == 201
    assert answer.headers["etag"] == '"1"'
    assert "password" not in answer.text
    assert UUID(user["id"]).version == 7
    expected = {
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "phone": None,
        "time_zone": None,
        "locale": None,
        "roles": ["customer"],
        "permissions": ["bookings:create"],
        "is_active": True,
        "is_superuser": False,
        "email_verified": False,
        "version": 1,
    }
    assert {name: user[name] for name in expected} == expected
    ada = await business.log_in(ADA["email"], PASSWORD)
    assert ada.user == user
    params = {"subject_id": user["id"]}
    entries = ok(await (await business.admin()).get("/admin/audit-log", params=params))["items"]
    (entry,) = [entry for entry in entries if entry["type"] == "user.created"]
    assert (entry["type"], entry["actor_id"]) == ("user.created", user["id"])
    assert entry["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("eleven char", id="short"),
        pytest.param("ada@example.com", id="the address"),
        pytest.param("ADA@Example.Com", id="the address in capitals"),
        pytest.param("Ada Lovelace", id="the name"),
        pytest.param("aDA lOVELACE", id="the name in capitals"),
        pytest.param("x" * 4097, id="long"),
        pytest.param("é" * 2049, id="long in bytes"),
        pytest.param("", id="none"),
        pytest.param(None, id="null"),
        pytest.param(123456789012, id="a number"),
        pytest.param("with a NUL \0 inside", id="NUL"),
    ],
)
async def test_a_weak_password_is_refused(
    client: httpx.AsyncClient, sign_up: SignUp, password: object
) -> None:
    problem(await sign_up(password=password), 422, "validation_failed")
    problem(await log_in(client, ADA["email"], PASSWORD), 401, "invalid_credentials")
    ok(await sign_up())


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("twelve chars", id="shortest"),
        pytest.param(LONG + "x" * (4096 - len(LONG)), id="longest"),
        pytest.param("пароль из слов и é" + "é" * 2032, id="longest in bytes"),
        pytest.param("пароль из слов", id="Cyrillic"),
        pytest.param("🐎🔋📎 and a horse", id="emoji"),
        pytest.param("  spaces around  ", id="spaces around"),
        pytest.param("\ttabs and\nlines\t", id="tabs and lines"),
        pytest.param("a&b=c+d%20e;f/g?", id="a form's own signs"),
    ],
)
async def test_a_password_is_what_was_typed_to_the_byte(
    client: httpx.AsyncClient, sign_up: SignUp, password: str
) -> None:
    ok(await sign_up(password=password))
    for way, wrong in itertools.product((log_in, log_in_by_form), (False, True)):
        answer = await way(client, ADA["email"], password[:-1] if wrong else password)
        assert answer.status_code == (401 if wrong else 200)


async def test_a_password_is_the_same_on_every_keyboard(
    client: httpx.AsyncClient, sign_up: SignUp
) -> None:
    password = "crème brûlée à Málaga"
    ok(await sign_up(password=unicodedata.normalize("NFD", password)))
    for form in ("NFC", "NFD"):
        ok(await log_in(client, ADA["email"], unicodedata.normalize(form, password)))


async def test_a_password_is_measured_as_it_is_hashed(sign_up: SignUp) -> None:
    grows = "\u0958" * 1000  # twice as long in NFC: 6,000 bytes
    problem(await sign_up(password=grows), 422, "validation_failed")


async def test_every_byte_of_a_long_password_counts(
    client: httpx.AsyncClient, sign_up: SignUp
) -> None:
    ok(await sign_up(password=LONG + "x" * 71 + "a"))
    problem(await log_in(client, ADA["email"], LONG + "x" * 71 + "b"), 401, "invalid_credentials")
    ok(await log_in(client, ADA["email"], LONG + "x" * 71 + "a"))


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@EXAMPLE.COM", " Ada@Example.com "])
async def test_an_address_has_one_account_however_it_is_written(
    client: httpx.AsyncClient, sign_up: SignUp, email: str
) -> None:
    first = ok(await sign_up(email="Ada@example.COM"))
    assert first["email"] == "ada@example.com"
    problem(await sign_up(email=email), 409, "already_exists")
    ok(await log_in(client, email, PASSWORD))


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ada",
        "ada@",
        "@example.com",
        "a b@example.com",
        "ada@example",
        "ada@-x.com",
        "Ada <ada@example.com>",
        "<ada@example.com>",
        7,
    ],
)
async def test_what_is_no_address_is_refused(
    client: httpx.AsyncClient, sign_up: SignUp, email: object
) -> None:
    login = await client.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
    for answer in (await sign_up(email=email), login):
        body = problem(answer, 422, "validation_failed")
        assert [error["pointer"] for error in body["errors"]] == ["#/email"]


async def test_of_twenty_who_sign_up_with_one_address_one_gets_it(
    app: FastAPI, sign_up: SignUp
) -> None:
    answers = await asyncio.gather(
        *(
            sign_up(name=f"Ada {n}", email="ada@example.com".upper()[:n] + "ada@example.com"[n:])
            for n in range(15)
        ),
        *(sign_up() for _ in range(5)),
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    async with app.state.database.reading() as session:
        counts = await session.connection()
        found = await counts.exec_driver_sql(
            "SELECT (SELECT count(*) FROM users WHERE email = 'ada@example.com'),"
            " (SELECT count(*) FROM events WHERE type = 'user.created')"
        )
        # The first superuser's account is the other event.
        assert tuple(found.one()) == (1, 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_superuser", True),
        ("roles", ["admin"]),
        ("permissions", ["services:write"]),
        ("hashed_password", "x"),
        ("id", "0199f0c0-0000-7000-8000-000000000000"),
        ("email_verified", True),
        ("is_active", False),
        ("token_version", 7),
        ("nickname", "ada"),
    ],
)
async def test_nobody_signs_up_with_more_than_asked_for(
    client: httpx.AsyncClient, sign_up: SignUp, field: str, value: object
) -> None:
    body = problem(await sign_up(**{field: value}), 422, "validation_failed")
    assert [error["pointer"] for error in body["errors"]] == [f"#/{field}"]
    problem(await log_in(client, ADA["email"], PASSWORD), 401, "invalid_credentials")


# --- Logging in -------------------------------------------------------------------------------
@pytest.mark.parametrize("way", [log_in, log_in_by_form])
async def test_a_wrong_password_looks_like_an_unknown_address(
    client: httpx.AsyncClient, sign_up: SignUp, way: Any
) -> None:
    ok(await sign_up())
    wrong = await way(client, ADA["email"], "not the password")
    unknown = await way(client, "nobody@example.com", PASSWORD)
    first, second = problem(wrong, 401, "invalid_credentials"), unknown.json()
    first.pop("request_id"), second.pop("request_id")
    assert first == second
    assert wrong.headers["www-authenticate"] == unknown.headers["www-authenticate"] == "Bearer"
    assert set(wrong.headers) == set(unknown.headers)


@pytest.mark.parametrize("way", [log_in, log_in_by_form])
async def test_both_ways_to_log_in_give_a_token_that_works(
    client: httpx.AsyncClient, sign_up: SignUp, way: Any
) -> None:
    user = ok(await sign_up())
    answer = await way(client, "Ada@Example.com", PASSWORD)
    token = ok(answer)
    assert (token["token_type"], token["expires_in"]) == ("bearer", 15 * 60)
    assert answer.headers["cache-control"] == "no-store"
    assert ok(await me(client, token["access_token"])) == user


@pytest.mark.parametrize(
    ("username", "password"),
    [("not an address", PASSWORD), ("\0@example.com", PASSWORD), (ADA["email"], "\0" * 12)],
)
async def test_the_form_takes_junk_for_wrong_credentials(
    client: httpx.AsyncClient, username: str, password: str
) -> None:
    problem(await log_in_by_form(client, username, password), 401, "invalid_credentials")


async def test_the_form_refuses_another_grant(client: httpx.AsyncClient) -> None:
    form = {"grant_type": "client_credentials", "username": ADA["email"], "password": PASSWORD}
    problem(await client.post("/api/v1/auth/token", data=form), 422, "validation_failed")


@pytest.mark.parametrize("way", [log_in, log_in_by_form])
async def test_a_disabled_account_is_named_only_to_who_proves_its_password(
    app: FastAPI, client: httpx.AsyncClient, sign_up: SignUp, way: Any
) -> None:
    ok(await sign_up())
    await execute(app, "UPDATE users SET is_active = false WHERE email = 'ada@example.com'")
    problem(await way(client, ADA["email"], PASSWORD), 403, "account_disabled")
    problem(await way(client, ADA["email"], "not the password"), 401, "invalid_credentials")


# --- My account, and what takes it away --------------------------------------------------------
async def test_my_account_has_a_version(business: Business) -> None:
    ada = await business.customer()
    answer = await ada.get("/auth/me")
    assert answer.headers["etag"] == f'"{ok(answer)["version"]}"'
    unchanged = await ada.get("/auth/me", headers={"If-None-Match": answer.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


async def test_without_a_token_there_is_no_my_account(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/auth/me")
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


REVOCATIONS = {
    "disabled": "UPDATE users SET is_active = false WHERE id = :id",
    "logged out": "UPDATE sessions SET revoked_at = now() WHERE user_id = :id",
    "deleted": "DELETE FROM users WHERE id = :id",
}


@pytest.mark.parametrize("statement", REVOCATIONS.values(), ids=REVOCATIONS)
async def test_a_token_that_was_taken_back_is_no_good(
    app: FastAPI, business: Business, statement: str
) -> None:
    ada = await business.customer()
    ok(await ada.get("/auth/me"))
    await execute(app, statement, id=UUID(ada.user["id"]))
    for path in ("/auth/me", "/bookings", "/services"):
        answer = await ada.get(path)
        problem(answer, 401, "invalid_token")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_another_process_learns_of_it_at_once_and_this_one_within_a_second(
    app: FastAPI, settings: Settings, clock: Hands, business: Business
) -> None:
    ada = await business.customer()
    async with serving(create_app(settings, clock=clock)) as elsewhere:
        async with app.state.database.transaction() as session:
            connection = await session.connection()
            await connection.exec_driver_sql("UPDATE users SET is_active = false")
        problem(await me(elsewhere, ada.token), 401, "invalid_token")
    assert app.state.authenticator._standings.seconds == REMEMBERED_SECONDS < 1


async def test_a_permission_is_lost_with_its_role(app: FastAPI, business: Business) -> None:
    ada = await business.customer()
    await execute(app, "DELETE FROM user_roles WHERE user_id = :id", id=UUID(ada.user["id"]))
    assert ok(await ada.get("/auth/me"))["permissions"] == []
    body = {"service_id": ada.user["id"], "start": "2026-03-03T09:00:00Z"}
    problem(await ada.post("/bookings", body), 403, "forbidden")


async def test_a_permission_of_a_newer_release_is_no_crash(
    app: FastAPI, business: Business
) -> None:
    ada = await business.customer()
    await execute(app, "INSERT INTO permissions VALUES ('future:read', '')")
    await execute(
        app,
        "INSERT INTO role_permissions SELECT id, 'future:read' FROM roles WHERE name = 'customer'",
    )
    ok(await ada.get("/auth/me"))
