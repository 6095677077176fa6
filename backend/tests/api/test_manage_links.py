"""`/manage/{token}`: what a guest can do with the link, and for how long it is good."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.config import Settings
from app.main import create_app
from tests.business import Business, Hands, execute, ok, problem, serving
from tests.conftest import make_settings
from tests.mailbox import Mailbox, texts, token_of

DAY = "2026-03-03"
NINE, TEN = f"{DAY}T09:00:00+01:00", f"{DAY}T10:00:00+01:00"
GUEST = {"name": "Mary Shelley", "email": "mary@example.com"}


@pytest.fixture
def settings(settings: Settings, mailbox: Mailbox) -> Settings:
    return settings.model_copy(update=mailbox.settings)


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    service = await business.service(
        durations_minutes=[60],
        allow_guests=True,
        cancel_until_minutes=120,
        reschedule_until_minutes=240,
        max_reschedules=2,
    )
    await business.provider(service)
    return service


@pytest.fixture
async def booking(client: httpx.AsyncClient, service: dict[str, Any]) -> dict[str, Any]:
    """Mary's, on Tuesday at nine."""
    body = {"service_id": service["id"], "start": NINE, "guest": GUEST}
    return ok(await client.post("/api/v1/bookings", json=body))


async def manage(
    client: httpx.AsyncClient, token: str, action: str = "", body: Any = None, **headers: str
) -> httpx.Response:
    method = "POST" if action else "GET"
    path = f"/api/v1/manage/{token}{action}"
    return await client.request(method, path, json=body, headers=headers)


async def rows(app: FastAPI, statement: str, **values: Any) -> list[Any]:
    async with app.state.database.reading() as session:
        return list((await session.execute(text(statement), values)).all())


# --- Looking ---------------------------------------------------------------------------------
async def test_a_guest_sees_the_booking_and_what_may_be_done(
    client: httpx.AsyncClient, booking: dict[str, Any]
) -> None:
    answer = await manage(client, booking["manage_token"])
    shown = ok(answer)
    assert shown == {name: booking[name] for name in booking if name != "manage_token"}
    assert answer.headers["etag"] == '"1"'
    assert shown["allowed_actions"] == [
        {"action": "cancel", "until": "2026-03-03T06:00:00Z"},
        {"action": "reschedule", "until": "2026-03-03T04:00:00Z"},
    ]


async def test_nobody_sees_it_with_another_token(
    client: httpx.AsyncClient, booking: dict[str, Any]
) -> None:
    token = booking["manage_token"]
    for wrong in ("x", token[:-1], token + "x", token[::-1], booking["id"], "é" * 43):
        problem(await manage(client, wrong), 404, "not_found")
        problem(await manage(client, wrong, "/cancel", {}), 404, "not_found")
        problem(await manage(client, wrong, "/reschedule", {"start": TEN}), 404, "not_found")
    problem(await manage(client, "x" * 201), 422, "validation_failed")


async def test_a_digest_that_was_written_into_the_table_opens_nothing(
    app: FastAPI, client: httpx.AsyncClient, booking: dict[str, Any]
) -> None:
    forged = "forged-by-somebody-who-cannot-read-SECRET_KEY"
    await execute(
        app,
        "UPDATE bookings SET manage_digest = sha256(:forged) WHERE id = :id",
        forged=forged.encode(),
        id=UUID(booking["id"]),
    )
    problem(await manage(client, forged), 404, "not_found")


async def test_the_link_shows_the_booking_for_a_month_after_its_end(
    client: httpx.AsyncClient, clock: Hands, booking: dict[str, Any]
) -> None:
    token = booking["manage_token"]
    clock.advance(days=31)  # from Monday, 08:00, so the end was thirty days less an hour ago
    assert ok(await manage(client, token))["allowed_actions"] == []
    clock.advance(hours=2)
    problem(await manage(client, token), 410, "link_expired")
    problem(await manage(client, token, "/cancel", {}), 410, "link_expired")


# --- Cancelling ------------------------------------------------------------------------------
async def test_a_guest_cancels_and_the_time_is_free(
    app: FastAPI,
    client: httpx.AsyncClient,
    business: Business,
    service: dict[str, Any],
    booking: dict[str, Any],
) -> None:
    token = booking["manage_token"]
    cancelled = ok(await manage(client, token, "/cancel", {"reason": "I am ill."}))
    assert cancelled["status"] == "cancelled"
    assert (cancelled["cancelled"]["by"], cancelled["cancelled"]["reason"]) == (
        "guest",
        "I am ill.",
    )
    assert NINE in await business.free_times(service, DAY, DAY, time_zone="Europe/Paris")
    (event,) = await rows(app, "SELECT * FROM events WHERE type = 'booking.cancelled'")
    assert (event.actor_type, event.actor_id) == ("guest", None)


