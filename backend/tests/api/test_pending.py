"""Bookings that wait for approval: confirmed, declined, or expired by themselves."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text

from tests.business import PASSWORD, Business, Caller, Hands, execute, ok, problem

DAY = "2026-03-06"
NINE = f"{DAY}T09:00:00+01:00"
NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
WAITS_UNTIL = NOW + timedelta(hours=48)


@pytest.fixture
async def ada(business: Business) -> Caller:
    return await business.customer("Ada Lovelace")


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    service = await business.service(approval="required")
    await business.provider(service)
    return service


async def book(caller: Caller, service: dict[str, Any], start: str = NINE) -> Any:
    return ok(await caller.post("/bookings", {"service_id": service["id"], "start": start}))


async def rows(app: FastAPI, statement: str) -> list[Any]:
    async with app.state.database.reading() as session:
        return list(await session.execute(text(statement)))


async def run_jobs(app: FastAPI) -> None:
    """Whatever waits, as if Postgres' clock had come to it."""
    await execute(app, "UPDATE pgqueuer SET execute_after = now()")
    await app.state.jobs.run_due()


async def admin_of(business: Business) -> Caller:
    return await Business(business.client).admin()


async def test_a_booking_that_needs_approval_waits_for_it_and_keeps_its_time(
    app: FastAPI, business: Business, ada: Caller, service: dict[str, Any]
) -> None:
    booking = await book(ada, service)
    assert booking["status"] == "pending"
    assert NINE not in await business.free_times(service, DAY, DAY, time_zone="Europe/Paris")
    shown = ok(await (await business.admin()).get(f"/bookings/{booking['id']}"))
    until = {a["action"]: a["until"] for a in shown["allowed_actions"]}
    assert until["confirm"] == until["decline"] == until["cancel"] == "2026-03-04T08:00:00Z"
    (job,) = await rows(
        app, "SELECT execute_after - now() AS wait FROM pgqueuer WHERE entrypoint LIKE 'booking.%'"
    )
    assert timedelta(hours=47, minutes=59) < job.wait <= timedelta(hours=48)


async def test_nobody_waits_longer_than_until_the_start(ada: Caller, business: Business) -> None:
    service = await business.service(approval="required")
    await business.provider(service)
    booking = await book(ada, service, "2026-03-02T10:00:00+01:00")
    cancel = next(a for a in booking["allowed_actions"] if a["action"] == "cancel")
    assert cancel["until"] == "2026-03-02T09:00:00Z"


async def test_a_confirmed_booking_does_not_expire(
    app: FastAPI, business: Business, ada: Caller, service: dict[str, Any], clock: Hands
) -> None:
    booking = await book(ada, service)
    admin = await business.admin()
    confirmed = ok(await admin.post(f"/bookings/{booking['id']}/confirm"))
    assert (confirmed["status"], confirmed["sequence"]) == ("confirmed", 1)
    clock.now = WAITS_UNTIL + timedelta(hours=1)
    await run_jobs(app)
    admin = await admin_of(business)
    assert ok(await admin.get(f"/bookings/{booking['id']}")) == confirmed | {
        "allowed_actions": confirmed["allowed_actions"]
    }
    assert await rows(app, "SELECT 1 FROM pgqueuer WHERE entrypoint LIKE 'booking.%'") == []


async def test_a_declined_booking_gives_its_time_back_and_says_why(
    business: Business, ada: Caller, service: dict[str, Any]
) -> None:
    booking = await book(ada, service)
    admin = await business.admin()
    ok(await admin.post(f"/bookings/{booking['id']}/decline", {"reason": "We are closed."}))
    seen = ok(await ada.get(f"/bookings/{booking['id']}"))
    assert (seen["status"], seen["sequence"], seen["allowed_actions"]) == ("declined", 1, [])
    assert seen["cancelled"] == {
        "by": "staff",
        "reason": "We are closed.",
        "at": "2026-03-02T08:00:00Z",
    }
    assert NINE in await business.free_times(service, DAY, DAY, time_zone="Europe/Paris")
    problem(await admin.post(f"/bookings/{booking['id']}/confirm"), 409, "invalid_transition")


