"""Moving bookings: to another time, to another provider, whole or not at all."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text

from tests.business import PASSWORD, Business, Caller, Hands, ok, problem

DAY = "2026-03-03"
NINE, TEN = f"{DAY}T09:00:00+01:00", f"{DAY}T10:00:00+01:00"
BEGINS = datetime(2026, 3, 3, 8, tzinfo=UTC)


@pytest.fixture
async def ada(business: Business) -> Caller:
    return await business.customer("Ada Lovelace")


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


async def book(caller: Caller, service: dict[str, Any], start: str = NINE, **more: Any) -> Any:
    return ok(await caller.post("/bookings", {"service_id": service["id"], "start": start} | more))


async def move(caller: Caller, booking: dict[str, Any], start: str = TEN, **more: Any) -> Any:
    return await caller.post(f"/bookings/{booking['id']}/reschedule", {"start": start} | more)


async def reassign(caller: Caller, booking: dict[str, Any], provider: dict[str, Any]) -> Any:
    body = {"provider_id": provider["id"]}
    return await caller.post(f"/bookings/{booking['id']}/reassign", body)


async def rows(app: FastAPI, statement: str, **values: Any) -> list[Any]:
    async with app.state.database.reading() as session:
        return list(await session.execute(text(statement), values))


async def taken(app: FastAPI) -> list[tuple[str, str, int]]:
    """Whose time is taken from when, and how many seats of it."""
    found = await rows(app, "SELECT * FROM allocations WHERE kind = 'booking' ORDER BY during")
    return [(str(r.subject_id), r.starts_at.isoformat(), r.seats_taken) for r in found]


async def free(business: Business, service: dict[str, Any], **query: Any) -> list[str]:
    return await business.free_times(service, DAY, DAY, time_zone="Europe/Paris", **query)


# --- The same booking at another time ---------------------------------------------------------
async def test_a_moved_booking_is_the_same_one_at_another_time(
    app: FastAPI, business: Business, ada: Caller
) -> None:
    service = await business.service(durations_minutes=[30, 60])
    provider = await business.provider(service)
    booking = await book(ada, service)
    answer = await move(ada, booking, duration_minutes=60)
    moved = ok(answer)
    assert moved == booking | {
        "start": TEN,
        "end": f"{DAY}T11:00:00+01:00",
        "duration_minutes": 60,
        "sequence": 1,
        "version": 2,
        "updated_at": moved["updated_at"],
        "allowed_actions": [
            {"action": "cancel", "until": "2026-03-03T09:00:00Z"},
            {"action": "reschedule", "until": "2026-03-03T09:00:00Z"},
        ],
    }
    assert answer.headers["etag"] == '"2"'
    assert ok(await ada.get(f"/bookings/{booking['id']}")) == moved
    slots = await free(business, service)
    assert NINE in slots
    assert TEN not in slots
    assert await taken(app) == [(provider["id"], "2026-03-03T09:00:00+00:00", 1)]
    (kept,) = await rows(app, "SELECT * FROM bookings")
    assert (str(kept.allocation_id), kept.reschedules) == (booking["id"], 1)
    assert kept.wall_start == datetime(2026, 3, 3, 10)  # noqa: DTZ001 - on the wall
    (event,) = await rows(app, "SELECT * FROM events WHERE type = 'booking.rescheduled'")
    assert event.before == {
        "start": "2026-03-03T08:00:00+00:00",
        "end": "2026-03-03T08:30:00+00:00",
    }
    assert event.after == {
        "start": "2026-03-03T09:00:00+00:00",
        "end": "2026-03-03T10:00:00+00:00",
    }


async def test_a_move_raises_the_version_of_both_calendars(
    app: FastAPI, business: Business, ada: Caller
) -> None:
    service = await business.service()
    one, two = [await business.provider(service) for _ in range(2)]
    booking = await book(ada, service, provider_id=one["id"])
    statement = "SELECT subject_id, version FROM calendars"
    before = {str(r.subject_id): r.version for r in await rows(app, statement)}
    ok(await move(ada, booking, provider_id=two["id"]))
    after = {str(r.subject_id): r.version for r in await rows(app, statement)}
    assert all(after[p["id"]] > before[p["id"]] for p in (one, two))


async def test_a_booking_may_move_onto_a_part_of_its_own_time(
    app: FastAPI, business: Business, ada: Caller
) -> None:
    service = await business.service(
        durations_minutes=[60], slot_interval_minutes=15, buffer_after_minutes=30
    )
    provider = await business.provider(service)
    booking = await book(ada, service)
    later = f"{DAY}T09:15:00+01:00"
    assert later not in await free(business, service)
    assert later in await free(business, service, exclude_booking_id=booking["id"])
    assert ok(await move(ada, booking, later))["start"] == later
    assert await taken(app) == [(provider["id"], "2026-03-03T08:15:00+00:00", 1)]


async def test_the_same_time_again_changes_nothing(
    app: FastAPI, business: Business, ada: Caller
) -> None:
    service = await business.service(max_reschedules=1)
    provider = await business.provider(service)
    booking = await book(ada, service)
    for same in ({}, {"provider_id": provider["id"]}, {"duration_minutes": 30}):
        assert ok(await move(ada, booking, "2026-03-03T08:00:00Z", **same)) == booking
    assert ok(await reassign(await business.admin(), booking, provider))["version"] == 1
    assert len(await rows(app, "SELECT 1 FROM events WHERE type LIKE 'booking.%'")) == 1
    assert ok(await move(ada, booking))["sequence"] == 1


# --- Whole or not at all ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("start", "more", "status", "code", "reason"),
    [
        (f"{DAY}T11:00:00+01:00", {}, 409, "slot_taken", None),
        (f"{DAY}T20:00:00+01:00", {}, 422, "slot_unavailable", "outside_working_hours"),
        (f"{DAY}T10:10:00+01:00", {}, 422, "slot_unavailable", "not_aligned"),
        (TEN, {"duration_minutes": 45}, 422, "slot_unavailable", "not_offered"),
        ("2026-03-01T09:00:00Z", {}, 422, "slot_unavailable", "past"),
        ("2026-03-02T09:00:00+01:00", {}, 422, "slot_unavailable", "min_notice"),
        ("2026-03-31T09:00:00+02:00", {}, 422, "slot_unavailable", "beyond_window"),
    ],
)
async def test_a_move_that_fails_leaves_the_booking_as_it_was(
    app: FastAPI,
    business: Business,
    ada: Caller,
    admin: Caller,
    start: str,
    more: dict[str, Any],
    status: int,
    code: str,
    reason: str | None,
) -> None:
    service = await business.service(min_notice_minutes=120, booking_window_days=14)
    await business.provider(service)
    booking = await book(ada, service)
    await book(admin, service, f"{DAY}T11:00:00+01:00")
    before = await taken(app)
    for caller in (ada, admin):  # staff are bound by the same hours, notice and window
        refused = problem(await move(caller, booking, start, **more), status, code)
        assert refused.get("reason") == reason
    assert ok(await ada.get(f"/bookings/{booking['id']}")) == booking
    assert await taken(app) == before
    assert await rows(app, "SELECT 1 FROM events WHERE type = 'booking.rescheduled'") == []


async def test_a_move_that_breaks_at_its_end_leaves_the_booking_as_it_was(
    app: FastAPI, business: Business, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await business.service()
    await business.provider(service)
    booking = await book(ada, service)
    before = await taken(app)

    def breaks(*_: object) -> None:
        raise RuntimeError("a bug after everything was written")

    with monkeypatch.context() as broken:
        broken.setattr("app.bookings.action_service.booking_out", breaks)
        problem(await move(ada, booking), 500, "internal_error")
    assert ok(await ada.get(f"/bookings/{booking['id']}")) == booking
    assert await taken(app) == before


async def test_time_off_declared_around_a_booking_keeps_it_from_moving_within(
    app: FastAPI, business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service(durations_minutes=[60], slot_interval_minutes=30)
    provider = await business.provider(service)
    booking = await book(ada, service)
    away = {"start": f"{DAY}T08:00:00+01:00", "end": f"{DAY}T12:00:00+01:00", "reason": "x"}
    ok(await admin.post(f"/providers/{provider['id']}/time-off", away))
    half_past = f"{DAY}T09:30:00+01:00"
    assert half_past not in await free(business, service, exclude_booking_id=booking["id"])
    refused = problem(await move(ada, booking, half_past), 422, "slot_unavailable")
    assert refused["reason"] == "time_off"
    ok(await move(ada, booking, f"{DAY}T14:00:00+01:00"))
    # What it has left is time off now.
    assert NINE not in await free(business, service)


async def test_a_retired_services_bookings_stay_where_they_are(
    business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service()
    await business.provider(service)
    booking = await book(ada, service)
    ok(await admin.patch(f"/services/{service['id']}", {"is_active": False}))
    refused = problem(await move(ada, booking), 422, "slot_unavailable")
    assert refused["reason"] == "not_offered"
    assert ok(await ada.post(f"/bookings/{booking['id']}/cancel"))["status"] == "cancelled"


# --- With whom --------------------------------------------------------------------------------
async def test_a_booking_keeps_its_provider_where_they_can_and_finds_another_where_not(
    business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service()
    low, high = [await business.provider(service) for _ in range(2)]
    path = f"/services/{service['id']}/providers"
    givers = [{"provider_id": p["id"], "priority": n} for p, n in ((low, 1), (high, 9))]
    ok(await admin.put(path, {"providers": givers}))
    booking = await book(ada, service, provider_id=low["id"])
    assert ok(await move(ada, booking))["provider"]["id"] == low["id"]
    await book(admin, service, f"{DAY}T12:00:00+01:00", provider_id=low["id"])
    moved = ok(await move(ada, booking, f"{DAY}T12:00:00+01:00"))
    assert moved["provider"]["id"] == high["id"]
    named = ok(await move(ada, booking, f"{DAY}T12:30:00+01:00", provider_id=low["id"]))
    assert (named["provider"]["id"], named["sequence"]) == (low["id"], 3)


async def test_who_gives_it_now_is_noted_with_the_reason(
    business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service(assignment="round_robin")
    providers = [await business.provider(service) for _ in range(2)]
    booking = await book(ada, service)

    async def reason() -> str | None:
        shown = ok(await admin.get(f"/bookings/{booking['id']}"))["assignment"]
        return shown and shown["strategy"]

    assert await reason() == "round_robin"
    kept = ok(await move(ada, booking))  # with the same provider, whoever's turn it is
    assert kept["provider"] == booking["provider"]
    assert await reason() == "round_robin"
    (other,) = [p for p in providers if p["id"] != booking["provider"]["id"]]
    ok(await reassign(admin, booking, other))
    assert await reason() == "requested"


async def test_a_booking_is_given_to_another_at_the_same_time(
    app: FastAPI, business: Business, ada: Caller, admin: Caller, clock: Hands
) -> None:
    service = await business.service(min_notice_minutes=120, booking_window_days=7)
    one, two, three = [await business.provider(service) for _ in range(3)]
    booking = await book(ada, service, provider_id=one["id"])
    await book(ada, service, provider_id=two["id"])
    problem(await reassign(admin, booking, two), 409, "slot_taken")
    stranger = await business.provider()
    refused = problem(await reassign(admin, booking, stranger), 422, "slot_unavailable")
    assert refused["reason"] == "not_offered"
    # Somebody falls ill an hour before: the time has been promised, whatever notice is asked for.
    clock.now = BEGINS - timedelta(hours=1)
    admin = await Business(business.client).admin()
    given = ok(await reassign(admin, booking, three))
    assert (given["provider"]["id"], given["start"], given["sequence"]) == (three["id"], NINE, 1)
    assert sorted(subject for subject, _, _ in await taken(app)) == sorted([two["id"], three["id"]])
    (event,) = await rows(app, "SELECT * FROM events WHERE type = 'booking.reassigned'")
    assert (event.before, event.after) == (
        {"provider_id": one["id"]},
        {"provider_id": three["id"]},
    )


# --- Policy -----------------------------------------------------------------------------------
async def test_the_deadline_and_the_number_of_moves_bind_customers_and_not_staff(
    business: Business, ada: Caller, admin: Caller, clock: Hands
) -> None:
    service = await business.service(reschedule_until_minutes=120, max_reschedules=1)
    await business.provider(service)
    booking, other = await book(ada, service), await book(ada, service, f"{DAY}T13:00:00+01:00")
    ok(await move(admin, booking, f"{DAY}T14:00:00+01:00"))  # staff's moves do not count
    ok(await move(ada, booking))
    refused = problem(await move(ada, booking, NINE), 422, "policy_violation")
    assert refused["reason"] == "reschedule_limit_reached"
    clock.now = BEGINS + timedelta(hours=3)
    ada = await business.log_in(ada.user["email"], PASSWORD)
    refused = problem(await move(ada, other, f"{DAY}T16:00:00+01:00"), 422, "policy_violation")
    assert refused["reason"] == "reschedule_deadline_passed"
    admin = await Business(business.client).admin()
    assert ok(await move(admin, other, f"{DAY}T16:00:00+01:00"))["sequence"] == 1


async def test_the_booking_itself_does_not_count_against_the_customers_limits(
    business: Business, ada: Caller
) -> None:
    service = await business.service(
        limits={"per_customer_per_day": 1, "per_customer_active": 2, "per_day": 2}
    )
    await business.provider(service)
    first = await book(ada, service)
    second = await book(ada, service, "2026-03-04T09:00:00+01:00")
    assert ok(await move(ada, first))["start"] == TEN
    refused = problem(await move(ada, second, f"{DAY}T11:00:00+01:00"), 422, "slot_unavailable")
    assert refused["reason"] == "limit_reached"
    assert ok(await ada.get(f"/bookings/{second['id']}"))["version"] == 1


# --- Approval ---------------------------------------------------------------------------------
async def test_what_a_customer_moves_is_approved_again_and_what_staff_move_is_not(
    app: FastAPI, business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service(approval="required")
    await business.provider(service)
    booking = await book(ada, service)
    assert ok(await move(ada, booking, f"{DAY}T09:30:00+01:00"))["status"] == "pending"
    assert ok(await admin.post(f"/bookings/{booking['id']}/confirm"))["status"] == "confirmed"
    assert ok(await move(admin, booking, NINE))["status"] == "confirmed"
    moved = ok(await move(ada, booking))
    assert (moved["status"], moved["sequence"]) == ("pending", 4)
    again = ok(await admin.get(f"/bookings/{booking['id']}"))
    (confirm,) = [a for a in again["allowed_actions"] if a["action"] == "confirm"]
    assert confirm["until"] == "2026-03-03T09:00:00Z"
    event = (await rows(app, "SELECT * FROM events WHERE type = 'booking.rescheduled'"))[-1]
    assert (event.before["status"], event.after["status"]) == ("confirmed", "pending")


# --- What is taken together -------------------------------------------------------------------
async def test_seats_move_from_one_session_to_another(
    app: FastAPI, business: Business, ada: Caller
) -> None:
    yoga = await business.service(capacity=3, durations_minutes=[60])
    provider = await business.provider(yoga)
    bob = await business.customer("Bob")
    mine = await book(ada, yoga, NINE, seats=2)
    await book(bob, yoga, NINE)
    theirs = await book(bob, yoga, TEN, seats=2)
    problem(await move(ada, mine), 409, "no_seats_left")
    nine, ten, eleven = (f"2026-03-03T{hour:02}:00:00+00:00" for hour in (8, 9, 10))
    assert await taken(app) == [(provider["id"], nine, 3), (provider["id"], ten, 2)]
    ok(await move(bob, theirs, f"{DAY}T11:00:00+01:00"))
    assert ok(await move(ada, mine))["seats"] == 2
    assert await taken(app) == [
        (provider["id"], nine, 1),
        (provider["id"], ten, 2),
        (provider["id"], eleven, 2),
    ]
    ok(await move(ada, mine, f"{DAY}T09:00:00+01:00"))  # and back among the others
    assert await taken(app) == [(provider["id"], nine, 3), (provider["id"], eleven, 2)]


async def test_the_room_moves_along(app: FastAPI, business: Business, ada: Caller) -> None:
    admin = await business.admin()
    rooms = [
        ok(await admin.post("/resources", {"name": name, "kind": "room"}))["id"] for name in "AB"
    ]
    service = await business.service(
        durations_minutes=[60], resource_requirements=[{"resource_kind": "room", "quantity": 1}]
    )
    one, two = [await business.provider(service) for _ in range(2)]
    first = await book(ada, service, NINE, provider_id=one["id"])
    second = await book(ada, service, TEN, provider_id=two["id"])
    moved = ok(await move(ada, first, provider_id=one["id"]))
    both = {moved["resources"][0]["id"], second["resources"][0]["id"]}
    assert both == set(rooms)
    at_ten = {subject for subject, start, _ in await taken(app) if "T09:" in start}
    assert at_ten == {one["id"], two["id"], *rooms}
    assert len(await taken(app)) == 4


async def test_everybody_who_gives_it_moves_along(
    app: FastAPI, business: Business, ada: Caller
) -> None:
    service = await business.service(assignment="collective", durations_minutes=[60])
    solo = await business.service(durations_minutes=[60])
    both = [await business.provider(service, solo) for _ in range(2)]
    booking = await book(ada, service)
    await book(ada, solo, TEN, provider_id=both[1]["id"])
    problem(await move(ada, booking), 409, "slot_taken")
    moved = ok(await move(ada, booking, f"{DAY}T11:00:00+01:00"))
    assert {p["id"] for p in moved["providers"]} == {p["id"] for p in both}
    at_eleven = {s for s, start, _ in await taken(app) if "T10:" in start}
    assert at_eleven == {p["id"] for p in both}
    assert len(await taken(app)) == 3


async def test_a_booking_stays_at_its_place(business: Business, ada: Caller) -> None:
    admin = await business.admin()
    here, there = [
        ok(await admin.post("/locations", {"name": n, "time_zone": "Europe/Paris"}))["id"]
        for n in ("here", "there")
    ]
    service = await business.service(location_ids=[here, there])
    await business.provider(service, location_ids=[here, there])
    booking = await book(ada, service, location_id=there)
    assert ok(await move(ada, booking))["location"]["id"] == there


async def test_who_works_at_no_place_in_particular_can_give_it_later_too(
    business: Business, ada: Caller
) -> None:
    admin = await business.admin()
    place = ok(await admin.post("/locations", {"name": "A", "time_zone": "Europe/Paris"}))["id"]
    service = await business.service(location_ids=[place])
    await business.provider(service)
    booking = await book(ada, service)
    assert ok(await move(ada, booking))["location"] == booking["location"]
