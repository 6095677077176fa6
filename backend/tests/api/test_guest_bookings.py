"""Guests: who books without an account, where, for whom, and how it becomes an account's."""

from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.config import Settings
from app.core.ids import new_id
from app.main import create_app
from tests.business import PASSWORD, Business, Caller, Hands, ok, problem, serving
from tests.conftest import make_settings
from tests.mailbox import Mailbox, texts, token_of

DAY = "2026-03-03"
OTHER = "0199f0c0-0000-7000-8000-000000000001"
NINE, TEN = f"{DAY}T09:00:00+01:00", f"{DAY}T10:00:00+01:00"
GUEST = {"name": "Mary Shelley", "email": "mary@example.com", "phone": "+33123456789"}


@pytest.fixture
def settings(settings: Settings, mailbox: Mailbox) -> Settings:
    return settings.model_copy(update=mailbox.settings)


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    """An hour, that guests may book too, by one provider."""
    service = await business.service(durations_minutes=[60], allow_guests=True)
    await business.provider(service)
    return service


def wish(service: dict[str, Any], start: str = NINE, **fields: Any) -> dict[str, Any]:
    return {"service_id": service["id"], "start": start} | fields


async def book(client: httpx.AsyncClient, body: Any, **headers: str) -> httpx.Response:
    return await client.post("/api/v1/bookings", json=body, headers=headers)


async def rows(app: FastAPI, statement: str, **values: Any) -> list[Any]:
    async with app.state.database.reading() as session:
        return list((await session.execute(text(statement), values)).all())


# --- Booking ---------------------------------------------------------------------------------
async def test_a_guest_books_without_an_account(
    app: FastAPI, client: httpx.AsyncClient, business: Business, service: dict[str, Any]
) -> None:
    answer = await book(client, wish(service, guest=GUEST | {"email": "Mary@Example.com"}))
    booking = ok(answer)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/bookings/{booking['id']}"
    assert booking["customer"] == {"id": None} | GUEST
    assert (booking["source"], booking["status"]) == ("guest", "confirmed")
    assert [allowed["action"] for allowed in booking["allowed_actions"]] == ["cancel", "reschedule"]
    assert len(booking["manage_token"]) == 43  # 256 bits
    assert NINE not in await business.free_times(service, DAY, DAY, time_zone="Europe/Paris")
    (event,) = await rows(app, "SELECT * FROM events WHERE type = 'booking.created'")
    assert (event.actor_type, event.actor_id) == ("guest", None)
    assert not any(told in str(event.after) for told in (*GUEST.values(), booking["manage_token"]))


async def test_the_link_is_mailed_and_says_nothing_that_the_guest_typed(
    app: FastAPI, client: httpx.AsyncClient, mailbox: Mailbox, service: dict[str, Any]
) -> None:
    guest = GUEST | {"time_zone": "America/New_York"}
    booking = ok(await book(client, wish(service, guest=guest, notes="Buy pills at evil.example")))
    await app.state.jobs.run_due()
    (mail,) = mailbox.to(GUEST["email"])
    assert token_of(mail) == booking["manage_token"]
    for said in texts(mail):
        assert f"http://localhost:5173/manage#token={booking['manage_token']}" in said
        assert "Tuesday, March 3, 2026" in said
        assert "3:00\N{NARROW NO-BREAK SPACE}AM" in said
        assert "Eastern Standard Time, GMT\N{MINUS SIGN}05:00 (America/New_York)" in said
        assert not any(typed in said for typed in ("Mary", "pills"))
    assert booking["reference"] in mail["Subject"]


async def test_neither_table_nor_queue_has_the_token(
    app: FastAPI, client: httpx.AsyncClient, service: dict[str, Any]
) -> None:
    body, key = wish(service, guest=GUEST), {"Idempotency-Key": "once"}
    first = await book(client, body, **key)
    token = ok(first)["manage_token"]
    again = await book(client, body, **key)
    assert again.content == first.content
    for table in ("bookings", "events", "idempotency_keys", "pgqueuer"):
        for row in await rows(app, f"SELECT * FROM {table}"):
            assert token not in str(list(row))
    (kept,) = await rows(app, "SELECT body FROM idempotency_keys")
    assert token.encode() not in kept.body


