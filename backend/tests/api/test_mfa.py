"""The second factor: TOTP, recovery codes, and who must have one."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx
import pyotp
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.auth import second_factor
from app.auth.mfa_schemas import RecoveryCodesOut, TotpStarted
from app.auth.permissions import BUILT_IN_ROLES, Permission
from app.auth.rules import LOCKED_FOR, WRONG_CODES, needs_second_factor
from app.config import Settings
from app.core.middleware import access_log, errors
from app.main import create_app
from tests.business import (
    ADMIN_EMAIL,
    ADMIN_PASSWORD,
    PASSWORD,
    Business,
    Caller,
    Hands,
    execute,
    ok,
    problem,
    serving,
)
from tests.unit.core.recorder import record_log

SIXTEEN = 16


class Phone:
    """An authenticator app: it knows the secret and looks at a clock."""

    def __init__(self, secret: str, clock: Hands) -> None:
        self.totp, self.clock = pyotp.TOTP(secret), clock

    def code(self, *, seconds: int = 0) -> str:
        """What it shows now, or what it showed or will show so many seconds away."""
        return self.totp.at(int(self.clock().timestamp()) + seconds)

    def wrong(self) -> str:
        """A code of no step anywhere near."""
        near = {self.code(seconds=30 * step) for step in range(-10, 11)}
        return next(code for n in range(100) if (code := f"{n:06}") not in near)


class Account:
    """An account with an active second factor."""

    def __init__(self, caller: Caller, phone: Phone, recovery_codes: list[str]) -> None:
        self.caller, self.phone, self.recovery_codes = caller, phone, recovery_codes
        self.email = caller.user["email"]

    async def log_in(self, code: str | None = None, password: str = PASSWORD) -> httpx.Response:
        return await log_in(self.caller.client, self.email, password, code)


async def log_in(
    client: httpx.AsyncClient, email: str, password: str, code: str | None = None
) -> httpx.Response:
    body = {"email": email, "password": password} | ({} if code is None else {"code": code})
    return await client.post("/api/v1/auth/login", json=body)


async def start(caller: Caller, clock: Hands, password: str = PASSWORD) -> Phone:
    started = ok(await caller.post("/auth/mfa/totp", {"password": password}))
    return Phone(started["secret"], clock)


async def enable(caller: Caller, clock: Hands, password: str = PASSWORD) -> Account:
    """Set a second factor up, and wait for the next code: the first one is spent."""
    phone = await start(caller, clock, password)
    answer = ok(await caller.post("/auth/mfa/totp/confirm", {"code": phone.code()}))
    clock.advance(seconds=30)
    return Account(caller, phone, answer["recovery_codes"])


@pytest.fixture
async def ada(business: Business, clock: Hands) -> Account:
    return await enable(await business.customer(), clock)


async def rows(app: FastAPI, statement: str) -> list[Any]:
    async with app.state.database.reading() as session:
        return list(await session.execute(text(statement)))


async def events(app: FastAPI) -> Counter[str]:
    found = await rows(app, "SELECT type FROM events WHERE type LIKE 'user.%'")
    return Counter(row.type for row in found)


# --- Setting up -------------------------------------------------------------------------------
async def test_nothing_is_asked_for_until_a_code_confirms_the_app(
    business: Business, clock: Hands
) -> None:
    ada = await business.customer()
    none = {"enabled": False, "required": False, "recovery_codes_left": 0}
    assert ok(await ada.get("/auth/mfa")) == none
    answer = await ada.post("/auth/mfa/totp", {"password": PASSWORD})
    started = ok(answer)
    assert answer.headers["cache-control"] == "no-store"
    uri = pyotp.parse_uri(started["otpauth_uri"])
    assert isinstance(uri, pyotp.TOTP)
    assert (uri.secret, uri.name, uri.issuer) == (started["secret"], ada.user["email"], "Oneslot")
    assert ok(await ada.get("/auth/mfa")) == none
    ok(await log_in(ada.client, ada.user["email"], PASSWORD))

    confirmed = await ada.post(
        "/auth/mfa/totp/confirm", {"code": Phone(started["secret"], clock).code()}
    )
    codes = ok(confirmed)["recovery_codes"]
    assert len(set(codes)) == 10
    assert confirmed.headers["cache-control"] == "no-store"
    assert ok(await ada.get("/auth/mfa")) == none | {"enabled": True, "recovery_codes_left": 10}
    user = ok(await ada.get("/auth/me"))
    assert user["mfa_enabled"] is True
    assert user["version"] > ada.user["version"]
    assert ada.user["mfa_enabled"] is False


async def test_who_sets_up_proves_the_password(business: Business) -> None:
    ada = await business.customer()
    answer = await ada.post("/auth/mfa/totp", {"password": "not the password"})
    problem(answer, 401, "invalid_credentials")
    confirmed = await ada.post("/auth/mfa/totp/confirm", {"code": "123456"})
    problem(confirmed, 409, "invalid_transition")


async def test_a_wrong_code_confirms_nothing(business: Business, clock: Hands) -> None:
    ada = await business.customer()
    phone = await start(ada, clock)
    answer = await ada.post("/auth/mfa/totp/confirm", {"code": phone.wrong()})
    problem(answer, 401, "invalid_code")
    assert ok(await ada.get("/auth/me"))["mfa_enabled"] is False


async def test_only_the_last_secret_that_was_started_can_be_confirmed(
    business: Business, clock: Hands
) -> None:
    ada = await business.customer()
    first, second = await start(ada, clock), await start(ada, clock)
    body = {"code": first.code()}
    problem(await ada.post("/auth/mfa/totp/confirm", body), 401, "invalid_code")
    ok(await ada.post("/auth/mfa/totp/confirm", {"code": second.code()}))


async def test_an_active_one_is_not_replaced(ada: Account) -> None:
    problem(await ada.caller.post("/auth/mfa/totp", {"password": PASSWORD}), 409, "already_exists")
    confirmed = await ada.caller.post("/auth/mfa/totp/confirm", {"code": ada.phone.code()})
    problem(confirmed, 409, "already_exists")
    ok(await ada.log_in(ada.phone.code()))


async def test_setting_up_logs_out_everywhere_else(
    app: FastAPI, business: Business, clock: Hands
) -> None:
    here = await business.customer()
    elsewhere = await business.log_in(here.user["email"], PASSWORD)
    await enable(here, clock)
    app.state.authenticator._standings.clear()
    problem(await elsewhere.get("/auth/me"), 401, "invalid_token")
    ok(await here.get("/auth/me"))


async def test_of_two_who_confirm_at_once_one_gets_recovery_codes(
    app: FastAPI, business: Business, clock: Hands
) -> None:
    ada = await business.customer()
    phone = await start(ada, clock)
    body = {"code": phone.code()}
    answers = await asyncio.gather(*(ada.post("/auth/mfa/totp/confirm", body) for _ in range(8)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 7}
    assert len(await rows(app, "SELECT * FROM recovery_codes")) == 10


# --- Logging in -------------------------------------------------------------------------------
async def test_that_a_code_is_needed_is_told_only_to_who_proves_the_password(ada: Account) -> None:
    answer = await ada.log_in()
    problem(answer, 401, "mfa_required")
    assert answer.headers["www-authenticate"] == "Bearer"
    problem(await ada.log_in(password="not the password"), 401, "invalid_credentials")
    wrong = await ada.log_in(ada.phone.code(), password="not the password")
    problem(wrong, 401, "invalid_credentials")
    problem(await ada.log_in(ada.phone.wrong()), 401, "invalid_code")
    ok(await ada.log_in(ada.phone.code()))


async def test_the_form_takes_the_code_as_well(ada: Account) -> None:
    form = {"grant_type": "password", "username": ada.email, "password": PASSWORD}
    client = ada.caller.client
    url = "/api/v1/auth/token"
    problem(await client.post(url, data=form), 401, "mfa_required")
    problem(await client.post(url, data=form | {"code": ""}), 401, "mfa_required")
    problem(await client.post(url, data=form | {"code": ada.phone.wrong()}), 401, "invalid_code")
    ok(await client.post(url, data=form | {"code": ada.phone.code()}))


async def test_an_account_without_one_may_send_a_code_for_nothing(business: Business) -> None:
    ada = await business.customer()
    ok(await log_in(ada.client, ada.user["email"], PASSWORD, "123456"))


async def test_a_code_is_accepted_once(ada: Account) -> None:
    code = ada.phone.code()
    ok(await ada.log_in(code))
    problem(await ada.log_in(code), 401, "invalid_code")


async def test_the_code_that_confirmed_does_not_log_in(business: Business, clock: Hands) -> None:
    caller = await business.customer()
    phone = await start(caller, clock)
    ok(await caller.post("/auth/mfa/totp/confirm", {"code": phone.code()}))
    answer = await log_in(caller.client, caller.user["email"], PASSWORD, phone.code())
    problem(answer, 401, "invalid_code")


async def test_of_sixteen_logins_with_one_code_at_once_one_succeeds(
    app: FastAPI, ada: Account
) -> None:
    code = ada.phone.code()
    answers = await asyncio.gather(*(ada.log_in(code) for _ in range(SIXTEEN)))
    assert Counter(answer.status_code for answer in answers)[200] == 1
    assert (await events(app))["user.logged_in"] == 2  # the first was before setting up


@pytest.mark.parametrize("seconds", [-30, 0, 30])
async def test_a_clock_may_be_wrong_by_a_step(ada: Account, clock: Hands, seconds: int) -> None:
    clock.advance(minutes=5)
    ok(await ada.log_in(ada.phone.code(seconds=seconds)))


@pytest.mark.parametrize("seconds", [-60, 60])
async def test_but_not_by_two(ada: Account, clock: Hands, seconds: int) -> None:
    clock.advance(minutes=5)
    problem(await ada.log_in(ada.phone.code(seconds=seconds)), 401, "invalid_code")


async def test_a_later_code_spends_the_earlier_ones(ada: Account, clock: Hands) -> None:
    clock.advance(minutes=5)
    ok(await ada.log_in(ada.phone.code(seconds=30)))
    problem(await ada.log_in(ada.phone.code()), 401, "invalid_code")


async def test_a_code_may_be_typed_as_the_app_shows_it(ada: Account) -> None:
    code = ada.phone.code()
    ok(await ada.log_in(f"{code[:3]} {code[3:]}"))


@pytest.mark.parametrize(
    "code",
    [
        "12345",
        "1234567",
        "١٢٣٤٥٦",  # digits, and not ASCII
        "      ",
        "\N{FULLWIDTH DIGIT ONE}23456",
        "'; DROP TABLE users; --",
        "\u0000",
        "a" * 64,
    ],
)
async def test_junk_is_no_code(ada: Account, code: str) -> None:
    answer = await ada.log_in(code)
    if "\0" in code:
        problem(answer, 422, "validation_failed")
    else:
        problem(answer, 401, "invalid_code")


@pytest.mark.parametrize("code", ["", "a" * 65, 123456, ["123456"]])
async def test_what_cannot_be_a_code_is_invalid(ada: Account, code: Any) -> None:
    problem(await ada.log_in(code), 422, "validation_failed")


async def test_a_code_of_another_account_is_no_good(
    business: Business, clock: Hands, ada: Account
) -> None:
    grace = await enable(await business.customer(), clock)
    problem(await ada.log_in(grace.phone.code()), 401, "invalid_code")
    problem(await ada.log_in(grace.recovery_codes[0]), 401, "invalid_code")


async def test_a_disabled_account_is_told_so_before_it_is_asked_for_a_code(
    app: FastAPI, ada: Account
) -> None:
    await execute(app, "UPDATE users SET is_active = false WHERE email = :email", email=ada.email)
    problem(await ada.log_in(), 403, "account_disabled")


async def test_a_login_that_began_before_setting_up_does_not_outlive_it(
    app: FastAPI, business: Business, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bcrypt takes its time, and meanwhile the second factor becomes active."""
    caller = await business.customer()
    phone = await start(caller, clock)
    verify, hasher = app.state.password_hasher.verify, app.state.password_hasher

    async def slow(password: str, hashed: str | None) -> bool:
        result: bool = await verify(password, hashed)
        ok(await caller.post("/auth/mfa/totp/confirm", {"code": phone.code()}))
        return result

    monkeypatch.setattr(hasher, "verify", slow)
    problem(await log_in(caller.client, caller.user["email"], PASSWORD), 401, "mfa_required")


