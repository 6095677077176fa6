"""Series: a time booked again and again, all at once, and cancelled the same way."""

from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text

from tests.business import PASSWORD, Business, Caller, Hands, ok, problem
from tests.statements import statements

# The clock says Monday, 2 March 2026, 08:00 UTC. Clocks in Paris go forward on 29 March.
TUESDAY = "2026-03-03T09:00:00+01:00"
WEEKLY = "FREQ=WEEKLY;COUNT=4"
DAYS = ["2026-03-03", "2026-03-10", "2026-03-17", "2026-03-24"]


@pytest.fixture
async def ada(business: Business) -> Caller:
    return await business.customer("Ada Lovelace")


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


def wish(service: dict[str, Any], rrule: str = WEEKLY, **fields: Any) -> dict[str, Any]:
    return {"service_id": service["id"], "start": TUESDAY, "rrule": rrule} | fields


def days(series: Any) -> list[str]:
    return [booking["start"][:10] for booking in series["bookings"]]


async def count(app: FastAPI, table: str) -> int:
    async with app.state.database.reading() as session:
        return (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()


# --- Booking ---------------------------------------------------------------------------------
async def test_a_series_is_booked_at_one_wall_time_across_the_change_of_clocks(
    business: Business, ada: Caller
) -> None:
    service = await business.service()
    provider = await business.provider(service)
    answer = await ada.post("/booking-series", wish(service, "FREQ=WEEKLY;COUNT=6"))
    series = ok(answer)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/booking-series/{series['id']}"
    assert series["rrule"] == "FREQ=WEEKLY;COUNT=6"
    assert series["provider"]["id"] == provider["id"]
    assert series["start"] == TUESDAY
    assert series["skipped"] == []
    assert [b["start"] for b in series["bookings"]] == [
        *(f"{day}T09:00:00+01:00" for day in DAYS),
        "2026-03-31T09:00:00+02:00",
        "2026-04-07T09:00:00+02:00",
    ]
    assert {b["series_id"] for b in series["bookings"]} == {series["id"]}
    shown = ok(await ada.get(f"/booking-series/{series['id']}"))
    assert shown == {name: value for name, value in series.items() if name != "skipped"}
    mine = ok(await ada.get("/bookings?sort=start"))["items"]
    assert mine == series["bookings"]


async def test_what_is_booked_is_as_if_booked_one_by_one(
    business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service(
        price={"amount": 4500, "currency": "EUR"},
        buffer_after_minutes=10,
        approval="required",
        questions=[{"key": "why", "label": "Why?", "type": "text", "required": True}],
    )
    await business.provider(service)
    extras = {"answers": {"why": "It hurts"}, "notes": "Left knee"}
    series = ok(await ada.post("/booking-series", wish(service, "FREQ=DAILY;COUNT=2", **extras)))
    alone = wish(service, **extras) | {"start": "2026-03-05T09:00:00+01:00"}
    del alone["rrule"]
    single = ok(await ada.post("/bookings", alone))
    differing = {"id", "reference", "start", "end", "series_id", "created_at", "updated_at"}
    for booking in series["bookings"]:
        assert booking["status"] == "pending"
        for name in booking.keys() - differing - {"allowed_actions"}:
            assert booking[name] == single[name], name
        history = ok(await admin.get(f"/bookings/{booking['id']}/history"))["items"]
        assert [item["type"] for item in history] == ["booking.created"]


async def test_free_times_know_of_it_at_once(business: Business, ada: Caller) -> None:
    service = await business.service()
    await business.provider(service)
    before = await business.free_times(service, "2026-03-10", "2026-03-10")
    ok(await ada.post("/booking-series", wish(service)))
    after = await business.free_times(service, "2026-03-10", "2026-03-10")
    assert [s for s in before if s not in after] == ["2026-03-10T08:00:00+00:00"]


async def test_of_several_one_gives_all_whoever_can_give_the_most(
    business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service()
    first = await business.provider(service)
    second = await business.provider(service)
    for day in DAYS[1:3]:
        body = {"service_id": service["id"], "start": f"{day}T09:00:00+01:00"}
        ok(await admin.post("/bookings", body | {"provider_id": first["id"]}))
    series = ok(await ada.post("/booking-series", wish(service)))
    assert {b["provider"]["id"] for b in series["bookings"]} == {second["id"]}
    assert days(series) == DAYS
    # Of the two, it is again the second who can give something: nothing, and two.
    refused = problem(await ada.post("/booking-series", wish(service)), 409, "slot_taken")
    assert refused["occurrence"][:10] == DAYS[1]


async def test_records_decide_between_those_who_can_give_it_all(
    business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service(assignment="round_robin")
    first = await business.provider(service)
    second = await business.provider(service)
    start = "2026-03-04T09:00:00+01:00"
    body = {"service_id": service["id"], "start": start, "provider_id": first["id"]}
    ok(await admin.post("/bookings", body))
    series = ok(await admin.post("/booking-series", wish(service)))
    assert series["provider"]["id"] == second["id"]
    assert series["bookings"][0]["assignment"]["strategy"] == "round_robin"
    assert series["bookings"][0]["assignment"]["candidates"] == 2


async def test_each_provider_repeats_on_their_own_clock(business: Business, ada: Caller) -> None:
    service = await business.service(capacity=2, slot_interval_minutes=5)
    hours = {day: [("00:00", "24:00")] for day in ("monday", "tuesday", "wednesday")}
    tokyo = await business.provider(service, zone="Asia/Tokyo", hours=hours)
    # A Tuesday in Paris is one in Tokyo until 16:00 only.
    late = {"start": "2026-03-03T23:00:00+01:00", "provider_id": tokyo["id"]}
    answer = await ada.post(
        "/booking-series", wish(service, "FREQ=WEEKLY;BYDAY=TU;COUNT=2", **late)
    )
    assert problem(answer, 422, "validation_failed")["errors"][0]["pointer"] == "#/rrule"
    series = ok(
        await ada.post("/booking-series", wish(service, "FREQ=WEEKLY;BYDAY=WE;COUNT=5", **late))
    )
    assert {b["start"][10:] for b in series["bookings"]} == {"T07:00:00+09:00"}


# --- Conflicts -------------------------------------------------------------------------------
async def test_the_first_conflict_refuses_all_of_it(
    app: FastAPI, business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service()
    await business.provider(service)
    taken = {"service_id": service["id"], "start": "2026-03-17T09:00:00+01:00"}
    ok(await admin.post("/bookings", taken))
    refused = problem(await ada.post("/booking-series", wish(service)), 409, "slot_taken")
    assert refused["occurrence"] == "2026-03-17T08:00:00+00:00"
    assert await count(app, "bookings") == 1
    assert await count(app, "booking_series") == 0


async def test_what_cannot_be_had_is_left_out_if_so_wished(
    business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service(booking_window_days=30)
    provider = await business.provider(service)
    ok(await admin.post("/bookings", {"service_id": service["id"], "start": TUESDAY}))
    off = {"start": "2026-03-17T00:00:00+01:00", "end": "2026-03-18T00:00:00+01:00"}
    ok(await admin.post(f"/providers/{provider['id']}/time-off", off))
    series = ok(
        await ada.post("/booking-series", wish(service, "FREQ=WEEKLY;COUNT=6", on_conflict="skip"))
    )
    assert days(series) == [DAYS[1], DAYS[3], "2026-03-31"]
    assert series["skipped"] == [
        {"start": TUESDAY, "code": "slot_taken", "reason": None},
        {"start": "2026-03-17T09:00:00+01:00", "code": "slot_unavailable", "reason": "time_off"},
        {
            "start": "2026-04-07T09:00:00+02:00",
            "code": "slot_unavailable",
            "reason": "beyond_window",
        },
    ]


async def test_of_nothing_there_is_no_series(business: Business, ada: Caller) -> None:
    service = await business.service()
    await business.provider(service)
    night = {"start": "2026-03-03T03:00:00+01:00", "on_conflict": "skip"}
    refused = problem(
        await ada.post("/booking-series", wish(service, **night)), 422, "slot_unavailable"
    )
    assert refused["reason"] == "outside_working_hours"
    assert refused["occurrence"] == "2026-03-03T02:00:00+00:00"


async def test_occurrences_may_be_in_each_others_way(business: Business, ada: Caller) -> None:
    hours = {day: [("00:00", "24:00")] for day in ("tuesday", "wednesday", "thursday", "friday")}
    service = await business.service(durations_minutes=[1440], buffer_after_minutes=30)
    await business.provider(service, hours=hours)
    midnight = {"start": "2026-03-03T00:00:00+01:00", "on_conflict": "skip"}
    series = ok(await ada.post("/booking-series", wish(service, "FREQ=DAILY;COUNT=4", **midnight)))
    assert days(series) == ["2026-03-03", "2026-03-05"]
    assert [s["code"] for s in series["skipped"]] == ["slot_taken"] * 2


async def test_what_a_provider_may_give_a_week_is_counted_along(
    business: Business, ada: Caller
) -> None:
    service = await business.service(limits={"per_week": 2})
    await business.provider(service)
    series = ok(
        await ada.post("/booking-series", wish(service, "FREQ=DAILY;COUNT=9", on_conflict="skip"))
    )
    assert days(series) == ["2026-03-03", "2026-03-04", "2026-03-09", "2026-03-10"]
    assert {s["reason"] for s in series["skipped"]} == {"limit_reached", "outside_working_hours"}


async def test_what_a_customer_may_have_is_counted_along(
    business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service(limits={"per_customer_active": 3})
    await business.provider(service)
    ok(
        await ada.post(
            "/bookings", {"service_id": service["id"], "start": TUESDAY[:11] + "11:00:00+01:00"}
        )
    )
    refused = problem(await ada.post("/booking-series", wish(service)), 422, "slot_unavailable")
    assert (refused["reason"], refused["occurrence"][:10]) == ("limit_reached", DAYS[2])
    series = ok(await ada.post("/booking-series", wish(service, on_conflict="skip")))
    assert days(series) == DAYS[:2]
    assert [s["reason"] for s in series["skipped"]] == ["limit_reached"] * 2


async def test_a_customer_may_have_a_service_once_a_day(business: Business, ada: Caller) -> None:
    service = await business.service(limits={"per_customer_per_day": 1})
    await business.provider(service)
    body = {"service_id": service["id"], "start": "2026-03-10T11:00:00+01:00"}
    ok(await ada.post("/bookings", body))
    series = ok(await ada.post("/booking-series", wish(service, on_conflict="skip")))
    assert days(series) == [DAYS[0], *DAYS[2:]]


async def test_group_sessions_are_joined_and_begun(
    app: FastAPI, business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service(capacity=3)
    await business.provider(service)
    ok(await admin.post("/bookings", {"service_id": service["id"], "start": TUESDAY, "seats": 2}))
    joined = ok(await ada.post("/booking-series", wish(service)))
    assert days(joined) == DAYS
    assert await count(app, "allocations") == 4
    full = ok(await ada.post("/booking-series", wish(service, seats=2, on_conflict="skip")))
    assert days(full) == DAYS[1:]
    assert full["skipped"][0]["code"] == "no_seats_left"
    ok(await ada.post(f"/booking-series/{full['id']}/cancel", {"scope": "all"}))
    ok(await ada.post(f"/booking-series/{joined['id']}/cancel", {"scope": "all"}))
    assert await count(app, "allocations") == 1
    assert await count(app, "session_seats") == 1


async def test_rooms_are_held_with_it(app: FastAPI, business: Business, admin: Caller) -> None:
    service = await business.service(
        resource_requirements=[{"resource_kind": "room", "quantity": 1}]
    )
    await business.provider(service)
    for name in ("Blue", "Red"):
        ok(await admin.post("/resources", {"name": name, "kind": "room"}))
    series = ok(await admin.post("/booking-series", wish(service)))
    assert {b["resources"][0]["name"] for b in series["bookings"]} == {"Blue"}
    assert await count(app, "allocations") == 2 * len(DAYS)
    ok(await admin.post(f"/booking-series/{series['id']}/cancel", {"scope": "all"}))
    assert await count(app, "allocations") == 0


async def test_all_together_give_a_series_of_what_all_give(
    business: Business, admin: Caller
) -> None:
    service = await business.service(assignment="collective")
    ids = {(await business.provider(service))["id"] for _ in range(2)}
    series = ok(await admin.post("/booking-series", wish(service)))
    assert [{p["id"] for p in b["providers"]} for b in series["bookings"]] == [ids] * 4


# --- What is not a series ----------------------------------------------------------------------
@pytest.mark.parametrize(
    "rrule",
    [
        "FREQ=WEEKLY",
        "FREQ=WEEKLY;COUNT=53",
        "FREQ=DAILY;UNTIL=20261231",
        "FREQ=SECONDLY;COUNT=99999999",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=31;COUNT=3",
        "FREQ=WEEKLY;BYDAY=WE;COUNT=4",
        "FREQ=DAILY;UNTIL=20260302",
        "FREQ=WEEKLY;COUNT=4\nEXDATE:20260310T080000Z",
        "A" * 201,
    ],
)
async def test_a_rule_that_cannot_be_followed_is_refused(
    business: Business, ada: Caller, rrule: str
) -> None:
    service = await business.service()
    await business.provider(service)
    answer = await ada.post("/booking-series", wish(service, rrule))
    assert problem(answer, 422, "validation_failed")["errors"][0]["pointer"] == "#/rrule"


async def test_only_staff_books_for_others(business: Business, ada: Caller, admin: Caller) -> None:
    service = await business.service()
    await business.provider(service)
    for_ada = wish(service, customer_id=ada.user["id"])
    grace = await business.customer()
    problem(await grace.post("/booking-series", for_ada), 403, "forbidden")
    series = ok(await admin.post("/booking-series", for_ada))
    assert {b["customer"]["id"] for b in series["bookings"]} == {ada.user["id"]}
    path = f"/booking-series/{series['id']}"
    assert ok(await ada.get(path))["id"] == series["id"]
    for answer in (await grace.get(path), await grace.post(f"{path}/cancel", {"scope": "all"})):
        problem(answer, 404, "not_found")
    nobody = wish(service, customer_id=series["id"], start="2026-03-04T09:00:00+01:00")
    answer = await admin.post("/booking-series", nobody)
    assert problem(answer, 422, "validation_failed")["errors"][0]["pointer"] == "#/customer_id"


async def test_a_key_books_a_series_once(app: FastAPI, business: Business, ada: Caller) -> None:
    service = await business.service()
    await business.provider(service)
    key = {"Idempotency-Key": "k"}
    first = await ada.post("/booking-series", wish(service), headers=key)
    again = await ada.post("/booking-series", wish(service), headers=key)
    assert again.content == first.content
    assert await count(app, "bookings") == 4


# --- Cancelling ------------------------------------------------------------------------------
async def test_all_that_lies_ahead_is_cancelled(
    app: FastAPI, business: Business, ada: Caller, clock: Hands
) -> None:
    service = await business.service()
    await business.provider(service)
    series = ok(await ada.post("/booking-series", wish(service)))
    first, second, *rest = series["bookings"]
    ok(await ada.post(f"/bookings/{rest[0]['id']}/cancel"))
    clock.advance(days=2)
    ada = await business.log_in(ada.user["email"], PASSWORD)
    body = {"scope": "all", "reason": "I am moving"}
    done = ok(await ada.post(f"/booking-series/{series['id']}/cancel", body))
    assert [b["id"] for b in done["cancelled"]] == [second["id"], rest[1]["id"]]
    assert done["skipped"] == []
    for booking in done["cancelled"]:
        assert booking["status"] == "cancelled"
        assert booking["cancelled"]["by"] == "customer"
        assert booking["cancelled"]["reason"] == "I am moving"
        assert (booking["sequence"], booking["version"]) == (1, 2)
        history = ok(await ada.get(f"/bookings/{booking['id']}/history"))["items"]
        assert [item["type"] for item in history] == ["booking.created", "booking.cancelled"]
        assert history[1]["after"]["status"] == "cancelled"
    assert ok(await ada.get(f"/bookings/{first['id']}"))["status"] == "confirmed"
    assert await count(app, "allocations") == 1
    again = ok(await ada.post(f"/booking-series/{series['id']}/cancel", body))
    assert again["cancelled"] == []


async def test_what_follows_a_moment_is_cancelled(business: Business, ada: Caller) -> None:
    service = await business.service()
    await business.provider(service)
    series = ok(await ada.post("/booking-series", wish(service)))
    path = f"/booking-series/{series['id']}/cancel"
    done = ok(await ada.post(path, {"scope": "following", "from": "2026-03-17T08:00:00Z"}))
    assert [b["start"][:10] for b in done["cancelled"]] == DAYS[2:]
    for wrong in ({"scope": "following"}, {"scope": "all", "from": TUESDAY}, {}):
        problem(await ada.post(path, wrong), 422, "validation_failed")


async def test_deadlines_bind_customers_and_not_staff(
    business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service(cancel_until_minutes=3 * 24 * 60)
    await business.provider(service)
    series = ok(await ada.post("/booking-series", wish(service)))
    path = f"/booking-series/{series['id']}/cancel"
    done = ok(await ada.post(path, {"scope": "all"}))
    assert [b["start"][:10] for b in done["cancelled"]] == DAYS[1:]
    assert done["skipped"] == [
        {"start": TUESDAY, "code": "policy_violation", "reason": "cancel_deadline_passed"}
    ]
    by_staff = ok(await admin.post(path, {"scope": "all"}))
    assert [b["cancelled"]["by"] for b in by_staff["cancelled"]] == ["staff"]


async def test_who_has_not_seen_the_last_change_cancels_nothing(
    business: Business, ada: Caller
) -> None:
    service = await business.service()
    await business.provider(service)
    created = await ada.post("/booking-series", wish(service))
    path = f"/booking-series/{ok(created)['id']}/cancel"
    seen = {"If-Match": created.headers["etag"]}
    following = {"scope": "following", "from": "2026-03-17T08:00:00Z"}
    ok(await ada.post(path, following, headers=seen))
    problem(await ada.post(path, {"scope": "all"}, headers=seen), 412, "version_mismatch")


async def test_time_off_gets_back_what_it_is_declared_for(
    business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service()
    provider = await business.provider(service)
    series = ok(await ada.post("/booking-series", wish(service)))
    off = {"start": "2026-03-09T00:00:00+01:00", "end": "2026-03-12T00:00:00+01:00"}
    ok(await admin.post(f"/providers/{provider['id']}/time-off", off))
    ok(await ada.post(f"/booking-series/{series['id']}/cancel", {"scope": "all"}))
    assert await business.free_times(service, "2026-03-10", "2026-03-10") == []
    assert len(await business.free_times(service, "2026-03-17", "2026-03-17")) == 16


# --- What it costs ---------------------------------------------------------------------------
async def test_round_trips_do_not_grow_with_the_number(
    app: FastAPI, business: Business, ada: Caller
) -> None:
    service = await business.service(approval="required", limits={"per_customer_active": 200})
    await business.provider(service)
    app.state.authenticator._standings.seconds = float("inf")
    ok(await ada.get("/auth/me"))
    with statements(app) as sent:
        booking, cancelling = [], []
        for number, start in ((2, "09:00"), (50, "10:00")):
            body = wish(service, f"FREQ=WEEKLY;COUNT={number}") | {
                "start": TUESDAY.replace("09:00", start, 1)
            }
            sent.clear()
            series = ok(await ada.post("/booking-series", body))
            booking.append(len(sent))
            sent.clear()
            done = ok(await ada.post(f"/booking-series/{series['id']}/cancel", {"scope": "all"}))
            cancelling.append(len(sent))
            assert len(done["cancelled"]) == len(series["bookings"]) == number
    assert booking[0] == booking[1] <= 9
    assert cancelling[0] == cancelling[1] <= 7
