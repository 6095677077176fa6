"""A forgotten password: what is asked for, what is mailed, and what the link does once."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.config import Settings
from app.main import create_app
from tests.business import PASSWORD, Business, Caller, Hands, execute, ok, problem, serving
from tests.mailbox import Mailbox, newest_token, texts, token_of
from tests.statements import statements

NEW_PASSWORD = "another good password"
Ask = Callable[[str], Awaitable[httpx.Response]]


@pytest.fixture
def settings(settings: Settings, mailbox: Mailbox) -> Settings:
    return settings.model_copy(update=mailbox.settings)


@pytest.fixture
async def ada(app: FastAPI, business: Business, mailbox: Mailbox) -> Caller:
    """A customer whose first mail has been read and thrown away."""
    ada = await business.customer()
    await app.state.jobs.run_due()
    mailbox.mails.clear()
    return ada


async def forget(client: httpx.AsyncClient, email: str) -> httpx.Response:
    return await client.post("/api/v1/auth/password/forgot", json={"email": email})


async def reset(
    client: httpx.AsyncClient, token: str, password: str = NEW_PASSWORD
) -> httpx.Response:
    body = {"token": token, "new_password": password}
    return await client.post("/api/v1/auth/password/reset", json=body)


async def log_in(client: httpx.AsyncClient, email: str, password: str) -> httpx.Response:
    body = {"email": email, "password": password}
    return await client.post("/api/v1/auth/login", json=body)


async def mailed_token(app: FastAPI, mailbox: Mailbox, ada: Caller) -> str:
    assert (await forget(ada.client, ada.user["email"])).status_code == 202
    await app.state.jobs.run_due()
    return newest_token(mailbox.mails)


async def logged(business: Business, user_id: str) -> list[str]:
    answer = await (await business.admin()).get(
        "/admin/audit-log", params={"subject_id": user_id, "limit": "200"}
    )
    return [entry["type"] for entry in ok(answer)["items"]]


# --- The link ---------------------------------------------------------------------------------
async def test_the_link_in_the_mail_sets_a_new_password(
    app: FastAPI, business: Business, mailbox: Mailbox, ada: Caller
) -> None:
    token = await mailed_token(app, mailbox, ada)
    answer = await reset(ada.client, token)
    assert (answer.status_code, answer.content) == (204, b"")
    problem(await log_in(ada.client, ada.user["email"], PASSWORD), 401, "invalid_credentials")
    ok(await log_in(ada.client, ada.user["email"], NEW_PASSWORD))
    types = await logged(business, ada.user["id"])
    assert {"user.password_reset_requested", "user.password_changed"} <= set(types)


async def test_a_new_password_logs_out_everywhere(
    app: FastAPI, business: Business, mailbox: Mailbox, ada: Caller
) -> None:
    elsewhere = await business.log_in(ada.user["email"], PASSWORD)
    token = await mailed_token(app, mailbox, ada)
    assert (await reset(ada.client, token)).status_code == 204
    app.state.authenticator._standings.clear()  # remembered for less than a second
    for caller in (ada, elsewhere):
        problem(await caller.get("/auth/me"), 401, "invalid_token")


async def test_a_link_works_once(app: FastAPI, mailbox: Mailbox, ada: Caller) -> None:
    token = await mailed_token(app, mailbox, ada)
    assert (await reset(ada.client, token)).status_code == 204
    body = problem(await reset(ada.client, token, "a third password"), 422, "validation_failed")
    assert [error["pointer"] for error in body["errors"]] == ["#/token"]
    ok(await log_in(ada.client, ada.user["email"], NEW_PASSWORD))


async def test_of_ten_who_use_a_link_at_once_one_sets_the_password(
    app: FastAPI, mailbox: Mailbox, ada: Caller
) -> None:
    token = await mailed_token(app, mailbox, ada)
    passwords = [f"a good password, number {n}" for n in range(10)]
    answers = await asyncio.gather(*(reset(ada.client, token, p) for p in passwords))
    assert sorted(answer.status_code for answer in answers) == [204] + [422] * 9
    for answer, password in zip(answers, passwords, strict=True):
        login = await log_in(ada.client, ada.user["email"], password)
        assert login.is_success == (answer.status_code == 204)


async def test_a_link_has_expired_after_half_an_hour(
    app: FastAPI, mailbox: Mailbox, clock: Hands, ada: Caller
) -> None:
    token = await mailed_token(app, mailbox, ada)
    clock.advance(minutes=30)
    problem(await reset(ada.client, token), 410, "link_expired")
    clock.advance(seconds=-1)
    assert (await reset(ada.client, token)).status_code == 204


async def test_a_weak_password_is_refused_and_the_link_still_good(
    app: FastAPI, mailbox: Mailbox, ada: Caller
) -> None:
    token = await mailed_token(app, mailbox, ada)
    for weak in ("short", ada.user["email"], ada.user["name"]):
        body = problem(await reset(ada.client, token, weak), 422, "validation_failed")
        assert [error["pointer"] for error in body["errors"]] == ["#/new_password"]
    assert (await reset(ada.client, token)).status_code == 204


async def test_a_repetition_with_its_key_is_answered_as_the_first(
    app: FastAPI, mailbox: Mailbox, ada: Caller
) -> None:
    token = await mailed_token(app, mailbox, ada)
    body = {"token": token, "new_password": NEW_PASSWORD}
    key = {"Idempotency-Key": "lost-answer"}
    path = "/api/v1/auth/password/reset"
    first = await ada.client.post(path, json=body, headers=key)
    again = await ada.client.post(path, json=body, headers=key)
    assert (first.status_code, again.status_code) == (204, 204)
    assert again.headers["idempotency-replayed"] == "true"


# --- What ends a link -------------------------------------------------------------------------
async def test_another_link_ends_the_one_before_it(
    app: FastAPI, mailbox: Mailbox, clock: Hands, ada: Caller
) -> None:
    first = await mailed_token(app, mailbox, ada)
    clock.advance(minutes=15)
    second = await mailed_token(app, mailbox, ada)
    assert first != second
    problem(await reset(ada.client, first), 422, "validation_failed")
    assert (await reset(ada.client, second)).status_code == 204


async def test_a_link_that_is_good_for_a_while_is_not_replaced(
    app: FastAPI, business: Business, mailbox: Mailbox, clock: Hands, ada: Caller
) -> None:
    token = await mailed_token(app, mailbox, ada)
    for _ in range(30):
        clock.advance(seconds=29)
        assert (await forget(ada.client, ada.user["email"])).status_code == 202
    await app.state.jobs.run_due()
    assert len(mailbox.mails) == 1
    assert (await logged(business, ada.user["id"])).count("user.password_reset_requested") == 1
    assert (await reset(ada.client, token)).status_code == 204


async def test_a_used_link_is_followed_by_another_at_once(
    app: FastAPI, mailbox: Mailbox, ada: Caller
) -> None:
    assert (await reset(ada.client, await mailed_token(app, mailbox, ada))).status_code == 204
    second = await mailed_token(app, mailbox, ada)
    assert (await reset(ada.client, second, "a third password")).status_code == 204


async def test_a_new_address_gets_a_link_at_once_whatever_the_old_one_was_mailed(
    app: FastAPI, business: Business, mailbox: Mailbox, ada: Caller
) -> None:
    old = await mailed_token(app, mailbox, ada)
    admin = await business.admin()
    ok(await admin.patch(f"/admin/users/{ada.user['id']}", {"email": "countess@example.com"}))
    await app.state.jobs.run_due()
    await forget(ada.client, "countess@example.com")
    await app.state.jobs.run_due()
    _, mail = mailbox.to("countess@example.com")
    problem(await reset(ada.client, old), 422, "validation_failed")
    assert (await reset(ada.client, token_of(mail))).status_code == 204


async def test_a_login_ends_the_link(app: FastAPI, mailbox: Mailbox, ada: Caller) -> None:
    token = await mailed_token(app, mailbox, ada)
    problem(await log_in(ada.client, ada.user["email"], "wrong"), 401, "invalid_credentials")
    ok(await log_in(ada.client, ada.user["email"], PASSWORD))
    problem(await reset(ada.client, token), 422, "validation_failed")


async def test_a_failed_login_does_not_end_it(app: FastAPI, mailbox: Mailbox, ada: Caller) -> None:
    token = await mailed_token(app, mailbox, ada)
    problem(await log_in(ada.client, ada.user["email"], "wrong"), 401, "invalid_credentials")
    assert (await reset(ada.client, token)).status_code == 204


async def test_a_changed_password_ends_the_link(
    app: FastAPI, mailbox: Mailbox, ada: Caller
) -> None:
    token = await mailed_token(app, mailbox, ada)
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert (await ada.post("/auth/me/password", body)).status_code == 204
    problem(await reset(ada.client, token, "a third password"), 422, "validation_failed")


async def test_a_link_of_a_disabled_account_is_no_good(
    app: FastAPI, mailbox: Mailbox, ada: Caller
) -> None:
    token = await mailed_token(app, mailbox, ada)
    await execute(app, "UPDATE users SET is_active = false WHERE NOT is_superuser")
    problem(await reset(ada.client, token), 422, "validation_failed")


# --- What a stranger learns -------------------------------------------------------------------
async def test_known_and_unknown_addresses_are_answered_alike(
    app: FastAPI, mailbox: Mailbox, ada: Caller
) -> None:
    known = await forget(ada.client, ada.user["email"])
    unknown = await forget(ada.client, "nobody@example.com")
    assert known.status_code == unknown.status_code == 202
    assert known.content == unknown.content
    same = [{k: v for k, v in a.headers.items() if k != "x-request-id"} for a in (known, unknown)]
    assert same[0] == same[1]
    await app.state.jobs.run_due()
    assert [mail["To"] for mail in mailbox.mails] == [ada.user["email"]]


async def test_known_and_unknown_addresses_take_the_same_statements(
    app: FastAPI, ada: Caller
) -> None:
    sent = []
    for email in (ada.user["email"], "nobody@example.com"):
        with statements(app) as said:
            await forget(ada.client, email)
        sent.append(said)
    assert len(sent[0]) == 2
    assert sent[0] == sent[1]


async def test_mails_leave_at_a_random_moment_whether_there_is_an_account_or_not(
    settings: Settings, clock: Hands
) -> None:
    slow = settings.model_copy(update={"ACCOUNT_MAIL_DELAY_SECONDS": 60})
    app = create_app(slow, clock=clock)
    async with serving(app) as client:
        ada = await Business(client).customer()
        for number in range(20):
            await forget(client, ada.user["email"])
            await forget(client, f"nobody{number}@example.com")
        async with app.state.database.reading() as session:
            jobs = await session.scalars(
                text("SELECT extract(epoch FROM execute_after - created) FROM pgqueuer ORDER BY id")
            )
            _, *waits = [float(wait) for wait in jobs]  # the first mail is that of the signup
    assert len(waits) == 40
    for waits_of_one_kind in (waits[::2], waits[1::2]):
        assert 0 <= min(waits_of_one_kind) < 30 < max(waits_of_one_kind) <= 60
        assert len(set(waits_of_one_kind)) == 20


async def test_an_unknown_address_leaves_nothing_but_a_job_that_finds_nothing(
    app: FastAPI, client: httpx.AsyncClient, mailbox: Mailbox
) -> None:
    await forget(client, "nobody@example.com")
    await app.state.jobs.run_due()
    async with app.state.database.reading() as session:
        for table in ("one_time_tokens", "pgqueuer"):
            assert await session.scalar(text(f"SELECT count(*) FROM {table}")) == 0
        requested = "SELECT count(*) FROM events WHERE type = 'user.password_reset_requested'"
        assert await session.scalar(text(requested)) == 0
    assert mailbox.mails == []


async def test_a_disabled_account_gets_no_mail(app: FastAPI, mailbox: Mailbox, ada: Caller) -> None:
    await execute(app, "UPDATE users SET is_active = false WHERE NOT is_superuser")
    assert (await forget(ada.client, ada.user["email"])).status_code == 202
    await app.state.jobs.run_due()
    assert mailbox.mails == []


async def test_the_link_leads_to_the_front_end_whatever_the_request_says(
    app: FastAPI, mailbox: Mailbox, ada: Caller
) -> None:
    await ada.client.post(
        "/api/v1/auth/password/forgot",
        json={"email": ada.user["email"]},
        headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"},
    )
    await app.state.jobs.run_due()
    plain, html = texts(mailbox.mails[0])
    assert f"http://localhost:5173/reset-password#token={token_of(mailbox.mails[0])}" in plain
    assert "evil" not in plain + html


async def test_the_event_of_a_request_carries_the_requests_id(
    business: Business, ada: Caller
) -> None:
    answer = await forget(ada.client, ada.user["email"])
    params = {"subject_id": ada.user["id"]}
    entries = ok(await (await business.admin()).get("/admin/audit-log", params=params))["items"]
    (entry,) = [e for e in entries if e["type"] == "user.password_reset_requested"]
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert (entry["actor_type"], entry["actor_id"]) == ("anonymous", None)


@pytest.mark.parametrize(
    "body",
    [
        {"email": "not an address"},
        {},
        {"email": "ada@example.com", "user_id": "x"},
    ],
)
async def test_what_is_no_address_is_refused(
    client: httpx.AsyncClient, body: dict[str, object]
) -> None:
    answer = await client.post("/api/v1/auth/password/forgot", json=body)
    problem(answer, 422, "validation_failed")
