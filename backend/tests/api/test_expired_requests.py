"""A request that nobody approves in time: from its deadline on, its time is free for everybody.

The clock says so, to every read and every write at once; the job comes when it comes.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.config import Settings
from app.main import create_app
from tests.business import Business, Caller, Hands, execute, ok, problem, serving

DAY = "2026-03-06"
NINE = f"{DAY}T09:00:00+01:00"
NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
ENDS = NOW + timedelta(hours=48)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Tokens outlive the deadline."""
    return settings.model_copy(update={"ACCESS_TOKEN_EXPIRE_MINUTES": 3 * 24 * 60})


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


@pytest.fixture
async def ada(business: Business) -> Caller:
    return await business.customer("Ada Lovelace")


@pytest.fixture
async def bob(business: Business) -> Caller:
    return await business.customer("Bob")


@pytest.fixture
async def slow(settings: Settings, app: FastAPI) -> AsyncIterator[Caller]:
    """An administrator on another machine, whose clock is a minute behind the deadline."""
    late = Hands(ENDS - timedelta(minutes=1))
    async with serving(create_app(settings, clock=late)) as client:
        yield await Business(client).admin()


def wish(service: dict[str, Any], start: str = NINE, **fields: Any) -> dict[str, Any]:
    return {"service_id": service["id"], "start": start} | fields


async def asked(business: Business, **fields: Any) -> dict[str, Any]:
    """A service that must be approved, by one provider."""
    service = await business.service(approval="required", **fields)
    await business.provider(service)
    return service


async def free(business: Business, service: dict[str, Any]) -> list[str]:
    found: list[str] = await business.free_times(service, DAY, DAY, time_zone="Europe/Paris")
    return found


async def rows(app: FastAPI, statement: str) -> list[Any]:
    async with app.state.database.reading() as session:
        return list(await session.execute(text(statement)))


async def run_jobs(app: FastAPI) -> None:
    await execute(app, "UPDATE pgqueuer SET execute_after = now()")
    await app.state.jobs.run_due()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"capacity": 2},
        {"assignment": "collective"},
        {"resource_requirements": [{"resource_kind": "room", "quantity": 1}]},
    ],
    ids=["alone", "in-a-group", "together", "in-a-room"],
)
async def test_its_time_is_free_from_the_deadline_on_though_nothing_runs(
    app: FastAPI,
    business: Business,
    clock: Hands,
    admin: Caller,
    ada: Caller,
    bob: Caller,
    fields: dict[str, Any],
) -> None:
    ok(await admin.post("/resources", {"name": "A", "kind": "room"}))
    service = await asked(business, **fields)
    seats = service["capacity"]
    request = ok(await ada.post("/bookings", wish(service, seats=seats)))
    params = {"service_id": service["id"], "start": DAY, "end": DAY}
    before = await business.client.get("/api/v1/availability", params=params)
    clock.now = ENDS - timedelta(seconds=1)
    assert NINE not in await free(business, service)
    assert not (await bob.post("/bookings", wish(service, seats=seats))).is_success
    clock.now = ENDS
    tag = {"If-None-Match": before.headers["etag"]}
    now = await business.client.get("/api/v1/availability", params=params, headers=tag)
    assert now.status_code == 200
    assert NINE in await free(business, service)
    explained = ok(await bob.get("/availability/explain", params=wish(service, seats=seats)))
    assert explained["available"] is True
    booking = ok(await bob.post("/bookings", wish(service, seats=seats)))
    seen = ok(await ada.get(f"/bookings/{request['id']}"))
    assert (seen["status"], seen["allowed_actions"]) == ("expired", [])
    # The job tells the log, and touches nothing of who has the time now.
    taken = await rows(app, "SELECT id, subject_id, seats_taken FROM allocations ORDER BY 1, 2")
    await run_jobs(app)
    seen = ok(await ada.get(f"/bookings/{request['id']}"))
    assert (seen["status"], seen["version"]) == ("expired", 2)
    history = ok(await ada.get(f"/bookings/{request['id']}/history"))["items"]
    assert [event["type"] for event in history] == ["booking.created", "booking.expired"]
    assert taken == await rows(
        app, "SELECT id, subject_id, seats_taken FROM allocations ORDER BY 1, 2"
    )
    assert ok(await admin.post(f"/bookings/{booking['id']}/confirm"))["status"] == "confirmed"