async def test_a_link_to_what_is_over_shows_it_and_does_nothing_more(
    client: httpx.AsyncClient, booking: dict[str, Any]
) -> None:
    token = booking["manage_token"]
    ok(await manage(client, token, "/cancel"))
    assert ok(await manage(client, token))["status"] == "cancelled"
    problem(await manage(client, token, "/cancel"), 409, "invalid_transition")
    problem(await manage(client, token, "/reschedule", {"start": TEN}), 409, "invalid_transition")


async def test_deadlines_bind_guests(
    client: httpx.AsyncClient, clock: Hands, booking: dict[str, Any]
) -> None:
    token = booking["manage_token"]
    clock.advance(hours=20, seconds=1)  # four hours before the start
    late = problem(
        await manage(client, token, "/reschedule", {"start": TEN}), 422, "policy_violation"
    )
    assert late["reason"] == "reschedule_deadline_passed"
    clock.advance(hours=2)
    late = problem(await manage(client, token, "/cancel"), 422, "policy_violation")
    assert late["reason"] == "cancel_deadline_passed"


async def test_a_stale_version_cancels_nothing(
    client: httpx.AsyncClient, booking: dict[str, Any]
) -> None:
    token = booking["manage_token"]
    stale = await manage(client, token, "/cancel", {}, **{"If-Match": '"7"'})
    problem(stale, 412, "version_mismatch")
    ok(await manage(client, token, "/cancel", {}, **{"If-Match": '"1"'}))


# --- Moving ----------------------------------------------------------------------------------
async def test_a_move_makes_a_new_token_and_the_old_one_unknown(
    app: FastAPI,
    client: httpx.AsyncClient,
    mailbox: Mailbox,
    booking: dict[str, Any],
) -> None:
    old = booking["manage_token"]
    answer = await manage(client, old, "/reschedule", {"start": TEN})
    moved = ok(answer)
    assert answer.headers["etag"] == '"2"'
    assert (moved["start"], moved["id"], moved["reference"]) == (
        TEN,
        booking["id"],
        booking["reference"],
    )
    new = moved["manage_token"]
    assert new != old
    for action, body in (("", None), ("/cancel", {}), ("/reschedule", {"start": NINE})):
        problem(await manage(client, old, action, body), 404, "not_found")
    assert ok(await manage(client, new))["start"] == TEN
    await app.state.jobs.run_due()
    mail = mailbox.to(GUEST["email"])[-1]
    assert token_of(mail) == new
    assert "has moved" in mail["Subject"]
    for said in texts(mail):
        assert "10:00\N{NARROW NO-BREAK SPACE}AM" in said
        assert "no longer work" in said
    for event in await rows(app, "SELECT before, after FROM events"):
        assert not any(secret in str(list(event)) for secret in (old, new, "manage"))


async def test_mails_that_come_late_have_the_token_that_is_good_by_then(
    app: FastAPI, client: httpx.AsyncClient, mailbox: Mailbox, booking: dict[str, Any]
) -> None:
    moved = ok(await manage(client, booking["manage_token"], "/reschedule", {"start": TEN}))
    await app.state.jobs.run_due()
    mails = mailbox.to(GUEST["email"])
    assert {token_of(mail) for mail in mails} == {moved["manage_token"]}


async def test_staff_who_move_it_send_a_new_token_and_are_told_none(
    app: FastAPI,
    client: httpx.AsyncClient,
    business: Business,
    mailbox: Mailbox,
    booking: dict[str, Any],
) -> None:
    admin = await business.admin()
    moved = ok(await admin.post(f"/bookings/{booking['id']}/reschedule", {"start": TEN}))
    assert "manage_token" not in moved
    problem(await manage(client, booking["manage_token"]), 404, "not_found")
    await app.state.jobs.run_due()
    mail = next(m for m in mailbox.to(GUEST["email"]) if "has moved" in m["Subject"])
    assert ok(await manage(client, token_of(mail)))["start"] == TEN


