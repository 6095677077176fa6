"""Time off: taken time that gives way to what was booked before."""

import asyncio
from datetime import datetime
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import Range

from app.availability.time_off_repository import refill
from app.availability.time_off_service import lock_subjects
from tests.business import Business, Caller, Hands, calendar_version, execute, grant, ok, problem

NOWHERE = "0199f0c0-0000-7000-8000-000000000000"
TUESDAY = "2026-03-03"


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    return await business.service(durations_minutes=[60])


@pytest.fixture
async def provider(business: Business, service: dict[str, Any]) -> dict[str, Any]:
    """From 09:00 to 17:00 UTC on weekdays."""
    return await business.provider(service, zone="UTC")


def at(hour: int, minute: int = 0) -> str:
    """An instant on Tuesday, UTC."""
    return f"{TUESDAY}T{hour:02}:{minute:02}:00Z"


def path(provider: dict[str, Any]) -> str:
    return f"/providers/{provider['id']}/time-off"


async def away(
    who: Caller, provider: dict[str, Any], start: str, end: str, **more: Any
) -> dict[str, Any]:
    return ok(await who.post(path(provider), {"start": start, "end": end} | more))


async def back(who: Caller, provider: dict[str, Any], time_off: dict[str, Any]) -> None:
    answer = await who.delete(f"{path(provider)}/{time_off['id']}")
    assert (answer.status_code, answer.content) == (204, b"")


async def free(business: Business, service: dict[str, Any], day: str = TUESDAY) -> list[int]:
    """The hours at which the service is free."""
    return [int(start[11:13]) for start in await business.free_times(service, day, day)]


async def pieces(app: FastAPI, provider: dict[str, Any]) -> list[tuple[str, str]]:
    """The provider's time that time off has taken."""
    statement = text(
        "SELECT lower(during), upper(during) FROM allocations"
        " WHERE subject_id = :id AND kind = 'time_off' ORDER BY during"
    )
    async with app.state.database.reading() as session:
        rows = await session.execute(statement, {"id": UUID(provider["id"])})
    return [(start.strftime("%d %H:%M"), end.strftime("%d %H:%M")) for start, end in rows]


def on_tuesday(*spans: tuple[str, str]) -> list[tuple[str, str]]:
    return [(f"03 {start}", f"03 {end}") for start, end in spans]


# --- Taking -----------------------------------------------------------------------------------
async def test_nothing_is_free_during_time_off(
    business: Business, admin: Caller, service: dict[str, Any], provider: dict[str, Any]
) -> None:
    answer = await admin.post(path(provider), {"start": at(11), "end": at(14), "reason": "Dentist"})
    time_off = ok(answer)
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert time_off.pop("bookings_outside") == []
    assert time_off == time_off | {
        "provider_id": provider["id"],
        "start": at(11),
        "end": at(14),
        "reason": "Dentist",
        "version": 1,
    }
    assert ok(await admin.get(path(provider)))["items"] == [time_off]
    assert await free(business, service) == [9, 10, 14, 15, 16]
    body = {"service_id": service["id"], "start": at(12)}
    refused = await (await business.customer()).post("/bookings", body)
    assert problem(refused, 422, "slot_unavailable")["reason"] == "time_off"
    await back(admin, provider, time_off)
    assert await free(business, service) == [9, 10, 11, 12, 13, 14, 15, 16]
    assert ok(await admin.get(path(provider)))["items"] == []


async def test_time_off_gives_way_to_what_is_booked_and_tells_it(
    app: FastAPI, business: Business, admin: Caller, service: dict[str, Any], provider: Any
) -> None:
    bookings = [await business.booking(service, at(hour)) for hour in (9, 11, 13)]
    time_off = await away(admin, provider, at(10, 30), at(13, 30))
    assert time_off["bookings_outside"] == [
        {name: booking[name] for name in ("id", "reference", "start", "end")}
        for booking in bookings[1:]
    ]
    assert await pieces(app, provider) == on_tuesday(("10:30", "11:00"), ("12:00", "13:00"))
    assert await free(business, service) == [14, 15, 16]
    for booking in bookings:
        assert ok(await admin.get(f"/bookings/{booking['id']}"))["status"] == "confirmed"
    await back(admin, provider, time_off)
    assert await pieces(app, provider) == []
    assert await free(business, service) == [10, 12, 14, 15, 16]