async def test_a_new_secret_key_leaves_the_recovery_codes(
    settings: Settings, clock: Hands, ada: Account
) -> None:
    rotated = settings.model_copy(
        update={"SECRET_KEY": type(settings.SECRET_KEY)("another key, as long as is asked for")}
    )
    async with serving(create_app(rotated, clock=clock)) as client:
        answer = await log_in(client, ada.email, PASSWORD, ada.phone.code())
        problem(answer, 401, "invalid_code")
        ok(await log_in(client, ada.email, PASSWORD, ada.recovery_codes[0]))


# --- Recovery codes ---------------------------------------------------------------------------
async def test_a_recovery_code_is_good_once(app: FastAPI, ada: Account) -> None:
    first, second, third, *_ = ada.recovery_codes
    ok(await ada.log_in(first))
    problem(await ada.log_in(first), 401, "invalid_code")
    ok(await ada.log_in(second.upper()))
    ok(await ada.log_in(third.replace("-", " ")))
    assert ok(await ada.caller.get("/auth/mfa"))["recovery_codes_left"] == 7
    assert (await events(app))["user.recovery_code_used"] == 3


async def test_of_sixteen_logins_with_one_recovery_code_at_once_one_succeeds(
    app: FastAPI, ada: Account
) -> None:
    code = ada.recovery_codes[0]
    answers = await asyncio.gather(*(ada.log_in(code) for _ in range(SIXTEEN)))
    assert Counter(answer.status_code for answer in answers)[200] == 1
    assert (await events(app))["user.recovery_code_used"] == 1


