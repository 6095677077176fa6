"""What may be taken together: sessions, resources, limits, everybody at once; and why not."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import select, text

from app.availability.service import How, takings
from app.core.ids import new_id
from app.core.prepared import Prepared
from tests.business import Business, Caller, Hands, execute, ok, problem

PARIS = {"time_zone": "Europe/Paris"}
TUESDAY = "2026-03-03"
NINE = "2026-03-03T09:00:00+01:00"
TEN = "2026-03-03T10:00:00+01:00"


async def resource(business: Business, kind: str = "room", **fields: Any) -> dict[str, Any]:
    body = {"name": "A room", "kind": kind} | fields
    return ok(await (await business.admin()).post("/resources", body))


async def slots(business: Business, service: dict[str, Any], **query: Any) -> dict[str, int]:
    """The free starts of Tuesday with the seats left."""
    params = {"service_id": service["id"], "start": TUESDAY, "end": TUESDAY} | PARIS | query
    answer = ok(await business.client.get("/api/v1/availability", params=params))
    return {slot["start"]: slot["seats_left"] for slot in answer["days"][0]["slots"]}


async def explain(business: Business, service: dict[str, Any], start: str, **query: Any) -> Any:
    params = {"service_id": service["id"], "start": start} | query
    return ok(await business.client.get("/api/v1/availability/explain", params=params))


async def book(caller: Caller, service: dict[str, Any], start: str, **fields: Any) -> Any:
    return await caller.post("/bookings", {"service_id": service["id"], "start": start} | fields)


async def test_a_session_is_shared_until_its_seats_are_gone(business: Business) -> None:
    yoga = await business.service(capacity=3, durations_minutes=[60])
    await business.provider(yoga)
    ada, bob = await business.customer(), await business.customer()
    assert (await slots(business, yoga))[NINE] == 3
    first = ok(await book(ada, yoga, NINE))
    assert (await slots(business, yoga))[NINE] == 2
    ok(await book(bob, yoga, NINE, seats=2))
    assert NINE not in await slots(business, yoga)
    problem(await book(bob, yoga, NINE), 409, "no_seats_left")
    ok(await ada.post(f"/bookings/{first['id']}/cancel"))
    assert (await slots(business, yoga))[NINE] == 1
    assert NINE not in await slots(business, yoga, seats=2)
    problem(await book(ada, yoga, NINE, seats=2), 409, "no_seats_left")


async def test_a_full_session_that_has_begun_is_past_before_it_is_full(
    business: Business, clock: Hands
) -> None:
    yoga = await business.service(capacity=2, durations_minutes=[60])
    await business.provider(yoga)
    soon = "2026-03-02T10:00:00+01:00"
    ada = await business.customer()
    ok(await book(ada, yoga, soon, seats=2))
    clock.advance(minutes=61)
    ada = await business.customer()
    assert problem(await book(ada, yoga, soon), 422, "slot_unavailable")["reason"] == "past"
    reasons = (await explain(business, yoga, soon))["reasons"]
    assert [r["reason"] for r in reasons] == ["past"]


async def test_seats_are_not_taken_beyond_capacity_whatever_was_judged(
    business: Business, app: FastAPI
) -> None:
    yoga = await business.service(capacity=3, durations_minutes=[60])
    await business.provider(yoga)
    ok(await book(await business.customer(), yoga, NINE, seats=2))
    taken, parts = takings()[How.SEATS]
    join = Prepared(select(taken.c.id).add_cte(*parts))
    async with app.state.database.transaction() as session:
        (row,) = await session.execute(text("SELECT id, subject_id FROM allocations"))
        joining = {
            "taken_id": row.id,
            "taken_lead_id": row.subject_id,
            "taken_claim_expires_at": None,
        }
        for seats, expected in ((2, 0), (1, 1), (1, 0)):
            claim = {"taken_claim_id": new_id(), "taken_seats": seats}
            assert len(await join.all(session, joining | claim)) == expected
        seats = await session.execute(text("SELECT sum(seats) FROM session_seats"))
        assert seats.scalar_one() == 3


async def test_a_session_that_everybody_left_is_free_for_other_services(
    business: Business,
) -> None:
    yoga = await business.service(capacity=2, durations_minutes=[60])
    talk = await business.service()
    await business.provider(yoga, talk)
    ada = await business.customer()
    session = ok(await book(ada, yoga, NINE))
    problem(await book(ada, talk, NINE), 409, "slot_taken")
    ok(await ada.post(f"/bookings/{session['id']}/cancel"))
    ok(await book(ada, talk, NINE))


async def test_more_seats_than_a_session_has_are_not_offered(business: Business) -> None:
    yoga = await business.service(capacity=2)
    await business.provider(yoga)
    ada = await business.customer()
    assert await slots(business, yoga, seats=3) == {}
    answer = problem(await book(ada, yoga, NINE, seats=3), 422, "slot_unavailable")
    assert answer["reason"] == "not_offered"


async def test_a_slot_needs_its_room_for_all_of_its_time(business: Business) -> None:
    massage = await business.service(
        durations_minutes=[60], resource_requirements=[{"resource_kind": "room", "quantity": 1}]
    )
    for _ in range(2):
        await business.provider(massage)
    ada = await business.customer()
    assert NINE not in await slots(business, massage)
    await resource(business)
    assert NINE in await slots(business, massage)
    booked = ok(await book(ada, massage, NINE))
    assert NINE not in await slots(business, massage)
    answer = problem(await book(ada, massage, NINE), 422, "slot_unavailable")
    assert answer["reason"] == "resource_busy"
    reasons = {r["reason"] for r in (await explain(business, massage, NINE))["reasons"]}
    assert "resource_busy" in reasons
    ok(await ada.post(f"/bookings/{booked['id']}/cancel"))
    assert NINE in await slots(business, massage)


async def test_a_limit_a_day_closes_the_providers_day(business: Business) -> None:
    checkup = await business.service(limits={"per_day": 2})
    await business.provider(checkup)
    ada = await business.customer()
    ok(await book(ada, checkup, NINE))
    second = ok(await book(ada, checkup, TEN))
    assert await slots(business, checkup) == {}
    assert (await explain(business, checkup, "2026-03-03T12:00:00+01:00"))["reasons"][0][
        "reason"
    ] == "limit_reached"
    answer = problem(await book(ada, checkup, "2026-03-03T12:00:00+01:00"), 422, "slot_unavailable")
    assert answer["reason"] == "limit_reached"
    assert await business.free_times(checkup, "2026-03-04", "2026-03-04")
    ok(await ada.post(f"/bookings/{second['id']}/cancel"))
    assert TEN in await slots(business, checkup)


async def test_a_limit_a_week_ends_on_sunday(business: Business) -> None:
    checkup = await business.service(limits={"per_week": 1})
    await business.provider(checkup)
    ada = await business.customer()
    ok(await book(ada, checkup, NINE))
    assert await business.free_times(checkup, "2026-03-02", "2026-03-08") == []
    assert await business.free_times(checkup, "2026-03-09", "2026-03-09")


@pytest.mark.parametrize(
    ("limits", "others"),
    [
        ({"per_customer_active": 1}, "2026-03-05T09:00:00+01:00"),
        ({"per_customer_per_day": 1}, TEN),
    ],
)
async def test_a_customer_has_limits_of_their_own(
    business: Business, limits: dict[str, int], others: str
) -> None:
    checkup = await business.service(limits=limits)
    await business.provider(checkup)
    ada, bob = await business.customer(), await business.customer()
    first = ok(await book(ada, checkup, NINE))
    answer = problem(await book(ada, checkup, others), 422, "slot_unavailable")
    assert answer["reason"] == "limit_reached"
    assert others in await business.free_times(checkup, TUESDAY, "2026-03-05", **PARIS)
    ok(await book(bob, checkup, others))
    ok(await ada.post(f"/bookings/{first['id']}/cancel"))
    ok(await book(ada, checkup, "2026-03-05T10:00:00+01:00"))


async def test_a_collective_service_takes_everybody(business: Business) -> None:
    board = await business.service(assignment="collective", durations_minutes=[60])
    talk = await business.service(durations_minutes=[60])
    first = await business.provider(board, talk)
    second = await business.provider(board, talk)
    ada = await business.customer()
    ok(await book(ada, talk, TEN, provider_id=second["id"]))
    free = await slots(business, board)
    assert NINE in free
    assert TEN not in free
    booked = ok(await book(ada, board, NINE))
    for provider in (first, second):
        problem(await book(ada, talk, NINE, provider_id=provider["id"]), 409, "slot_taken")
    ok(await ada.post(f"/bookings/{booked['id']}/cancel"))
    for provider in (first, second):
        ok(await book(ada, talk, NINE, provider_id=provider["id"]))


async def test_who_moves_a_booking_sees_its_own_time_as_free(business: Business) -> None:
    talk = await business.service(durations_minutes=[60], slot_interval_minutes=30)
    await business.provider(talk)
    ada = await business.customer()
    booking = ok(await book(ada, talk, NINE))
    assert NINE not in await slots(business, talk)
    free = await slots(business, talk, exclude_booking_id=booking["id"])
    assert NINE in free
    assert "2026-03-03T09:30:00+01:00" in free


async def test_days_are_counted(business: Business) -> None:
    talk = await business.service(durations_minutes=[60])
    await business.provider(talk)
    params = {"service_id": talk["id"], "start": "2026-03-06", "end": "2026-03-09"}
    response = await business.client.get("/api/v1/availability/days", params=params)
    assert ok(response) == [
        {"date": "2026-03-06", "slots": 8},
        {"date": "2026-03-07", "slots": 0},
        {"date": "2026-03-08", "slots": 0},
        {"date": "2026-03-09", "slots": 8},
    ]
    tag = {"If-None-Match": response.headers["etag"]}
    again = await business.client.get("/api/v1/availability/days", params=params, headers=tag)
    assert again.status_code == 304


async def test_the_next_times_begin_now(business: Business) -> None:
    talk = await business.service(durations_minutes=[60])
    await business.provider(talk)
    params = {"service_id": talk["id"], "count": 9}
    answer = ok(await business.client.get("/api/v1/availability/next", params=params))
    starts = [slot["start"] for slot in answer["slots"]]
    # It is nine o'clock in Paris on a Monday; eight slots are left of the day.
    assert starts[::7] == ["2026-03-02T08:00:00+00:00", "2026-03-02T15:00:00+00:00"]
    assert starts[8:] == ["2026-03-03T08:00:00+00:00"]
    ada = await business.customer()
    for start in starts:
        ok(await book(ada, talk, start))
    later = ok(await business.client.get("/api/v1/availability/next", params=params))
    assert not set(starts) & {slot["start"] for slot in later["slots"]}


async def test_the_next_time_may_be_months_away(business: Business, app: FastAPI) -> None:
    talk = await business.service()
    provider = await business.provider(talk, hours={})
    await execute(
        app,
        "INSERT INTO schedule_overrides (provider_id, day, intervals)"
        " VALUES (:id, '2026-09-01', '[[540, 570]]')",
        id=provider["id"],
    )
    params = {"service_id": talk["id"], "time_zone": "Europe/Paris"}
    answer = ok(await business.client.get("/api/v1/availability/next", params=params))
    assert [slot["start"] for slot in answer["slots"]] == ["2026-09-01T09:00:00+02:00"]


async def test_an_ended_hold_is_in_nobodys_way(business: Business, app: FastAPI) -> None:
    talk = await business.service()
    provider = await business.provider(talk)
    ada = await business.customer()
    hold = (
        "INSERT INTO allocations (id, subject_id, during, kind, expires_at) VALUES"
        " (gen_random_uuid(), :id, tstzrange(:start, :end), 'hold', :ends)"
    )
    start = datetime.fromisoformat(NINE)
    values = {"id": UUID(provider["id"]), "start": start, "end": start + timedelta(minutes=30)}
    await execute(app, hold, ends=app.state.clock() + timedelta(minutes=10), **values)
    assert NINE not in await slots(business, talk)
    problem(await book(ada, talk, NINE), 409, "slot_held")
    app.state.clock.advance(minutes=10)
    assert NINE in await slots(business, talk)
    ok(await book(ada, talk, NINE))