async def test_what_overlaps_is_off_until_the_last_is_given_back(
    app: FastAPI, business: Business, admin: Caller, service: dict[str, Any], provider: Any
) -> None:
    await business.booking(service, at(12))
    first = await away(admin, provider, at(9), at(13))
    second = await away(admin, provider, at(11), at(15))
    third = await away(admin, provider, at(11), at(15))
    assert await free(business, service) == [15, 16]
    await back(admin, provider, second)
    assert await free(business, service) == [15, 16]
    await back(admin, provider, first)
    assert await free(business, service) == [9, 10, 15, 16]
    assert await pieces(app, provider) == on_tuesday(("11:00", "12:00"), ("13:00", "15:00"))
    await back(admin, provider, third)
    assert await pieces(app, provider) == []


@pytest.mark.parametrize("first_goes", [True, False])
async def test_a_piece_that_two_share_survives_either(
    app: FastAPI, admin: Caller, provider: dict[str, Any], *, first_goes: bool
) -> None:
    first = await away(admin, provider, at(9), at(13))
    second = await away(admin, provider, at(11), at(15))
    await back(admin, provider, first if first_goes else second)
    left = ("11:00", "15:00") if first_goes else ("09:00", "13:00")
    taken = await pieces(app, provider)
    assert (taken[0][0], taken[-1][1]) == on_tuesday(left)[0]
    assert all(a[1] == b[0] for a, b in pairwise(taken))


async def test_a_hold_that_is_over_is_not_in_the_way_and_one_that_lives_is(
    app: FastAPI, admin: Caller, provider: dict[str, Any]
) -> None:
    for hour, expires in ((9, "2026-03-02 08:00Z"), (11, "2026-03-02 08:01Z")):
        await execute(
            app,
            "INSERT INTO allocations (id, subject_id, during, kind, expires_at) VALUES"
            f" (gen_random_uuid(), :id, tstzrange('{at(hour)}', '{at(hour + 1)}'), 'hold',"
            f" '{expires}')",
            id=UUID(provider["id"]),
        )
    await away(admin, provider, at(9), at(13))
    assert await pieces(app, provider) == on_tuesday(("09:00", "11:00"), ("12:00", "13:00"))


async def test_what_is_given_back_during_time_off_becomes_time_off(
    app: FastAPI, admin: Caller, business: Business, service: dict[str, Any], provider: Any
) -> None:
    await business.booking(service, at(10))
    await business.booking(service, at(12))
    await away(admin, provider, at(10, 30), at(13))
    subject = UUID(provider["id"])
    given_back = Range(datetime.fromisoformat(at(10)), datetime.fromisoformat(at(11)))
    async with app.state.database.transaction() as session:
        await lock_subjects(session, [subject])
        await session.execute(
            text("UPDATE bookings SET status = 'cancelled', allocation_id = NULL")
        )
        gone = "DELETE FROM allocations WHERE subject_id = :id AND kind = 'booking'"
        await session.execute(text(gone), {"id": subject})
        await refill(session, subject, given_back)
    # Only what was asked for, and only what is off.
    assert await pieces(app, provider) == on_tuesday(("10:30", "11:00"), ("11:00", "12:00"))


async def test_a_booking_that_is_cancelled_during_time_off_leaves_no_free_time(
    business: Business, admin: Caller, service: dict[str, Any], provider: dict[str, Any]
) -> None:
    inside = await business.booking(service, at(11))
    across = await business.booking(service, at(9))
    await away(admin, provider, at(9, 30), at(13))
    for booking in (inside, across):
        ok(await admin.post(f"/bookings/{booking['id']}/cancel", {}))
    assert await free(business, service) == [13, 14, 15, 16]


async def held(
    business: Business, service: dict[str, Any], start: str
) -> tuple[Caller, dict[str, Any]]:
    """Somebody, and a hold of theirs, which ends after five minutes."""
    customer = await business.customer()
    body = {"service_id": service["id"], "start": start}
    return customer, ok(await customer.post("/holds", body))


async def test_what_is_held_can_be_booked_although_somebody_takes_time_off(
    business: Business, admin: Caller, service: dict[str, Any], provider: dict[str, Any]
) -> None:
    customer, hold = await held(business, service, at(11))
    await away(admin, provider, at(9), at(13))
    body = {"service_id": service["id"], "start": at(11), "hold_id": hold["id"]}
    ok(await customer.post("/bookings", body | {"hold_secret": hold["secret"]}))


async def test_a_hold_that_ends_during_time_off_leaves_no_free_time(
    business: Business,
    admin: Caller,
    service: dict[str, Any],
    provider: dict[str, Any],
    clock: Hands,
) -> None:
    customer, _ = await held(business, service, at(11))
    await away(admin, provider, at(9), at(13))
    clock.advance(minutes=6)
    assert await free(business, service) == [13, 14, 15, 16]
    refused = await customer.post("/bookings", {"service_id": service["id"], "start": at(11)})
    assert problem(refused, 422, "slot_unavailable")["reason"] == "time_off"