async def test_new_recovery_codes_replace_the_old_ones(app: FastAPI, ada: Account) -> None:
    proof = {"password": PASSWORD, "code": ada.phone.code()}
    answer = await ada.caller.post("/auth/mfa/recovery-codes", proof)
    codes = ok(answer)["recovery_codes"]
    assert len({*codes, *ada.recovery_codes}) == 20
    problem(await ada.log_in(ada.recovery_codes[0]), 401, "invalid_code")
    ok(await ada.log_in(codes[0]))
    assert (await events(app))["user.recovery_codes_renewed"] == 1


# --- Taking it away ---------------------------------------------------------------------------
@pytest.mark.parametrize(("method", "path"), [("POST", "/recovery-codes"), ("DELETE", "")])
async def test_a_change_takes_both_factors(ada: Account, method: str, path: str) -> None:
    async def change(**proof: str) -> httpx.Response:
        return await ada.caller.request(method, f"/auth/mfa{path}", json=proof)

    code = ada.phone.code()
    problem(await change(password="not the password", code=code), 401, "invalid_credentials")
    problem(await change(password=PASSWORD, code=ada.phone.wrong()), 401, "invalid_code")
    problem(await change(password=PASSWORD), 422, "validation_failed")
    problem(await change(code=code), 422, "validation_failed")
    problem(await ada.log_in(), 401, "mfa_required")
    assert (await change(password=PASSWORD, code=code)).is_success