async def test_it_makes_way_for_whatever_wants_its_time(
    app: FastAPI, business: Business, clock: Hands, admin: Caller, ada: Caller, bob: Caller
) -> None:
    service = await asked(business)
    starts = [f"{DAY}T{hour:02}:00:00+01:00" for hour in range(9, 14)]
    for start in starts:
        ok(await ada.post("/bookings", wish(service, start)))
    (provider,) = {b["provider"]["id"] for b in ok(await ada.get("/bookings"))["items"]}
    clock.now = ENDS
    hold = ok(await bob.post("/holds", wish(service, starts[0])))
    series = {"rrule": "FREQ=DAILY;COUNT=1"}
    ok(await bob.post("/booking-series", wish(service, starts[1]) | series))
    moving = ok(await bob.post("/bookings", wish(service, f"{DAY}T15:00:00+01:00")))
    ok(await bob.post(f"/bookings/{moving['id']}/reschedule", {"start": starts[2]}))
    absence = {"start": starts[3], "end": starts[4]}
    declared = ok(await admin.post(f"/providers/{provider}/time-off", absence))
    assert declared["bookings_outside"] == []
    taken = await rows(
        app,
        "SELECT kind, count(*) FROM allocations WHERE lower(during) < '2026-03-06T12:00Z'"
        " AND (expires_at IS NULL OR expires_at > '2026-03-04T08:00Z') GROUP BY kind ORDER BY kind",
    )
    assert [tuple(row) for row in taken] == [("booking", 2), ("hold", 1), ("time_off", 1)]
    await run_jobs(app)
    statuses = "SELECT status, count(*) FROM bookings GROUP BY status ORDER BY status"
    assert [tuple(row) for row in await rows(app, statuses)] == [("expired", 5), ("pending", 2)]
    assert (await bob.delete(f"/holds/{hold['id']}")).status_code == 204


async def test_once_it_is_confirmed_its_time_stays_taken(
    app: FastAPI, business: Business, clock: Hands, admin: Caller, ada: Caller, bob: Caller
) -> None:
    alone, group = await asked(business), await asked(business, capacity=2)
    for service in (alone, group):
        booking = ok(await ada.post("/bookings", wish(service, seats=service["capacity"])))
        ok(await admin.post(f"/bookings/{booking['id']}/confirm"))
    clock.now = ENDS
    for service, code in ((alone, "slot_taken"), (group, "no_seats_left")):
        assert NINE not in await free(business, service)
        problem(await bob.post("/bookings", wish(service)), 409, code)
    assert await rows(app, "SELECT 1 FROM allocations WHERE expires_at IS NOT NULL") == []
    assert await rows(app, "SELECT 1 FROM session_seats WHERE expires_at IS NOT NULL") == []


async def test_what_is_held_or_repeated_or_moved_waits_no_longer_than_any_other(
    app: FastAPI, business: Business, clock: Hands, admin: Caller, ada: Caller
) -> None:
    alone, group = await asked(business), await asked(business, capacity=2)
    for service in (alone, group):
        hold = ok(await ada.post("/holds", wish(service)))
        ok(await ada.post("/bookings", wish(service, hold_id=hold["id"])))
        ten, eleven = (NINE.replace("T09", hour) for hour in ("T10", "T11"))
        series = {"rrule": "FREQ=DAILY;COUNT=1"}
        ok(await ada.post("/booking-series", wish(service, ten) | series))
        confirmed = ok(await ada.post("/bookings", wish(service, NINE.replace("T09", "T13"))))
        ok(await admin.post(f"/bookings/{confirmed['id']}/confirm"))
        moved = await ada.post(f"/bookings/{confirmed['id']}/reschedule", {"start": eleven})
        assert ok(moved)["status"] == "pending"
        other = await business.provider(service)
        path = f"/bookings/{confirmed['id']}/reassign"
        assert ok(await admin.post(path, {"provider_id": other["id"]}))["status"] == "pending"
    ends = "SELECT coalesce(c.expires_at, a.expires_at) AS at FROM allocations a"
    ends += " LEFT JOIN session_seats c ON c.allocation_id = a.id"
    assert [row.at for row in await rows(app, ends)] == [ENDS] * 6
    clock.now = ENDS
    await run_jobs(app)
    assert await rows(app, "SELECT 1 FROM allocations") == []