async def test_strangers_stay_out_where_no_guests_are_admitted(
    client: httpx.AsyncClient, business: Business, service: dict[str, Any]
) -> None:
    closed = await business.service()
    await business.provider(closed)
    problem(await book(client, wish(closed, guest=GUEST)), 401, "unauthenticated")
    problem(await book(client, wish(service)), 401, "unauthenticated")
    assert NINE in await business.free_times(closed, DAY, DAY, time_zone="Europe/Paris")


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "mary"},
        {"email": "mary@example.com\nBcc: all@example.com"},
        {"name": ""},
        {"name": "Mary\u0007"},
        {"phone": "0123"},
        {"time_zone": "Mars/Olympus"},
        {"age": 18},
    ],
)
async def test_what_is_said_about_a_guest_is_checked(
    client: httpx.AsyncClient, service: dict[str, Any], wrong: dict[str, Any]
) -> None:
    problem(await book(client, wish(service, guest=GUEST | wrong)), 422, "validation_failed")


async def test_only_admitted_domains_may_book(settings: Settings, clock: Hands) -> None:
    ours = settings.model_copy(
        update={"ALLOWED_EMAIL_DOMAINS": ("ours.example.org",), "ENFORCE_EMAIL_DOMAIN": True}
    )
    async with serving(create_app(ours, clock=clock)) as client:
        business = Business(client)
        service = await business.service(durations_minutes=[60], allow_guests=True)
        await business.provider(service)
        refused = await book(client, wish(service, guest=GUEST))
        problem(refused, 403, "email_domain_not_allowed")
        ok(await book(client, wish(service, guest=GUEST | {"email": "m@ours.example.org"})))


async def test_staff_book_for_guests_anywhere_and_are_not_told_the_token(
    app: FastAPI, business: Business, mailbox: Mailbox
) -> None:
    admin = await business.admin()
    closed = await business.service(durations_minutes=[60])
    await business.provider(closed)
    booking = ok(await admin.post("/bookings", wish(closed, guest=GUEST)))
    assert (booking["source"], "manage_token" in booking) == ("staff", False)
    assert booking["customer"]["email"] == GUEST["email"]
    await app.state.jobs.run_due()
    assert len(mailbox.to(GUEST["email"])) == 1


async def test_customers_book_for_themselves_and_for_no_guest(
    business: Business, service: dict[str, Any]
) -> None:
    ada = await business.customer()
    problem(await ada.post("/bookings", wish(service, guest=GUEST)), 403, "forbidden")
    booking = ok(await ada.post("/bookings", wish(service)))
    assert (booking["source"], "manage_token" in booking) == ("customer", False)


async def test_a_booking_is_a_guests_or_a_customers(
    client: httpx.AsyncClient, business: Business, service: dict[str, Any]
) -> None:
    body = wish(service, guest=GUEST, customer_id=str(new_id()))
    admin = await business.admin()
    for answer in (await admin.post("/bookings", body), await book(client, body)):
        errors = problem(answer, 422, "validation_failed")["errors"]
        assert [error["pointer"] for error in errors] == ["#/guest"]


async def test_guests_are_limited_by_network_and_by_address(
    settings: Settings, clock: Hands
) -> None:
    limited = make_settings(
        POSTGRES_DB=settings.POSTGRES_DB,
        RATE_LIMIT_ENABLED=True,
        CACHE_PREFIX=settings.POSTGRES_DB,  # counters of this test only
    )
    async with serving(create_app(limited, clock=clock)) as client:
        unknown = {"id": str(new_id())}
        for _ in range(10):
            problem(await book(client, wish(unknown, guest=GUEST)), 404, "not_found")
        refused = await book(client, wish(unknown, guest=GUEST))
        problem(refused, 429, "rate_limited")
        assert refused.headers["ratelimit-policy"].startswith('"guest-bookings-email"')
        other = GUEST | {"email": "percy@example.com"}
        problem(await book(client, wish(unknown, guest=other)), 404, "not_found")
        for _ in range(48):
            await book(client, {})
        refused = await book(client, wish(unknown, guest=other))
        problem(refused, 429, "rate_limited")
        assert refused.headers["ratelimit-policy"].startswith('"guest-bookings"')
        # Who has an account is not kept out by strangers in the same network.
        ada = await Business(client).customer()
        problem(await ada.post("/bookings", wish(unknown)), 404, "not_found")


# --- Using holds -----------------------------------------------------------------------------
async def hold_by(client: httpx.AsyncClient, body: Any) -> Any:
    return ok(await client.post("/api/v1/holds", json=body))


async def test_a_guests_hold_becomes_the_booking_with_its_secret(
    app: FastAPI, client: httpx.AsyncClient, service: dict[str, Any]
) -> None:
    hold = await hold_by(client, wish(service))
    body = wish(service, guest=GUEST, hold_id=hold["id"])
    for wrong in ({}, {"hold_secret": "x"}):
        problem(await book(client, body | wrong), 404, "not_found")
    booking = ok(await book(client, body | {"hold_secret": hold["secret"]}))
    assert (booking["start"], booking["provider"]) == (hold["start"], hold["provider"])
    (allocation,) = await rows(app, "SELECT id, kind, expires_at FROM allocations")
    assert (str(allocation.id), allocation.kind) == (booking["id"], "booking")
    assert allocation.expires_at is None
    assert await rows(app, "SELECT 1 FROM holds") == []
    used = await rows(app, "SELECT type, after FROM events WHERE subject_type = 'hold' ORDER BY id")
    assert [event.type for event in used] == ["hold.created", "hold.used"]
    assert used[-1].after == {"booking_id": booking["id"]}
    again = await book(client, body | {"hold_secret": hold["secret"]})
    problem(again, 410, "hold_expired")