@pytest.mark.parametrize(("method", "path"), [("POST", "/recovery-codes"), ("DELETE", "")])
async def test_without_one_there_is_nothing_to_change(
    business: Business, method: str, path: str
) -> None:
    caller = await business.customer()
    proof = {"password": PASSWORD, "code": "123456"}
    answer = await caller.request(method, f"/auth/mfa{path}", json=proof)
    problem(answer, 409, "invalid_transition")


@pytest.mark.parametrize("with_recovery_code", [False, True])
async def test_removed_it_is_gone_with_its_recovery_codes(
    app: FastAPI,
    clock: Hands,
    ada: Account,
    with_recovery_code: bool,  # noqa: FBT001
) -> None:
    code = ada.recovery_codes[0] if with_recovery_code else ada.phone.code()
    answer = await ada.caller.delete("/auth/mfa", json={"password": PASSWORD, "code": code})
    assert (answer.status_code, answer.content) == (204, b"")
    assert ok(await ada.caller.get("/auth/me"))["mfa_enabled"] is False
    assert await rows(app, "SELECT 1 FROM totp_factors UNION SELECT 2 FROM recovery_codes") == []
    ok(await ada.log_in())
    again = await enable(ada.caller, clock)
    problem(await again.log_in(ada.recovery_codes[1]), 401, "invalid_code")
    problem(await again.log_in(ada.phone.code()), 401, "invalid_code")
    assert (await events(app))["user.mfa_disabled"] == 1