async def test_a_booking_does_not_move_within_time_off(
    business: Business, admin: Caller, provider: dict[str, Any]
) -> None:
    service = await business.service(durations_minutes=[60, 30], slot_interval_minutes=30)
    path = f"/services/{service['id']}/providers"
    ok(await admin.put(path, {"providers": [{"provider_id": provider["id"]}]}))
    customer = await business.customer()
    booking = await business.booking(service, at(10), caller=customer)
    await away(admin, provider, at(9), at(13))
    query = {"duration_minutes": 30, "exclude_booking_id": booking["id"]}
    assert at(10, 30) not in await business.free_times(service, TUESDAY, TUESDAY, **query)
    move = {"start": at(10, 30), "duration_minutes": 30}
    refused = await customer.post(f"/bookings/{booking['id']}/reschedule", move)
    assert problem(refused, 422, "slot_unavailable")["reason"] == "time_off"


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        ({"start": at(11), "end": at(11)}, "#"),
        ({"start": at(11), "end": at(10)}, "#"),
        ({"start": "2026-03-03T00:00:00Z", "end": "2028-03-05T00:00:00Z"}, "#"),
        ({"start": at(11)}, "#/end"),
        ({"start": at(11), "end": "2026-03-03T12:00:00"}, "#/end"),
        ({"start": TUESDAY, "end": at(12)}, "#/start"),
        ({"start": at(11), "end": at(12), "reason": "x" * 501}, "#/reason"),
        ({"start": at(11), "end": at(12), "reason": "\x1b"}, "#/reason"),
        ({"start": at(11), "end": at(12), "colour": "red"}, "#/colour"),
    ],
)
async def test_time_off_that_makes_no_sense_is_refused(
    admin: Caller, provider: dict[str, Any], wanted: dict[str, Any], pointer: str
) -> None:
    body = problem(await admin.post(path(provider), wanted), 422, "validation_failed")
    assert [error["pointer"] for error in body["errors"]] == [pointer]
    assert ok(await admin.get(path(provider)))["items"] == []


async def test_two_years_off_are_one_allocation(
    app: FastAPI, admin: Caller, provider: dict[str, Any]
) -> None:
    await away(admin, provider, "2026-03-03T00:00:00Z", "2028-03-03T00:00:00Z")
    assert len(await pieces(app, provider)) == 1


async def test_the_same_request_again_takes_no_more(
    app: FastAPI, admin: Caller, provider: dict[str, Any]
) -> None:
    body, key = {"start": at(9), "end": at(10)}, {"Idempotency-Key": "k"}
    first = await admin.post(path(provider), body, headers=key)
    again = await admin.post(path(provider), body, headers=key)
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    assert len(ok(await admin.get(path(provider)))["items"]) == 1


# --- Lists ------------------------------------------------------------------------------------
async def test_time_off_is_listed_by_start_and_found_by_range(
    admin: Caller, provider: dict[str, Any]
) -> None:
    for hours in ((14, 16), (9, 10), (11, 15)):
        await away(admin, provider, at(hours[0]), at(hours[1]))

    async def starts(**query: Any) -> list[int]:
        items = ok(await admin.get(path(provider), params=query))["items"]
        return [int(item["start"][11:13]) for item in items]

    assert await starts() == [9, 11, 14]
    assert await starts(sort="-start") == [14, 11, 9]
    assert await starts(sort="created_at") == [14, 9, 11]
    assert await starts(start=at(10)) == [11, 14]
    assert await starts(end=at(14)) == [9, 11]
    assert await starts(start=at(10), end=at(11)) == []
    assert await starts(start=at(15), end=at(17)) == [14]
    page = ok(await admin.get(path(provider), params={"limit": 2}))
    assert await starts(limit=2, cursor=page["next_cursor"]) == [14]
    refused = await admin.get(path(provider), params={"start": at(11), "end": at(11)})
    problem(refused, 422, "validation_failed")