async def test_an_accounts_hold_needs_no_secret_and_serves_nobody_else(
    client: httpx.AsyncClient, business: Business, service: dict[str, Any]
) -> None:
    ada, grace = await business.customer(), await business.customer()
    hold = ok(await ada.post("/holds", wish(service)))
    with_hold = {"hold_id": hold["id"], "hold_secret": hold["secret"]}
    problem(await grace.post("/bookings", wish(service, **with_hold)), 404, "not_found")
    stranger = await book(client, wish(service, guest=GUEST, **with_hold))
    problem(stranger, 404, "not_found")
    booking = ok(await ada.post("/bookings", wish(service, hold_id=hold["id"])))
    assert booking["customer"]["id"] == ada.user["id"]


async def test_who_held_as_a_visitor_may_log_in_and_book(
    client: httpx.AsyncClient, business: Business, service: dict[str, Any]
) -> None:
    hold = await hold_by(client, wish(service))
    ada = await business.customer()
    with_hold = {"hold_id": hold["id"], "hold_secret": hold["secret"]}
    booking = ok(await ada.post("/bookings", wish(service, **with_hold)))
    assert booking["customer"]["id"] == ada.user["id"]


async def test_a_hold_is_used_in_time_or_not_at_all(
    client: httpx.AsyncClient, business: Business, clock: Hands, service: dict[str, Any]
) -> None:
    ada = await business.customer()
    hold = ok(await ada.post("/holds", wish(service, ttl_seconds=60)))
    clock.advance(seconds=60)
    body = wish(service, hold_id=hold["id"])
    problem(await ada.post("/bookings", body), 410, "hold_expired")
    problem(await ada.post("/bookings", body | {"hold_id": str(new_id())}), 404, "not_found")
    ok(await ada.post("/bookings", wish(service)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("start", TEN),
        ("service_id", OTHER),
        ("provider_id", OTHER),
        ("location_id", OTHER),
        ("duration_minutes", 30),
        ("seats", 2),
    ],
)
async def test_only_what_is_held_is_booked_with_a_hold(
    business: Business, service: dict[str, Any], name: str, value: Any
) -> None:
    ada = await business.customer()
    hold = ok(await ada.post("/holds", wish(service)))
    body = wish(service, hold_id=hold["id"])
    refused = problem(await ada.post("/bookings", body | {name: value}), 422, "validation_failed")
    assert [error["pointer"] for error in refused["errors"]] == [f"#/{name}"]
    ok(await ada.post("/bookings", body | {"provider_id": hold["provider"]["id"]}))


async def test_notice_counts_when_it_is_held_and_only_the_past_when_it_is_booked(
    business: Business, clock: Hands
) -> None:
    service = await business.service(durations_minutes=[60], min_notice_minutes=60)
    await business.provider(service)
    ada = await business.customer()
    at_ten = "2026-03-02T10:00:00+01:00"  # it is nine
    hold = ok(await ada.post("/holds", wish(service, at_ten, ttl_seconds=900)))
    clock.advance(minutes=14)
    refused = await ada.post("/bookings", wish(service, "2026-03-02T10:00:00+01:00"))
    problem(refused, 422, "slot_unavailable")
    ok(await ada.post("/bookings", wish(service, at_ten, hold_id=hold["id"])))


async def test_a_hold_that_outlives_its_start_books_nothing(
    business: Business, clock: Hands
) -> None:
    service = await business.service(durations_minutes=[60])
    await business.provider(service)
    at_ten = "2026-03-02T10:00:00+01:00"
    clock.advance(minutes=55)
    ada = await business.customer()
    hold = ok(await ada.post("/holds", wish(service, at_ten, ttl_seconds=900)))
    clock.advance(minutes=6)
    refused = await ada.post("/bookings", wish(service, at_ten, hold_id=hold["id"]))
    assert problem(refused, 422, "slot_unavailable")["reason"] == "past"