# --- Guessing ---------------------------------------------------------------------------------
async def lock(ada: Account) -> None:
    for _ in range(WRONG_CODES):
        problem(await ada.log_in(ada.phone.wrong()), 401, "invalid_code")


async def test_five_wrong_codes_lock_the_right_one_out_for_a_quarter_of_an_hour(
    app: FastAPI, clock: Hands, ada: Account
) -> None:
    await lock(ada)
    clock.advance(seconds=1)
    answer = await ada.log_in(ada.phone.code())
    problem(answer, 429, "rate_limited")
    assert answer.headers["retry-after"] == "899"
    assert answer.headers["ratelimit"] == '"mfa";r=0;t=899'
    assert answer.headers["ratelimit-policy"] == '"mfa";q=5;w=900'
    problem(await ada.log_in(), 401, "mfa_required")
    clock.advance(seconds=898)
    problem(await ada.log_in(ada.phone.code()), 429, "rate_limited")
    clock.advance(seconds=1)
    ok(await ada.log_in(ada.phone.code()))
    assert (await events(app))["user.mfa_locked"] == 1
    assert LOCKED_FOR.total_seconds() == 900


async def test_a_lock_holds_on_every_way_to_try_a_code(ada: Account) -> None:
    await lock(ada)
    proof = {"password": PASSWORD, "code": ada.phone.code()}
    problem(await ada.caller.delete("/auth/mfa", json=proof), 429, "rate_limited")
    problem(await ada.caller.post("/auth/mfa/recovery-codes", proof), 429, "rate_limited")


async def test_wrong_codes_count_wherever_they_are_tried(ada: Account) -> None:
    proof = {"password": PASSWORD, "code": ada.phone.wrong()}
    for _ in range(WRONG_CODES - 1):
        problem(await ada.caller.delete("/auth/mfa", json=proof), 401, "invalid_code")
    problem(await ada.log_in("not-a-recovery-code"), 401, "invalid_code")
    problem(await ada.log_in(ada.phone.code()), 429, "rate_limited")


async def test_starting_again_does_not_undo_a_lock(business: Business, clock: Hands) -> None:
    caller = await business.customer()
    phone = await start(caller, clock)
    for _ in range(WRONG_CODES):
        answer = await caller.post("/auth/mfa/totp/confirm", {"code": phone.wrong()})
        problem(answer, 401, "invalid_code")
    phone = await start(caller, clock)
    answer = await caller.post("/auth/mfa/totp/confirm", {"code": phone.code()})
    problem(answer, 429, "rate_limited")


async def test_the_right_code_forgives_the_wrong_ones(clock: Hands, ada: Account) -> None:
    for _ in range(3):
        for _ in range(WRONG_CODES - 1):
            problem(await ada.log_in(ada.phone.wrong()), 401, "invalid_code")
        ok(await ada.log_in(ada.phone.code()))
        clock.advance(seconds=30)


async def test_a_recovery_code_lets_the_owner_in_while_somebody_guesses(ada: Account) -> None:
    await lock(ada)
    problem(await ada.log_in("not-a-recovery-code"), 429, "rate_limited")
    ok(await ada.log_in(ada.recovery_codes[0]))
    ok(await ada.log_in(ada.phone.code()))


