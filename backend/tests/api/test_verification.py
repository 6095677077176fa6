"""Proving an address: the mail that follows a signup, and the link in it."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.config import Environment, Settings
from app.main import create_app
from tests.business import PASSWORD, Business, Caller, Hands, ok, problem, serving
from tests.conftest import make_settings
from tests.mailbox import Mailbox, texts, token_of

ADA = {"name": "Ada Lovelace", "email": "ada@example.com", "password": PASSWORD}


@pytest.fixture
def settings(settings: Settings, mailbox: Mailbox) -> Settings:
    return settings.model_copy(update=mailbox.settings)


@pytest.fixture
async def ada(business: Business) -> Caller:
    ok(await business.client.post("/api/v1/auth/signup", json=ADA))
    return await business.log_in(ADA["email"], PASSWORD)


async def deliver(app: FastAPI) -> None:
    await app.state.jobs.run_due()


async def verify(client: httpx.AsyncClient, token: object) -> httpx.Response:
    return await client.post("/api/v1/auth/verify-email", json={"token": token})


async def is_verified(caller: Caller) -> bool:
    return bool(ok(await caller.get("/auth/me"))["email_verified"])


async def rows(app: FastAPI, statement: str) -> list[Any]:
    async with app.state.database.reading() as session:
        return [tuple(row) for row in await session.execute(text(statement))]


# --- The link ---------------------------------------------------------------------------------
async def test_the_link_in_the_mail_verifies_the_address(
    app: FastAPI, business: Business, mailbox: Mailbox, ada: Caller
) -> None:
    assert not await is_verified(ada)
    await deliver(app)
    (mail,) = mailbox.mails
    answer = await verify(business.client, token_of(mail))
    assert (answer.status_code, answer.content) == (204, b"")
    assert await is_verified(ada)
    params = {"subject_id": ada.user["id"], "type": "user.email_verified"}
    admin = await business.admin()
    (entry,) = [
        entry
        for entry in ok(await admin.get("/admin/audit-log", params=params))["items"]
        if entry["type"] == "user.email_verified"
    ]
    assert entry["actor_id"] == ada.user["id"]


async def test_verifying_gives_the_account_its_next_version(
    app: FastAPI, business: Business, mailbox: Mailbox, ada: Caller
) -> None:
    await deliver(app)
    await verify(business.client, token_of(mailbox.mails[0]))
    assert ok(await ada.get("/auth/me"))["version"] == ada.user["version"] + 1


async def test_a_link_works_once(
    app: FastAPI, business: Business, mailbox: Mailbox, ada: Caller
) -> None:
    await deliver(app)
    token = token_of(mailbox.mails[0])
    assert (await verify(business.client, token)).status_code == 204
    body = problem(await verify(business.client, token), 422, "validation_failed")
    assert [error["pointer"] for error in body["errors"]] == ["#/token"]


async def test_a_link_that_is_an_hour_old_has_expired(
    app: FastAPI, business: Business, mailbox: Mailbox, clock: Hands, ada: Caller
) -> None:
    await deliver(app)
    token = token_of(mailbox.mails[0])
    clock.advance(hours=1)
    problem(await verify(business.client, token), 410, "link_expired")
    clock.advance(seconds=-1)
    assert (await verify(business.client, token)).status_code == 204


@pytest.mark.parametrize("token", ["x" * 43, "é", "a.b.c", "x" * 200])
async def test_a_token_that_was_never_sent_is_refused(
    client: httpx.AsyncClient, token: str
) -> None:
    problem(await verify(client, token), 422, "validation_failed")


@pytest.mark.parametrize("token", ["", "x" * 201, "\0", None, 7])
async def test_what_is_no_token_at_all_is_refused(client: httpx.AsyncClient, token: object) -> None:
    problem(await verify(client, token), 422, "validation_failed")


async def test_a_link_to_verify_sets_no_password(
    app: FastAPI, business: Business, mailbox: Mailbox, ada: Caller
) -> None:
    await deliver(app)
    body = {"token": token_of(mailbox.mails[0]), "new_password": "another good password"}
    answer = await business.client.post("/api/v1/auth/password/reset", json=body)
    problem(answer, 422, "validation_failed")
    await business.log_in(ADA["email"], PASSWORD)


# --- Another mail -----------------------------------------------------------------------------
async def test_another_mail_ends_the_link_before_it(
    app: FastAPI, business: Business, mailbox: Mailbox, ada: Caller
) -> None:
    await deliver(app)
    answer = await ada.post("/auth/verify-email/resend")
    assert answer.status_code == 202
    await deliver(app)
    first, second = (token_of(mail) for mail in mailbox.mails)
    problem(await verify(business.client, first), 422, "validation_failed")
    assert (await verify(business.client, second)).status_code == 204


async def test_a_link_that_was_replaced_before_it_was_mailed_is_not_mailed(
    app: FastAPI, mailbox: Mailbox, ada: Caller
) -> None:
    await ada.post("/auth/verify-email/resend")
    await deliver(app)
    assert len(mailbox.mails) == 1


async def test_who_is_verified_needs_no_other_mail(
    app: FastAPI, business: Business, mailbox: Mailbox, ada: Caller
) -> None:
    await deliver(app)
    await verify(business.client, token_of(mailbox.mails[0]))
    problem(await ada.post("/auth/verify-email/resend"), 409, "invalid_transition")


async def test_strangers_have_nothing_mailed_again(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/auth/verify-email/resend")
    problem(answer, 401, "unauthenticated")


# --- An account that somebody else made -------------------------------------------------------
async def test_an_account_made_by_an_administrator_is_verified_by_a_mail_too(
    app: FastAPI, business: Business, mailbox: Mailbox
) -> None:
    admin = await business.admin()
    assert not ok(await admin.post("/admin/users", ADA))["email_verified"]
    await deliver(app)
    (mail,) = mailbox.mails
    assert mail["To"] == ADA["email"]
    assert (await verify(business.client, token_of(mail))).status_code == 204
    assert await is_verified(await business.log_in(ADA["email"], PASSWORD))


async def test_an_account_that_is_made_disabled_is_mailed_nothing(
    app: FastAPI, business: Business, mailbox: Mailbox
) -> None:
    ok(await (await business.admin()).post("/admin/users", ADA | {"is_active": False}))
    await deliver(app)
    assert mailbox.mails == []


async def test_an_account_that_is_refused_is_mailed_nothing(
    app: FastAPI, business: Business, mailbox: Mailbox, ada: Caller
) -> None:
    await deliver(app)
    problem(await (await business.admin()).post("/admin/users", ADA), 409, "already_exists")
    await deliver(app)
    assert len(mailbox.mails) == 1


# --- Another address --------------------------------------------------------------------------
async def test_a_new_address_must_be_verified_by_a_mail_to_it(
    app: FastAPI, business: Business, mailbox: Mailbox, ada: Caller
) -> None:
    await deliver(app)
    await verify(business.client, token_of(mailbox.mails[0]))
    path = f"/admin/users/{ada.user['id']}"
    ok(await (await business.admin()).patch(path, {"email": "countess@example.com"}))
    assert not await is_verified(ada)
    await deliver(app)
    (mail,) = mailbox.to("countess@example.com")
    assert (await verify(business.client, token_of(mail))).status_code == 204
    assert await is_verified(ada)


async def test_a_link_to_the_old_address_does_not_verify_the_new_one(
    app: FastAPI, business: Business, mailbox: Mailbox, ada: Caller
) -> None:
    await deliver(app)
    async with app.state.database.transaction() as session:
        # However it changed: nobody has ended the link.
        await session.execute(
            text("UPDATE users SET email = 'eve@example.com' WHERE email = 'ada@example.com'")
        )
    problem(await verify(business.client, token_of(mailbox.mails[0])), 422, "validation_failed")
    assert not await is_verified(ada)


async def test_a_change_that_leaves_the_address_alone_mails_nothing(
    app: FastAPI, business: Business, mailbox: Mailbox, ada: Caller
) -> None:
    await deliver(app)
    path = f"/admin/users/{ada.user['id']}"
    ok(await (await business.admin()).patch(path, {"email": ADA["email"], "name": "Ada"}))
    await deliver(app)
    assert len(mailbox.mails) == 1


# --- The mail ---------------------------------------------------------------------------------
async def test_the_mail_is_readable_as_text_and_as_html(
    app: FastAPI, mailbox: Mailbox, ada: Caller
) -> None:
    await deliver(app)
    (mail,) = mailbox.mails
    assert mail["To"] == "ada@example.com"
    assert mail["From"] == "Oneslot <no-reply@example.com>"
    assert mail["Subject"] == "Confirm your address for Oneslot"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime.isoformat() == "2026-03-02T08:00:00+00:00"
    ((link_id,),) = await rows(app, "SELECT id FROM one_time_tokens")
    assert mail["Message-ID"] == f"<link.{link_id}@example.com>"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    plain, html = texts(mail)
    assert '<html lang="en">' in html
    link = f"http://localhost:5173/verify-email#token={token_of(mail)}"
    assert link in plain
    assert f'href="{link}"' in html


async def test_the_link_leads_to_the_front_end_whatever_the_request_says(
    app: FastAPI, client: httpx.AsyncClient, mailbox: Mailbox
) -> None:
    forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Origin": "http://evil"}
    ok(await client.post("/api/v1/auth/signup", json=ADA, headers=forged))
    await deliver(app)
    plain, html = texts(mailbox.mails[0])
    assert "http://localhost:5173/verify-email#" in plain
    assert "evil" not in plain + html


async def test_a_stranger_cannot_put_words_into_our_mail(
    app: FastAPI, client: httpx.AsyncClient, mailbox: Mailbox
) -> None:
    name = "You won! <a href='http://evil.example'>http://evil.example</a>"
    ok(await client.post("/api/v1/auth/signup", json=ADA | {"name": name}))
    await deliver(app)
    assert "evil" not in mailbox.mails[0].as_string()


async def test_no_token_and_no_address_lies_in_the_queue_or_the_log(
    app: FastAPI, client: httpx.AsyncClient, mailbox: Mailbox
) -> None:
    await client.post("/api/v1/auth/signup", json=ADA)
    queued = await rows(app, "SELECT to_jsonb(q)::text FROM pgqueuer q")
    assert len(queued) == 1
    await deliver(app)
    token = token_of(mailbox.mails[0])
    tables = ("one_time_tokens", "events", "pgqueuer_log", "idempotency_keys")
    kept = queued + [await rows(app, f"SELECT to_jsonb(t)::text FROM {t} t") for t in tables]
    assert token not in str(kept)
    assert token.encode().hex() not in str(kept)
    assert "ada@example.com" not in str(kept)


# --- Signing up where addresses are protected -------------------------------------------------
def protected(settings: Settings) -> Settings:
    return settings.model_copy(update={"EMAIL_ENUMERATION_PROTECTION": True})


async def test_a_known_address_is_answered_like_an_unknown_one_and_the_mail_says_the_rest(
    settings: Settings, clock: Hands, mailbox: Mailbox
) -> None:
    app = create_app(protected(settings), clock=clock)
    async with serving(app) as client:
        first = await client.post("/api/v1/auth/signup", json=ADA)
        other = ADA | {"name": "Eve", "password": "a password of Eve's"}
        second = await client.post("/api/v1/auth/signup", json=other)
        assert first.status_code == second.status_code == 202
        assert first.content == second.content
        varying = {"x-request-id", "date"}
        assert set(first.headers) == set(second.headers)
        assert {k: v for k, v in first.headers.items() if k not in varying} == {
            k: v for k, v in second.headers.items() if k not in varying
        }
        await deliver(app)
        assert sorted(mail["Subject"] for mail in mailbox.to("ada@example.com")) == [
            "Confirm your address for Oneslot",
            "You have an account at Oneslot already",
        ]
        (told,) = [mail for mail in mailbox.mails if "already" in mail["Subject"]]
        assert "http://localhost:5173/login" in texts(told)[0]
        assert "Eve" not in told.as_string()
        await Business(client).log_in(ADA["email"], PASSWORD)
        wrong = {"email": ADA["email"], "password": "a password of Eve's"}
        problem(await client.post("/api/v1/auth/login", json=wrong), 401, "invalid_credentials")


async def test_a_weak_password_is_refused_for_known_and_unknown_alike(
    settings: Settings, clock: Hands
) -> None:
    async with serving(create_app(protected(settings), clock=clock)) as client:
        await client.post("/api/v1/auth/signup", json=ADA)
        for email in (ADA["email"], "nobody@example.com"):
            weak = ADA | {"email": email, "password": "short"}
            problem(await client.post("/api/v1/auth/signup", json=weak), 422, "validation_failed")


async def test_without_protection_the_answer_says_it(client: httpx.AsyncClient) -> None:
    assert (await client.post("/api/v1/auth/signup", json=ADA)).status_code == 201
    problem(await client.post("/api/v1/auth/signup", json=ADA), 409, "already_exists")


@pytest.mark.parametrize(
    ("environment", "setting", "hides"),
    [
        (Environment.PRODUCTION, None, True),
        (Environment.STAGING, None, False),
        (Environment.LOCAL, None, False),
        (Environment.PRODUCTION, False, False),
        (Environment.LOCAL, True, True),
    ],
)
def test_production_protects_addresses_unless_told_otherwise(
    environment: Environment, setting: object, hides: object
) -> None:
    settings = make_settings().model_copy(
        update={"ENVIRONMENT": environment, "EMAIL_ENUMERATION_PROTECTION": setting}
    )
    assert settings.hides_accounts is hides