async def test_what_nobody_approves_expires(
    app: FastAPI, business: Business, ada: Caller, service: dict[str, Any], clock: Hands
) -> None:
    booking = await book(ada, service)
    clock.now = WAITS_UNTIL
    await run_jobs(app)
    ada = await business.log_in(ada.user["email"], PASSWORD)
    seen = ok(await ada.get(f"/bookings/{booking['id']}"))
    assert (seen["status"], seen["version"], seen["sequence"]) == ("expired", 2, 1)
    assert seen["cancelled"] is None
    assert NINE in await business.free_times(service, DAY, DAY, time_zone="Europe/Paris")
    (event,) = await rows(app, "SELECT * FROM events WHERE type = 'booking.expired'")
    assert (event.actor_type, event.before, event.after) == (
        "system",
        {"status": "pending"},
        {"status": "expired"},
    )
    await run_jobs(app)
    assert len(await rows(app, "SELECT 1 FROM events WHERE type = 'booking.expired'")) == 1


async def test_a_job_that_comes_too_early_comes_again(
    app: FastAPI, ada: Caller, service: dict[str, Any], clock: Hands
) -> None:
    await book(ada, service)
    clock.now = WAITS_UNTIL - timedelta(minutes=5)
    await run_jobs(app)
    assert [r.status for r in await rows(app, "SELECT status FROM bookings")] == ["pending"]
    (job,) = await rows(
        app, "SELECT execute_after - now() AS wait FROM pgqueuer WHERE entrypoint LIKE 'booking.%'"
    )
    assert timedelta(minutes=4) < job.wait <= timedelta(minutes=5)
    clock.now = WAITS_UNTIL
    await run_jobs(app)
    assert [r.status for r in await rows(app, "SELECT status FROM bookings")] == ["expired"]


async def test_what_has_expired_is_so_before_anybody_has_noticed(
    app: FastAPI, business: Business, ada: Caller, service: dict[str, Any], clock: Hands
) -> None:
    booking = await book(ada, service)
    tag = {"If-None-Match": '"1"'}
    assert (await ada.get(f"/bookings/{booking['id']}", headers=tag)).status_code == 304
    clock.now = WAITS_UNTIL
    ada = await business.log_in(ada.user["email"], PASSWORD)
    admin = await admin_of(business)
    for caller in (ada, admin):
        seen = ok(await caller.get(f"/bookings/{booking['id']}", headers=tag))
        assert (seen["status"], seen["allowed_actions"]) == ("expired", [])
        assert ok(await caller.get("/bookings?status=pending"))["items"] == []
        (listed,) = ok(await caller.get("/bookings?status=expired"))["items"]
        assert listed["id"] == booking["id"]
    for action in ("confirm", "decline", "cancel"):
        answer = await admin.post(f"/bookings/{booking['id']}/{action}")
        problem(answer, 409, "invalid_transition")
    await run_jobs(app)
    assert ok(await ada.get(f"/bookings/{booking['id']}"))["version"] == 2


async def test_a_request_that_has_moved_waits_anew(
    app: FastAPI, business: Business, ada: Caller, service: dict[str, Any], clock: Hands
) -> None:
    booking = await book(ada, service)
    clock.advance(hours=24)
    ada = await business.log_in(ada.user["email"], PASSWORD)
    move = {"start": f"{DAY}T10:00:00+01:00"}
    assert ok(await ada.post(f"/bookings/{booking['id']}/reschedule", move))["status"] == "pending"
    clock.now = WAITS_UNTIL
    await run_jobs(app)
    assert [r.status for r in await rows(app, "SELECT status FROM bookings")] == ["pending"]
    clock.advance(hours=24)
    await run_jobs(app)
    assert [r.status for r in await rows(app, "SELECT status FROM bookings")] == ["expired"]
    assert await rows(app, "SELECT 1 FROM allocations") == []
