"""What happened to a booking, told to those concerned."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI

from tests.business import PASSWORD, Business, Caller, Hands, execute, ok, problem

NINE, TEN = "2026-03-03T09:00:00+01:00", "2026-03-03T10:00:00+01:00"


@pytest.fixture
async def ada(business: Business) -> Caller:
    return await business.customer("Ada Lovelace")


@pytest.fixture
async def grace(business: Business) -> Caller:
    return await business.customer("Grace Hopper")


@pytest.fixture
async def booking(business: Business, ada: Caller, grace: Caller) -> dict[str, Any]:
    """Ada's with Grace, moved by Ada and called off by an administrator."""
    service = await business.service()
    await business.provider(service, user_id=grace.user["id"])
    body = {"service_id": service["id"], "start": NINE}
    booking = ok(await ada.post("/bookings", body))
    ok(await ada.post(f"/bookings/{booking['id']}/reschedule", {"start": TEN}))
    admin = await business.admin()
    ok(await admin.post(f"/bookings/{booking['id']}/cancel", {"reason": "We are ill."}))
    return booking


async def history(caller: Caller, booking: dict[str, Any]) -> list[dict[str, Any]]:
    page = ok(await caller.get(f"/bookings/{booking['id']}/history"))
    assert page["next_cursor"] is None
    items: list[dict[str, Any]] = page["items"]
    return items


async def test_a_customer_reads_what_happened_and_nobody_elses_id(
    business: Business, ada: Caller, booking: dict[str, Any]
) -> None:
    created, moved, cancelled = await history(ada, booking)
    me = {"type": "user", "id": ada.user["id"]}
    assert [e["type"] for e in (created, moved, cancelled)] == [
        "booking.created",
        "booking.rescheduled",
        "booking.cancelled",
    ]
    assert created["actor"] == moved["actor"] == me
    assert (created["before"], created["after"]["customer_id"]) == (None, ada.user["id"])
    assert moved["before"]["start"] == "2026-03-03T08:00:00+00:00"
    assert moved["after"]["start"] == "2026-03-03T09:00:00+00:00"
    assert cancelled["actor"] == {"type": "user", "id": None}
    assert cancelled["after"] == {"status": "cancelled", "reason": "We are ill.", "by": "staff"}
    admin = await business.admin()
    answer = await ada.get(f"/bookings/{booking['id']}/history")
    assert admin.user["id"] not in answer.text


async def test_staff_read_who_did_it(
    business: Business, ada: Caller, grace: Caller, booking: dict[str, Any]
) -> None:
    admin = await business.admin()
    for caller in (admin, grace):
        created, _, cancelled = await history(caller, booking)
        assert created["actor"]["id"] == created["after"]["customer_id"] == ada.user["id"]
        assert cancelled["actor"]["id"] == admin.user["id"]


async def test_a_stranger_reads_nothing(business: Business, booking: dict[str, Any]) -> None:
    stranger = await business.customer("Mallory")
    problem(await stranger.get(f"/bookings/{booking['id']}/history"), 404, "not_found")


async def test_what_is_added_to_the_log_later_is_not_shown_to_customers_by_accident(
    app: FastAPI, business: Business, ada: Caller, booking: dict[str, Any]
) -> None:
    await execute(
        app, 'UPDATE events SET after = after || \'{"surprise": "x"}\' WHERE after IS NOT NULL'
    )
    assert all("surprise" not in event["after"] for event in await history(ada, booking))
    admin = await business.admin()
    assert all(event["after"]["surprise"] == "x" for event in await history(admin, booking))


async def test_nobody_did_what_happened_by_itself(
    app: FastAPI, business: Business, ada: Caller, clock: Hands
) -> None:
    service = await business.service(approval="required")
    await business.provider(service)
    body = {"service_id": service["id"], "start": NINE}
    booking = ok(await ada.post("/bookings", body))
    clock.now = datetime(2026, 3, 3, 8, tzinfo=UTC) + timedelta(minutes=1)
    await execute(app, "UPDATE pgqueuer SET execute_after = now()")
    await app.state.jobs.run_due()
    ada = await business.log_in(ada.user["email"], PASSWORD)
    expired = (await history(ada, booking))[-1]
    assert (expired["type"], expired["actor"]) == (
        "booking.expired",
        {"type": "system", "id": None},
    )