# --- Who may ----------------------------------------------------------------------------------
async def test_only_its_provider_and_who_may_change_all_schedules_have_a_say(
    app: FastAPI, business: Business, admin: Caller, client: httpx.AsyncClient
) -> None:
    grace, ada = await business.customer(), await business.customer()
    hers = await business.provider(user_id=grace.user["id"])
    body = {"start": at(9), "end": at(10), "reason": "Dentist"}
    time_off = await away(admin, hers, at(14), at(15))
    one = f"{path(hers)}/{time_off['id']}"
    problem(await grace.get(path(hers)), 403, "forbidden")  # owns it, but has no role
    for caller in (grace, ada):
        await grant(app, caller, "provider")
    ok(await grace.get(path(hers)))
    mine = ok(await grace.post(path(hers), body))
    for stranger in (ada, await business.customer()):
        problem(await stranger.get(path(hers)), 403, "forbidden")
        problem(await stranger.post(path(hers), body), 403, "forbidden")
        problem(await stranger.delete(one), 403, "forbidden")
    problem(await client.get(f"/api/v1{path(hers)}"), 401, "unauthenticated")
    problem(await client.post(f"/api/v1{path(hers)}", json=body), 401, "unauthenticated")
    problem(await client.delete(f"/api/v1{one}"), 401, "unauthenticated")
    await back(grace, hers, time_off)
    await back(admin, hers, mine)


async def test_what_is_not_there_is_not_found(
    business: Business, admin: Caller, provider: dict[str, Any]
) -> None:
    nobody, other = {"id": NOWHERE}, await business.provider()
    body = {"start": at(9), "end": at(10)}
    problem(await admin.get(path(nobody)), 404, "not_found")
    problem(await admin.post(path(nobody), body), 404, "not_found")
    problem(await admin.delete(f"{path(provider)}/{NOWHERE}"), 404, "not_found")
    time_off = await away(admin, provider, at(9), at(10))
    problem(await admin.delete(f"{path(other)}/{time_off['id']}"), 404, "not_found")


# --- Versions and the log ---------------------------------------------------------------------
async def test_it_can_be_given_back_in_the_version_seen(
    admin: Caller, provider: dict[str, Any]
) -> None:
    time_off = await away(admin, provider, at(9), at(10))
    one = f"{path(provider)}/{time_off['id']}"
    problem(await admin.delete(one, headers={"If-Match": '"2"'}), 412, "version_mismatch")
    assert (await admin.delete(one, headers={"If-Match": '"1"'})).status_code == 204


async def test_each_change_raises_the_version_of_the_calendar(
    app: FastAPI, admin: Caller, provider: dict[str, Any]
) -> None:
    versions = [await calendar_version(app, provider)]
    time_off = await away(admin, provider, at(9), at(10))
    versions.append(await calendar_version(app, provider))
    await back(admin, provider, time_off)
    versions.append(await calendar_version(app, provider))
    assert versions == sorted(set(versions))


async def test_the_log_tells_when_and_not_why(admin: Caller, provider: dict[str, Any]) -> None:
    time_off = await away(admin, provider, at(9), at(10), reason="Canary")
    await back(admin, provider, time_off)
    params = {"subject_id": time_off["id"]}
    answer = await admin.get("/admin/audit-log", params=params)
    removed, created = ok(answer)["items"]
    when = {
        "provider_id": provider["id"],
        "start": "2026-03-03T09:00:00+00:00",
        "end": "2026-03-03T10:00:00+00:00",
    }
    assert (created["type"], created["after"]) == ("time_off.created", when)
    assert (removed["type"], removed["before"]) == ("time_off.deleted", when)
    assert "Canary" not in answer.text


# --- At once ----------------------------------------------------------------------------------
@pytest.mark.parametrize("attempt", range(3))
async def test_what_is_booked_at_that_very_moment_is_booked_or_off(
    app: FastAPI,
    business: Business,
    admin: Caller,
    service: dict[str, Any],
    provider: dict[str, Any],
    attempt: int,
) -> None:
    customer = await business.customer()
    bodies = [{"service_id": service["id"], "start": at(hour)} for hour in range(9, 17)]
    *booked, time_off, again = await asyncio.gather(
        *(customer.post("/bookings", body) for body in bodies),
        admin.post(path(provider), {"start": at(9), "end": at(13)}),
        admin.post(path(provider), {"start": at(11), "end": at(17)}),
    )
    ok(time_off)
    ok(again)
    assert {answer.status_code for answer in booked} <= {201, 409, 422}
    assert await free(business, service) == []
    count = [answer.status_code for answer in booked].count(201)
    async with app.state.database.reading() as session:
        statement = (
            "SELECT sum(upper(during) - lower(during)) = interval '8 hours',"
            " count(*) FILTER (WHERE kind = 'booking') FROM allocations"
        )
        whole, taken = (await session.execute(text(statement))).one()
    assert (whole, taken) == (True, count)


async def test_two_who_lock_the_same_subjects_in_any_order_both_do(app: FastAPI) -> None:
    subjects = [uuid4() for _ in range(20)]

    async def lock(ids: list[UUID]) -> None:
        async with app.state.database.transaction() as session:
            await lock_subjects(session, ids)

    await asyncio.gather(*(lock(subjects if n % 2 else subjects[::-1]) for n in range(10)))
