"""What becomes of a guest's booking: it is an account's as well, or it is forgotten in the end."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.bookings import jobs as bookings_jobs
from app.bookings.jobs import BookingJobs
from app.bookings.personal_data import BookingsOfGuests
from app.config import Settings
from tests.business import PASSWORD, Business, Caller, Hands, execute, ok, problem
from tests.statements import statements

NINE = "2026-03-03T09:00:00+01:00"
TEN = "2026-03-03T10:00:00+01:00"
ENDED = datetime(2026, 3, 3, 9, tzinfo=UTC)
NOBODY = "nobody@example.com"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"SUPPRESS_SEND": True})


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    service = await business.service(durations_minutes=[60], allow_guests=True)
    for _ in range(2):
        await business.provider(service)
    return service


@pytest.fixture
async def mary(app: FastAPI, business: Business) -> Caller:
    """An account that has verified its address."""
    mary = await business.customer("Mary Shelley")
    await execute(
        app, "UPDATE users SET email_verified = true WHERE email = :email", email=mary.user["email"]
    )
    return mary


async def book(
    client: httpx.AsyncClient, service: dict[str, Any], email: str, start: str = NINE
) -> Any:
    guest = {"name": "Somebody", "email": email, "phone": "+33123456789"}
    body = {"service_id": service["id"], "start": start, "guest": guest, "notes": "By the window."}
    return ok(await client.post("/api/v1/bookings", json=body))


async def rows(app: FastAPI, statement: str, **values: Any) -> list[Any]:
    async with app.state.database.reading() as session:
        return list((await session.execute(text(statement), values)).all())


async def run_jobs(app: FastAPI) -> None:
    await execute(app, "UPDATE pgqueuer SET execute_after = now()")
    await app.state.jobs.run_due()


# --- Found in the account ---------------------------------------------------------------------
async def test_what_is_booked_with_a_verified_address_is_found_in_the_account(
    app: FastAPI, client: httpx.AsyncClient, business: Business, service: Any, mary: Caller
) -> None:
    booking = await book(client, service, mary.user["email"])
    await book(client, service, NOBODY)
    await run_jobs(app)
    (found,) = ok(await mary.get("/bookings"))["items"]
    assert (found["id"], found["source"], found["version"]) == (booking["id"], "guest", 1)
    assert found["customer"] == booking["customer"] | {"id": mary.user["id"]}
    assert [a["action"] for a in found["allowed_actions"]] == ["cancel", "reschedule"]
    history = ok(await mary.get(f"/bookings/{booking['id']}/history"))["items"]
    assert [event["type"] for event in history] == ["booking.created", "booking.claimed"]
    admin = await business.admin()
    listed = ok(await admin.get(f"/bookings?customer_id={mary.user['id']}"))["items"]
    assert [b["id"] for b in listed] == [booking["id"]]
    ok(await mary.post(f"/bookings/{booking['id']}/reschedule", {"start": TEN}))
    ok(await mary.post(f"/bookings/{booking['id']}/cancel"))


async def test_the_guest_is_told_nothing_of_the_account(
    app: FastAPI, client: httpx.AsyncClient, service: Any, mary: Caller
) -> None:
    told, sent = [], []
    for email in (mary.user["email"], NOBODY):
        with statements(app) as said:
            booking = await book(client, service, email)
        sent.append(list(said))
        assert booking["customer"]["id"] is None
        link = f"/api/v1/manage/{booking['manage_token']}"
        before = await client.get(link)
        await run_jobs(app)
        after = await client.get(link)
        assert (after.content, after.headers["etag"]) == (before.content, before.headers["etag"])
        told.append(set(booking))
    assert told[0] == told[1]
    assert sent[0] == sent[1]
    jobs = "SELECT entrypoint, count(*) FROM pgqueuer_log WHERE status = 'queued'"
    jobs += " AND entrypoint LIKE 'booking.%' GROUP BY entrypoint ORDER BY entrypoint"
    assert [tuple(row) for row in await rows(app, jobs)] == [
        ("booking.join_account", 2),
    ]


async def test_the_link_goes_on_working_until_the_owner_moves_it(
    app: FastAPI, client: httpx.AsyncClient, service: Any, mary: Caller
) -> None:
    booking = await book(client, service, mary.user["email"])
    await run_jobs(app)
    link = f"/api/v1/manage/{booking['manage_token']}"
    moved = ok(await client.post(f"{link}/reschedule", json={"start": TEN}))
    assert ok(await mary.get(f"/bookings/{booking['id']}"))["start"] == TEN
    link = f"/api/v1/manage/{moved['manage_token']}"
    ok(await mary.post(f"/bookings/{booking['id']}/reschedule", {"start": NINE}))
    problem(await client.get(link), 404, "not_found")


async def test_who_cancelled_it_is_the_guest_to_the_guest(
    app: FastAPI, client: httpx.AsyncClient, service: Any, mary: Caller
) -> None:
    booking = await book(client, service, mary.user["email"])
    await run_jobs(app)
    cancelled = ok(await mary.post(f"/bookings/{booking['id']}/cancel"))
    assert cancelled["cancelled"]["by"] == "customer"
    seen = ok(await client.get(f"/api/v1/manage/{booking['manage_token']}"))
    assert seen["cancelled"]["by"] == "guest"


async def test_an_address_that_is_not_verified_has_nothing(
    app: FastAPI, client: httpx.AsyncClient, business: Business, service: Any
) -> None:
    mallory = await business.customer("Mallory")
    await book(client, service, mallory.user["email"])
    await run_jobs(app)
    assert ok(await mallory.get("/bookings"))["items"] == []


async def test_staff_who_have_seen_it_before_are_told_whose_it_is(
    app: FastAPI, client: httpx.AsyncClient, business: Business, service: Any, mary: Caller
) -> None:
    booking = await book(client, service, mary.user["email"])
    admin, tag = await business.admin(), {"If-None-Match": '"1"'}
    path = f"/bookings/{booking['id']}"
    assert (await admin.get(path, headers=tag)).status_code == 304
    await run_jobs(app)
    seen = ok(await admin.get(path, headers=tag))
    assert seen["customer"]["id"] == mary.user["id"]


async def test_what_others_may_have_booked_uses_up_no_limit_and_tells_of_none(
    app: FastAPI, client: httpx.AsyncClient, business: Business, mary: Caller
) -> None:
    limits = {"per_customer_per_day": 1, "per_customer_active": 1}
    service = await business.service(durations_minutes=[60], allow_guests=True, limits=limits)
    await business.provider(service)
    guests = await book(client, service, mary.user["email"])
    await run_jobs(app)
    own = {"service_id": service["id"], "start": TEN}
    ok(await mary.post("/bookings", own))
    eleven = {"start": TEN.replace("T10", "T11")}
    problem(await mary.post("/bookings", own | eleven), 422, "slot_unavailable")
    ok(await client.post(f"/api/v1/manage/{guests['manage_token']}/reschedule", json=eleven))


async def test_who_is_verifying_the_address_just_then_is_waited_for(
    app: FastAPI, client: httpx.AsyncClient, business: Business, service: Any
) -> None:
    percy = await business.customer("Percy")
    booking = await book(client, service, percy.user["email"])
    database, waits = app.state.database, "SELECT count(*) FROM pg_locks WHERE NOT granted"

    async def join() -> None:
        async with database.transaction() as session:
            await BookingsOfGuests().join(session, UUID(booking["id"]))

    async with database.transaction() as session:
        verify = "UPDATE users SET email_verified = true WHERE email = :email"
        await session.execute(text(verify), {"email": percy.user["email"]})
        joining = asyncio.create_task(join())
        while not (await rows(app, waits))[0].count:
            assert not joining.done()
    await joining
    assert [b["id"] for b in ok(await percy.get("/bookings"))["items"]] == [booking["id"]]


async def test_who_verifies_an_address_later_takes_nothing_from_who_had_it(
    app: FastAPI, client: httpx.AsyncClient, service: Any, mary: Caller
) -> None:
    booking = await book(client, service, mary.user["email"])
    await run_jobs(app)
    async with app.state.database.transaction() as session:
        await BookingsOfGuests().verified(session, UUID(int=7), mary.user["email"])
    assert [b["id"] for b in ok(await mary.get("/bookings"))["items"]] == [booking["id"]]


async def test_who_is_forgotten_is_so_as_a_guest_too(
    app: FastAPI, client: httpx.AsyncClient, service: Any, mary: Caller
) -> None:
    booking = await book(client, service, mary.user["email"])
    await run_jobs(app)
    exported = ok(await mary.get("/auth/me/export"))["bookings"]
    assert [(b["guest_name"], b["notes"]) for b in exported] == [("Somebody", "By the window.")]
    answer = await mary.request("DELETE", "/auth/me", json={"password": PASSWORD})
    assert answer.status_code == 204
    problem(await client.get(f"/api/v1/manage/{booking['manage_token']}"), 404, "not_found")
    (row,) = await rows(app, "SELECT * FROM bookings")
    said = (row.customer_id, row.guest_name, row.guest_email, row.guest_phone, row.notes)
    assert said == (None, None, None, None, "")


# --- Forgotten in the end ---------------------------------------------------------------------
async def forget(app: FastAPI, clock: Hands, **changes: Any) -> None:
    """What happens each night."""
    state = app.state
    settings = state.settings.model_copy(update=changes)
    await BookingJobs(state.database, settings, clock).forget_guests()


PERSONAL = (
    "guest_name, guest_email, guest_phone, guest_time_zone, manage_digest, manage_salt,"
    " cancelled_reason"
)


async def test_a_guest_is_forgotten_a_year_after_the_appointment(
    app: FastAPI, client: httpx.AsyncClient, business: Business, service: Any, clock: Hands
) -> None:
    booking = await book(client, service, NOBODY)
    link = f"/api/v1/manage/{booking['manage_token']}"
    ok(await client.post(f"{link}/cancel", json={"reason": "I am ill."}))
    clock.now = ENDED + timedelta(days=365)
    await forget(app, clock)
    (row,) = await rows(app, "SELECT * FROM bookings")
    assert (row.guest_email, row.notes, row.version) == (NOBODY, "By the window.", 2)
    clock.advance(seconds=1)
    await forget(app, clock, GUEST_DATA_RETENTION_DAYS=0)
    assert (await rows(app, "SELECT guest_email FROM bookings"))[0].guest_email == NOBODY
    await forget(app, clock)
    (row,) = await rows(app, f"SELECT {PERSONAL} FROM bookings")
    assert list(row) == [None] * 6 + [""]
    problem(await client.get(link), 404, "not_found")
    admin = await Business(client).admin()
    seen = ok(await admin.get(f"/bookings/{booking['id']}"))
    assert (seen["customer"], seen["notes"], seen["answers"]) == (None, "", {})
    assert (seen["status"], seen["version"]) == ("cancelled", 3)
    history = ok(await admin.get(f"/bookings/{booking['id']}/history"))["items"]
    assert [(e["type"], e["actor"]["type"]) for e in history][-1] == (
        "booking.anonymised",
        "system",
    )
    assert "reason" not in history[1]["after"]
    await forget(app, clock)
    assert ok(await admin.get(f"/bookings/{booking['id']}"))["version"] == 3


async def test_what_an_account_has_is_its_own_to_forget(
    app: FastAPI, client: httpx.AsyncClient, service: Any, mary: Caller, clock: Hands
) -> None:
    await book(client, service, mary.user["email"])
    ok(await mary.post("/bookings", {"service_id": service["id"], "start": NINE, "notes": "Mine."}))
    await run_jobs(app)
    clock.advance(days=500)
    await forget(app, clock)
    notes = "SELECT notes FROM bookings WHERE version = 1 ORDER BY notes"
    assert [row.notes for row in await rows(app, notes)] == ["By the window.", "Mine."]


async def test_many_are_forgotten_in_many_transactions(
    app: FastAPI,
    client: httpx.AsyncClient,
    service: Any,
    clock: Hands,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for hour in range(9, 14):
        await book(client, service, NOBODY, NINE.replace("T09", f"T{hour:02}"))
    monkeypatch.setattr(bookings_jobs, "_BATCH", 2)
    clock.advance(days=500)
    await forget(app, clock)
    assert await rows(app, "SELECT 1 FROM bookings WHERE guest_email IS NOT NULL") == []
    events = "SELECT transaction_id, count(*) FROM events WHERE type = 'booking.anonymised'"
    batches = await rows(app, f"{events} GROUP BY transaction_id ORDER BY transaction_id")
    assert [batch.count for batch in batches] == [2, 2, 1]


async def test_it_is_done_each_night(app: FastAPI) -> None:
    routines = app.state.jobs._routines
    times, routine = routines["bookings.forget_guests"]
    assert times == "23 3 * * *"
    assert routine.__name__ == "forget_guests"