async def test_the_customers_limits_hold_for_holds_too(business: Business) -> None:
    service = await business.service(durations_minutes=[60], limits={"per_customer_active": 1})
    await business.provider(service)
    ada = await business.customer()
    first, second = [ok(await ada.post("/holds", wish(service, at))) for at in (NINE, TEN)]
    ok(await ada.post("/bookings", wish(service, NINE, hold_id=first["id"])))
    refused = await ada.post("/bookings", wish(service, TEN, hold_id=second["id"]))
    assert problem(refused, 422, "slot_unavailable")["reason"] == "limit_reached"
    # The hold is as it was.
    ok(await ada.patch(f"/holds/{second['id']}", {"ttl_seconds": 600}))


async def test_held_seats_become_booked_seats(app: FastAPI, business: Business) -> None:
    service = await business.service(durations_minutes=[60], capacity=3)
    await business.provider(service)
    ada, grace = await business.customer(), await business.customer()
    hold = ok(await ada.post("/holds", wish(service, seats=2)))
    booking = ok(await ada.post("/bookings", wish(service, hold_id=hold["id"])))
    assert booking["seats"] == 2
    (claim,) = await rows(app, "SELECT id, seats, expires_at FROM session_seats")
    assert (str(claim.id), claim.seats, claim.expires_at) == (booking["id"], 2, None)
    problem(await grace.post("/bookings", wish(service, seats=2)), 409, "no_seats_left")
    ok(await ada.post(f"/bookings/{booking['id']}/cancel", {"reason": ""}))
    ok(await grace.post("/bookings", wish(service, seats=3)))


async def test_a_hold_of_several_becomes_their_booking(app: FastAPI, business: Business) -> None:
    service = await business.service(durations_minutes=[60], assignment="collective")
    for _ in range(2):
        await business.provider(service)
    ada = await business.customer()
    hold = ok(await ada.post("/holds", wish(service)))
    booking = ok(await ada.post("/bookings", wish(service, hold_id=hold["id"])))
    assert len(booking["providers"]) == 2
    taken = await rows(app, "SELECT id, kind FROM allocations")
    assert {(str(row.id), row.kind) for row in taken} == {(booking["id"], "booking")}
    assert len(taken) == 2
    ok(await ada.post(f"/bookings/{booking['id']}/cancel", {"reason": ""}))
    assert await rows(app, "SELECT 1 FROM allocations") == []


# --- Claiming --------------------------------------------------------------------------------
@pytest.fixture
async def verified(app: FastAPI, client: httpx.AsyncClient, mailbox: Mailbox) -> Any:
    async def verify(email: str) -> Caller:
        """An account with an address that it has verified."""
        body = {"name": "Mary", "email": email, "password": PASSWORD}
        ok(await client.post("/api/v1/auth/signup", json=body))
        await app.state.jobs.run_due()
        token = token_of(next(m for m in mailbox.to(email) if "Confirm" in m["Subject"]))
        answer = await client.post("/api/v1/auth/verify-email", json={"token": token})
        assert answer.status_code == 204
        return await Business(client).log_in(email, PASSWORD)

    return verify


async def test_who_verifies_the_address_finds_the_bookings(
    app: FastAPI, client: httpx.AsyncClient, verified: Any, service: dict[str, Any]
) -> None:
    mine = ok(await book(client, wish(service, guest=GUEST)))
    other = ok(await book(client, wish(service, TEN, guest=GUEST | {"email": "percy@example.com"})))
    mary = await verified(GUEST["email"])
    (found,) = ok(await mary.get("/bookings"))["items"]
    assert found["id"] == mine["id"]
    assert found["customer"] == {
        "id": mary.user["id"],
        "name": "Mary",
        "email": GUEST["email"],
        "phone": None,
    }
    problem(await client.get(f"/api/v1/manage/{mine['manage_token']}"), 404, "not_found")
    ok(await client.get(f"/api/v1/manage/{other['manage_token']}"))
    (event,) = await rows(app, "SELECT * FROM events WHERE type = 'booking.claimed'")
    assert (str(event.subject_id), str(event.actor_id)) == (mine["id"], mary.user["id"])
    (row,) = await rows(
        app,
        "SELECT guest_name, guest_phone, manage_salt FROM bookings WHERE id = :id",
        id=UUID(mine["id"]),
    )
    assert list(row) == [None, None, None]
    ok(await mary.post(f"/bookings/{mine['id']}/cancel", {"reason": ""}))


async def test_an_address_that_is_not_verified_finds_nothing(
    client: httpx.AsyncClient, business: Business, service: dict[str, Any]
) -> None:
    ok(await book(client, wish(service, guest=GUEST)))
    body = {"name": "Mallory", "email": GUEST["email"], "password": PASSWORD}
    ok(await client.post("/api/v1/auth/signup", json=body))
    mallory = await business.log_in(GUEST["email"], PASSWORD)
    assert ok(await mallory.get("/bookings"))["items"] == []
