"""Who is given a booking when nobody in particular was asked for, and why."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from fastapi import FastAPI

from tests.business import Business, Caller, execute, ok

TUESDAY = "2026-03-03"


def at(half_hour: int, day: str = TUESDAY) -> str:
    """The n-th half hour from nine, in Paris."""
    return f"{day}T{9 + half_hour // 2:02}:{half_hour % 2 * 30:02}:00+01:00"


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


async def team(
    business: Business, assignment: str, *members: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """A service with providers, whose ids come in the plan's order."""
    service = await business.service(assignment=assignment)
    ids = [(await business.provider(service))["id"] for _ in members]
    providers = [{"provider_id": i} | m for i, m in zip(ids, members, strict=True)]
    path = f"/services/{service['id']}/providers"
    ok(await (await business.admin()).put(path, {"providers": providers}))
    return service, ids


async def book(caller: Caller, service: dict[str, Any], start: str, **fields: Any) -> Any:
    return ok(
        await caller.post("/bookings", {"service_id": service["id"], "start": start} | fields)
    )


async def given(caller: Caller, service: dict[str, Any], number: int) -> list[str]:
    """Book different times one after the other; who was given each."""
    days = ("03", "04", "05", "06")
    starts = [at(n % 16, f"2026-03-{days[n // 16]}") for n in range(number)]
    return [(await book(caller, service, start))["provider"]["id"] for start in starts]


async def test_any_asks_the_first_of_the_plan_as_long_as_they_are_free(
    business: Business, admin: Caller
) -> None:
    service, ids = await team(business, "any", {}, {"priority": 1}, {})
    assert await given(admin, service, 3) == [ids[1]] * 3
    booking = await book(admin, service, at(0))
    assert booking["provider"]["id"] == ids[0]
    assert booking["assignment"]["strategy"] == "any"
    assert booking["assignment"]["candidates"] == 2


async def test_turns_are_shared_by_weight(business: Business, admin: Caller) -> None:
    service, ids = await team(business, "round_robin", {"weight": 2}, {})
    assert Counter(await given(admin, service, 30)) == {ids[0]: 20, ids[1]: 10}


async def test_a_newcomer_takes_turns_with_those_who_had_many(
    app: FastAPI, business: Business, admin: Caller
) -> None:
    service, ids = await team(business, "round_robin", {}, {})
    await given(admin, service, 12)
    await execute(app, "UPDATE bookings SET created_at = created_at - interval '1 day'")
    newcomer = (await business.provider(service))["id"]
    await execute(
        app,
        "UPDATE service_providers SET since = now() - interval '2 days'"
        " WHERE provider_id <> CAST(:id AS uuid)",
        id=newcomer,
    )
    starts = [at(n, "2026-03-05") for n in range(12)]
    bookings = [await book(admin, service, start) for start in starts]
    assert Counter(b["provider"]["id"] for b in bookings) == dict.fromkeys((*ids, newcomer), 4)
    first = next(b for b in bookings if b["provider"]["id"] == newcomer)
    assert first["assignment"] == {
        "strategy": "round_robin",
        "candidates": 3,
        "rank": 1,
        "booked": 0,
        "credited": 6.0,
        "weight": 1,
        "booked_minutes": None,
    }


async def test_what_did_not_take_place_was_no_turn(business: Business, admin: Caller) -> None:
    service, ids = await team(business, "round_robin", {}, {})
    first = await book(admin, service, at(0))
    ok(await admin.post(f"/bookings/{first['id']}/cancel"))
    assert [first["provider"]["id"], *await given(admin, service, 2)] == [ids[0], *ids]


async def test_turns_of_more_than_a_month_ago_are_forgotten(
    app: FastAPI, business: Business, admin: Caller
) -> None:
    service, ids = await team(business, "round_robin", {}, {})
    for half_hour in range(3):
        await book(admin, service, at(half_hour), provider_id=ids[0])
    await execute(app, "UPDATE bookings SET created_at = created_at - interval '31 days'")
    assert (await book(admin, service, at(5)))["provider"]["id"] == ids[0]


async def test_the_least_busy_of_the_week_is_asked_first(business: Business, admin: Caller) -> None:
    service, ids = await team(business, "least_busy", {}, {}, {})
    other = await business.service(durations_minutes=[120])
    path = f"/services/{other['id']}/providers"
    ok(await admin.put(path, {"providers": [{"provider_id": i} for i in ids]}))
    await book(admin, other, at(0), provider_id=ids[0])
    await book(admin, service, at(0), provider_id=ids[1])
    # Another week's bookings don't count: Sunday the 8th ends this one.
    await book(admin, other, at(0, "2026-03-09"), provider_id=ids[2])
    booking = await book(admin, service, at(8))
    assert booking["provider"]["id"] == ids[2]
    assert booking["assignment"]["booked_minutes"] == 0
    assert (await book(admin, service, at(9, "2026-03-09")))["provider"]["id"] == ids[0]


async def test_who_takes_part_in_what_all_give_is_busy_too(
    business: Business, admin: Caller
) -> None:
    service, ids = await team(business, "least_busy", {}, {}, {})
    together = await business.service(assignment="collective", durations_minutes=[60])
    path = f"/services/{together['id']}/providers"
    ok(await admin.put(path, {"providers": [{"provider_id": i} for i in ids[:2]]}))
    await book(admin, together, at(0))
    assert (await book(admin, service, at(8)))["provider"]["id"] == ids[2]


async def test_many_bookings_at_once_are_spread(business: Business, admin: Caller) -> None:
    service, ids = await team(business, "round_robin", {}, {}, {})
    answers = await asyncio.gather(*(book(admin, service, at(n)) for n in range(9)))
    assert Counter(b["provider"]["id"] for b in answers) == dict.fromkeys(ids, 3)


async def test_only_staff_sees_why(business: Business, admin: Caller) -> None:
    service, ids = await team(business, "round_robin", {}, {})
    ada = await business.customer()
    booking = await book(ada, service, at(0))
    assert booking["assignment"] is None
    seen = ok(await admin.get(f"/bookings/{booking['id']}"))
    assert seen["assignment"]["strategy"] == "round_robin"
    asked_for = await book(admin, service, at(1), provider_id=ids[1])
    assert asked_for["assignment"]["strategy"] == "requested"