async def test_of_many_who_guess_at_once_five_are_heard(ada: Account) -> None:
    guess = ada.phone.wrong()
    answers = await asyncio.gather(*(ada.log_in(guess) for _ in range(SIXTEEN)))
    codes = Counter(answer.json()["code"] for answer in answers)
    assert codes == {"invalid_code": WRONG_CODES, "rate_limited": SIXTEEN - WRONG_CODES}


async def test_one_who_is_locked_out_locks_out_nobody_else(
    business: Business, clock: Hands, ada: Account
) -> None:
    grace = await enable(await business.customer(), clock)
    await lock(ada)
    ok(await grace.log_in(grace.phone.code()))


# --- Administrators ---------------------------------------------------------------------------
@pytest.mark.parametrize("role", BUILT_IN_ROLES)
def test_of_the_built_in_roles_admins_need_one(role: str) -> None:
    _, permissions = BUILT_IN_ROLES[role]
    assert needs_second_factor(permissions, is_superuser=False) == (role == "admin")
    assert needs_second_factor(permissions, is_superuser=True)


def test_any_permission_beyond_a_providers_needs_one() -> None:
    ordinary = {Permission.BOOKINGS_CREATE, Permission.SCHEDULES_WRITE_OWN}
    needing = {p for p in Permission if needs_second_factor([p], is_superuser=False)}
    assert needing == set(Permission) - ordinary
    assert not needs_second_factor([], is_superuser=False)


@pytest.fixture
async def strict(settings: Settings, clock: Hands) -> AsyncIterator[FastAPI]:
    """The application where administrators need a second factor."""
    strict = create_app(settings.model_copy(update={"REQUIRE_MFA_FOR_ADMINS": True}), clock=clock)
    async with strict.router.lifespan_context(strict):
        yield strict