async def test_a_request_that_has_expired_counts_for_no_limit(
    business: Business, clock: Hands, ada: Caller
) -> None:
    limits = {"per_day": 1, "per_customer_per_day": 1, "per_customer_active": 1}
    service = await asked(business, limits=limits)
    ok(await ada.post("/bookings", wish(service)))
    again = wish(service, NINE.replace("T09", "T11"))
    refused = problem(await ada.post("/bookings", again), 422, "slot_unavailable")
    assert refused["reason"] == "limit_reached"
    clock.now = ENDS
    series = {"rrule": "FREQ=DAILY;COUNT=1"}
    problem(
        await ada.post("/booking-series", again | {"rrule": "FREQ=DAILY;COUNT=2"}),
        422,
        "slot_unavailable",
    )
    ok(await ada.post("/booking-series", again | series))


async def test_a_change_of_hours_does_not_speak_of_it(
    business: Business, clock: Hands, admin: Caller, ada: Caller
) -> None:
    service = await asked(business)
    booking = ok(await ada.post("/bookings", wish(service)))
    path = f"/providers/{booking['provider']['id']}/schedule"
    closed = {"time_zone": "Europe/Paris", "weekly": []}
    assert len(ok(await admin.put(path, closed))["bookings_outside"]) == 1
    clock.now = ENDS
    assert ok(await admin.put(path, closed))["bookings_outside"] == []


# --- Machines do not agree about the time -----------------------------------------------------
@pytest.mark.parametrize("capacity", [1, 2])
async def test_what_somebody_has_taken_since_is_not_confirmed_by_a_slow_clock(
    app: FastAPI,
    business: Business,
    clock: Hands,
    ada: Caller,
    bob: Caller,
    slow: Caller,
    capacity: int,
) -> None:
    service = await asked(business, capacity=capacity)
    request = ok(await ada.post("/bookings", wish(service, seats=capacity)))
    clock.now = ENDS
    booking = ok(await bob.post("/bookings", wish(service, seats=capacity)))
    problem(await slow.post(f"/bookings/{request['id']}/confirm"), 409, "invalid_transition")
    kept = await rows(
        app,
        "SELECT id, status FROM bookings WHERE allocation_id IN"
        " (SELECT id FROM allocations) ORDER BY id",
    )
    assert [str(row.id) for row in kept] == [booking["id"]]


async def test_nor_is_what_has_lost_a_part_of_its_time(
    app: FastAPI, business: Business, clock: Hands, ada: Caller, bob: Caller, slow: Caller
) -> None:
    service = await business.service(approval="required", assignment="collective")
    one, other = [await business.provider(service) for _ in range(2)]
    request = ok(await ada.post("/bookings", wish(service)))
    clock.now = ENDS
    absence = {"start": NINE, "end": NINE.replace("T09", "T10")}
    ok(await (await business.admin()).post(f"/providers/{other['id']}/time-off", absence))
    left = await rows(app, "SELECT subject_id FROM allocations WHERE kind = 'booking'")
    assert [str(row.subject_id) for row in left] == [one["id"]]
    problem(await slow.post(f"/bookings/{request['id']}/confirm"), 409, "invalid_transition")
    assert (
        await rows(app, "SELECT 1 FROM allocations WHERE kind = 'booking' AND expires_at IS NULL")
        == []
    )


async def test_what_nobody_wanted_since_a_slow_clock_may_still_confirm(
    business: Business, clock: Hands, ada: Caller, bob: Caller, slow: Caller
) -> None:
    service = await asked(business)
    request = ok(await ada.post("/bookings", wish(service)))
    clock.now = ENDS
    assert NINE in await free(business, service)
    ok(await slow.post(f"/bookings/{request['id']}/confirm"))
    assert NINE not in await free(business, service)
    problem(await bob.post("/bookings", wish(service)), 409, "slot_taken")