async def test_what_refuses_the_new_time_leaves_booking_and_token(
    client: httpx.AsyncClient, business: Business, service: dict[str, Any], booking: dict[str, Any]
) -> None:
    ada = await business.customer()
    ok(await ada.post("/bookings", {"service_id": service["id"], "start": TEN}))
    token = booking["manage_token"]
    problem(await manage(client, token, "/reschedule", {"start": TEN}), 409, "slot_taken")
    assert ok(await manage(client, token))["version"] == 1


async def test_the_same_time_again_keeps_the_token(
    app: FastAPI, client: httpx.AsyncClient, booking: dict[str, Any]
) -> None:
    token = booking["manage_token"]
    same = ok(await manage(client, token, "/reschedule", {"start": NINE}))
    assert (same["manage_token"], same["version"]) == (token, 1)
    assert await rows(app, "SELECT 1 FROM events WHERE type = 'booking.rescheduled'") == []


async def test_of_two_who_move_it_at_once_one_finds_the_token_replaced(
    app: FastAPI, client: httpx.AsyncClient, booking: dict[str, Any]
) -> None:
    token = booking["manage_token"]
    answers = await asyncio.gather(
        *(manage(client, token, "/reschedule", {"start": TEN}) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404, 404]
    assert len(await rows(app, "SELECT 1 FROM allocations")) == 1


async def test_moves_are_counted(client: httpx.AsyncClient, booking: dict[str, Any]) -> None:
    token = booking["manage_token"]
    for start in (TEN, NINE):
        token = ok(await manage(client, token, "/reschedule", {"start": start}))["manage_token"]
    refused = await manage(client, token, "/reschedule", {"start": TEN})
    assert problem(refused, 422, "policy_violation")["reason"] == "reschedule_limit_reached"


async def test_a_move_that_is_sent_again_is_answered_again_and_kept_sealed(
    app: FastAPI, client: httpx.AsyncClient, booking: dict[str, Any]
) -> None:
    token, key = booking["manage_token"], {"Idempotency-Key": "once"}
    first = await manage(client, token, "/reschedule", {"start": TEN}, **key)
    again = await manage(client, token, "/reschedule", {"start": TEN}, **key)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    (kept,) = await rows(app, "SELECT route, body FROM idempotency_keys")
    assert token not in kept.route
    assert ok(first)["manage_token"].encode() not in kept.body


# --- Mails, logs, limits ---------------------------------------------------------------------
async def test_no_link_is_mailed_to_what_has_been_cancelled_meanwhile(
    app: FastAPI, client: httpx.AsyncClient, mailbox: Mailbox, booking: dict[str, Any]
) -> None:
    ok(await manage(client, booking["manage_token"], "/cancel"))
    await app.state.jobs.run_due()
    (mail,) = mailbox.to(GUEST["email"])
    assert "was cancelled" in mail["Subject"]
    assert not any("#token=" in said for said in texts(mail))


async def test_no_link_is_mailed_that_another_key_made(
    settings: Settings,
    clock: Hands,
    mailbox: Mailbox,
    booking: dict[str, Any],
) -> None:
    other = make_settings(POSTGRES_DB=settings.POSTGRES_DB, SECRET_KEY="f" * 32, **mailbox.settings)
    app = create_app(other, clock=clock)
    async with serving(app) as client:
        await app.state.jobs.run_due()
        (mail,) = mailbox.to(GUEST["email"])
        assert not any("#token=" in said for said in texts(mail))
        problem(await manage(client, booking["manage_token"]), 404, "not_found")


async def test_problems_do_not_repeat_the_token(
    client: httpx.AsyncClient, booking: dict[str, Any]
) -> None:
    token = booking["manage_token"]
    ok(await manage(client, token, "/cancel"))
    refused = await manage(client, token, "/cancel")
    assert problem(refused, 409, "invalid_transition")["instance"] == (
        "/api/v1/manage/{token}/cancel"
    )
    assert token not in refused.text


async def test_guessing_is_limited_per_network(settings: Settings, clock: Hands) -> None:
    limited = make_settings(
        POSTGRES_DB=settings.POSTGRES_DB,
        RATE_LIMIT_ENABLED=True,
        CACHE_PREFIX=settings.POSTGRES_DB,  # counters of this test only
    )
    async with serving(create_app(limited, clock=clock)) as client:
        for guess in range(120):
            problem(await manage(client, f"guess-{guess}"), 404, "not_found")
        refused = await manage(client, "guess")
        problem(refused, 429, "rate_limited")
        assert refused.headers["ratelimit-policy"] == '"manage";q=120;w=900'