@pytest.fixture
async def strict_client(strict: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(strict, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


ANY_ID = "0199f0c0-0000-7000-8000-000000000000"
BEYOND_AUTH = [
    ("GET", "/admin/users"),
    ("GET", "/admin/audit-log"),
    ("GET", "/bookings"),
    ("GET", f"/bookings/{ANY_ID}"),
    ("POST", f"/bookings/{ANY_ID}/cancel"),
    ("POST", "/services"),
    ("POST", "/bookings"),
    ("PUT", f"/providers/{ANY_ID}/schedule"),
]


async def test_an_admin_without_one_reaches_auth_only_until_it_is_set_up(
    strict_client: httpx.AsyncClient, clock: Hands
) -> None:
    admin = await Business(strict_client).admin()
    for method, path in BEYOND_AUTH:
        body = problem(await admin.request(method, path, json={}), 403, "forbidden")
        assert body["reason"] == "mfa_required", path
        assert "second factor" in body["detail"]
    assert ok(await admin.get("/auth/me"))["is_superuser"] is True
    assert len(ok(await admin.get("/auth/sessions"))["items"]) == 1
    assert ok(await admin.get("/auth/mfa"))["required"] is True

    account = await enable(admin, clock, ADMIN_PASSWORD)
    # At once, and with the token the admin has.
    ok(await admin.get("/admin/users"))
    problem(await log_in(strict_client, ADMIN_EMAIL, ADMIN_PASSWORD), 401, "mfa_required")
    code = account.phone.code()
    ok(await log_in(strict_client, ADMIN_EMAIL, ADMIN_PASSWORD, code))


async def test_who_removes_it_again_is_back_where_they_were(
    strict: FastAPI, strict_client: httpx.AsyncClient, clock: Hands
) -> None:
    admin = await Business(strict_client).admin()
    account = await enable(admin, clock, ADMIN_PASSWORD)
    ok(await admin.get("/admin/users"))
    proof = {"password": ADMIN_PASSWORD, "code": account.phone.code()}
    assert (await admin.delete("/auth/mfa", json=proof)).status_code == 204
    strict.state.authenticator._standings.clear()
    problem(await admin.get("/admin/users"), 403, "forbidden")


async def test_what_visitors_may_read_an_admin_without_one_reads_as_a_visitor(
    strict_client: httpx.AsyncClient, business: Business
) -> None:
    shown = await business.service()
    hidden = await business.service(is_active=False)
    admin = await Business(strict_client).admin()
    assert [s["id"] for s in ok(await admin.get("/services"))["items"]] == [shown["id"]]
    problem(await admin.get(f"/services/{hidden['id']}"), 404, "not_found")


async def test_customers_need_none(strict_client: httpx.AsyncClient) -> None:
    ada = await Business(strict_client).customer()
    ok(await ada.get("/bookings"))
    assert ok(await ada.get("/auth/mfa"))["required"] is False


async def test_where_it_is_not_required_admins_go_on_without(business: Business) -> None:
    admin = await business.admin()
    ok(await admin.get("/admin/users"))
    assert ok(await admin.get("/auth/mfa"))["required"] is False


# --- Secrets ----------------------------------------------------------------------------------
async def test_secrets_are_in_no_event_no_log_line_and_not_readable_in_the_database(
    app: FastAPI,
    business: Business,
    clock: Hands,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    # As they are before anything is masked.
    lines = [record_log(monkeypatch, module) for module in (access_log, errors, second_factor)]
    caller = await business.customer()
    account = await enable(caller, clock)
    used = account.phone.code()
    ok(await account.log_in(used))
    ok(await account.log_in(account.recovery_codes[0]))
    problem(await account.log_in("canary-of-a-code"), 401, "invalid_code")
    clock.advance(seconds=30)
    proof = {"password": PASSWORD, "code": account.phone.code()}
    assert (await caller.delete("/auth/mfa", json=proof)).status_code == 204
    await enable(caller, clock)

    logged = repr(lines) + repr([record.__dict__ for record in caplog.records])
    recorded = repr(await rows(app, "SELECT to_json(events)::text FROM events"))
    stored = ""
    for table in ("totp_factors", "recovery_codes", "users", "idempotency_keys", "sessions"):
        for row in await rows(app, f"SELECT * FROM {table}"):
            stored += repr(tuple(row))
    secrets = [account.phone.totp.secret, *account.recovery_codes, "canary-of-a-code", PASSWORD]
    assert "/auth/mfa/totp/confirm" in logged
    assert "user.mfa_enabled" in recorded
    assert "totp" not in recorded.lower()
    for secret in secrets:
        for form in (secret, secret.replace("-", "")):
            assert form not in logged
            assert form not in recorded
            assert form not in stored


def test_what_is_shown_once_is_in_no_repr() -> None:
    started = TotpStarted(secret="canary", otpauth_uri="otpauth://totp/a?secret=canary")
    codes = RecoveryCodesOut(recovery_codes=["canary"] * 10)
    assert "canary" not in repr([started, codes])


async def test_a_repeated_idempotency_key_keeps_no_secret(app: FastAPI, business: Business) -> None:
    caller = await business.customer()
    headers = {"Idempotency-Key": "a-key"}
    body = {"password": PASSWORD}
    answers = [await caller.post("/auth/mfa/totp", body, headers=headers) for _ in range(2)]
    first, second = (ok(answer)["secret"] for answer in answers)
    assert first != second
    assert await rows(app, "SELECT 1 FROM idempotency_keys") == []


async def test_every_change_is_in_the_log_with_who_and_which_request(
    app: FastAPI, business: Business, ada: Account
) -> None:
    params = {"subject_id": ada.caller.user["id"], "type": "user.mfa_enabled"}
    (entry,) = ok(await (await business.admin()).get("/admin/audit-log", params=params))["items"]
    assert entry["actor_id"] == ada.caller.user["id"]
    assert entry["request_id"]
    assert datetime.fromisoformat(entry["occurred_at"]).tzinfo is not None


async def test_nobody_else_reads_or_changes_my_second_factor(
    client: httpx.AsyncClient,
) -> None:
    for method, path in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/totp"),
        ("POST", "/totp/confirm"),
        ("POST", "/recovery-codes"),
    ]:
        body = {"password": PASSWORD, "code": "123456"}
        answer = await client.request(method, f"/api/v1/auth/mfa{path}", json=body)
        problem(answer, 401, "unauthenticated")
