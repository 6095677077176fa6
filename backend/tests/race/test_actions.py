"""Several who act on the same bookings at once: whoever loses is told so, and all stays whole."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.config import Settings
from tests.business import Business, Caller, ok
from tests.race.support import (
    ROUND_THE_CLOCK,
    Server,
    customers,
    double_bookings,
    next_monday,
    outcome,
)

pytestmark = pytest.mark.race

ROUNDS = 20
LOST = {"invalid_transition", "version_mismatch"}


async def race(*calls: Awaitable[httpx.Response]) -> list[str | int]:
    answers = await asyncio.gather(*calls)
    assert all(a.status_code < 500 for a in answers), [a.text for a in answers]
    return [outcome(answer) for answer in answers]


async def book(caller: Caller, service: dict[str, Any], start: datetime, **more: Any) -> Any:
    wanted = {"service_id": service["id"], "start": start.isoformat()} | more
    return ok(await caller.post("/bookings", wanted))


def act(caller: Caller, booking: dict[str, Any], action: str, **options: Any) -> Any:
    body = options.pop("json", None)
    return caller.post(f"/bookings/{booking['id']}/{action}", body, **options)


async def assert_whole(database: "asyncpg.Connection[Any]") -> None:
    """Every booking that occupies its time owns it, and nothing else is taken."""
    assert await double_bookings(database) == 0
    lost = await database.fetchval(
        "SELECT count(*) FROM bookings b WHERE allocation_id IS NOT NULL AND NOT EXISTS ("
        " SELECT 1 FROM allocations a WHERE a.id = b.allocation_id AND a.subject_id = b.provider_id"
        " AND a.starts_at = b.starts_at AND a.ends_at = b.ends_at)"
    )
    orphans = await database.fetchval(
        "SELECT count(*) FROM allocations a WHERE kind = 'booking' AND NOT EXISTS"
        " (SELECT 1 FROM bookings b WHERE b.allocation_id = a.id)"
    )
    seats = await database.fetchval(
        "SELECT count(*) FROM allocations a WHERE capacity > 1 AND seats_taken <>"
        " (SELECT sum(seats) FROM session_seats c WHERE c.allocation_id = a.id)"
    )
    assert (lost, orphans, seats) == (0, 0, 0)


async def test_of_two_confirmations_one_wins(
    settings: Settings, server: Server, business: Business, database: "asyncpg.Connection[Any]"
) -> None:
    service = await business.service(approval="required")
    await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    admin, monday = await business.admin(), next_monday()
    async with customers(settings, server, 1) as (ada,):
        for number in range(ROUNDS):
            booking = await book(ada, service, monday + timedelta(minutes=30 * number))
            seen = {"If-Match": '"1"'} if number % 2 else {}
            results = await race(*(act(admin, booking, "confirm", headers=seen) for _ in range(2)))
            assert 200 in results
            assert Counter(r in LOST for r in results)[True] == 1
    confirmed = "SELECT count(*) FROM events WHERE type = 'booking.confirmed'"
    assert await database.fetchval(confirmed) == ROUNDS
    await assert_whole(database)


@pytest.mark.parametrize("capacity", [1, 2], ids=["alone", "in-groups"])
async def test_at_its_deadline_a_request_is_confirmed_or_its_time_is_anothers(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
    capacity: int,
) -> None:
    service = await business.service(approval="required", capacity=capacity)
    await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    admin, monday = await business.admin(), next_monday()
    results = []
    async with customers(settings, server, 2) as (ada, bob):
        for number in range(ROUNDS):
            start = monday + timedelta(minutes=30 * number)
            request = await book(ada, service, start, seats=capacity)
            for change in (
                "UPDATE bookings SET expires_at = $2 WHERE id = $1",
                "UPDATE allocations SET expires_at = $2 WHERE id = $1",
                "UPDATE session_seats SET expires_at = $2 WHERE id = $1",
            ):
                deadline = datetime.now(UTC) + timedelta(milliseconds=2 * number)
                await database.execute(change, request["id"], deadline)
            wanted = {"service_id": service["id"], "start": start.isoformat(), "seats": capacity}
            results.append(
                await race(act(admin, request, "confirm"), bob.post("/bookings", wanted))
            )
    assert [200, 201] not in results
    lost = [said for pair in results for said in pair if said not in {200, 201}]
    assert set(lost) <= {"invalid_transition", "slot_taken", "no_seats_left"}
    assert await double_bookings(database) == 0
    owned = "SELECT count(owned_allocation_id) FROM bookings"
    assert await database.fetchval(owned) == sum(pair[0] == 200 for pair in results)


async def test_who_cancels_and_who_completes_do_not_both_win(
    settings: Settings, server: Server, business: Business, database: "asyncpg.Connection[Any]"
) -> None:
    service = await business.service(durations_minutes=[30])
    await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    admin, monday = await business.admin(), next_monday()
    async with customers(settings, server, 1) as (ada,):
        for number in range(ROUNDS):
            booking = await book(ada, service, monday + timedelta(minutes=30 * number))
            # It has begun, as far as anybody can tell.
            await database.execute(
                "WITH b AS (UPDATE bookings SET starts_at = starts_at - interval '60 days',"
                " ends_at = ends_at - interval '60 days' WHERE id = $1 RETURNING allocation_id)"
                " UPDATE allocations a SET starts_at = starts_at - interval '60 days',"
                " ends_at = ends_at - interval '60 days',"
                " during = tstzrange(lower(during) - interval '60 days',"
                " upper(during) - interval '60 days') FROM b WHERE a.id = b.allocation_id",
                booking["id"],
            )
            results = await race(act(admin, booking, "cancel"), act(admin, booking, "complete"))
            assert sorted(map(str, results)) == ["200", "invalid_transition"]
    assert await database.fetchval("SELECT count(*) FROM allocations") == 0
    ended = "SELECT count(*) FROM events WHERE type IN ('booking.cancelled', 'booking.completed')"
    assert await database.fetchval(ended) == ROUNDS


@pytest.mark.parametrize("capacity", [1, 3], ids=["alone", "in-groups"])
async def test_two_who_move_into_each_others_time_do_not_stand_in_each_others_way_for_good(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
    capacity: int,
) -> None:
    service = await business.service(durations_minutes=[30], capacity=capacity)
    one, two = [
        await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK) for _ in range(2)
    ]
    monday = next_monday()
    async with customers(settings, server, 2) as (ada, bob):
        for number in range(ROUNDS):
            early = monday + timedelta(hours=number)
            late = early + timedelta(minutes=30)
            mine = await book(ada, service, early, provider_id=one["id"], seats=capacity)
            theirs = await book(bob, service, late, provider_id=two["id"], seats=capacity)
            results = await race(
                act(
                    ada,
                    mine,
                    "reschedule",
                    json={"start": late.isoformat(), "provider_id": two["id"]},
                ),
                act(
                    bob,
                    theirs,
                    "reschedule",
                    json={"start": early.isoformat(), "provider_id": one["id"]},
                ),
            )
            # Who comes second may find the other's time free, or not yet.
            assert set(results) <= {200, "slot_taken", "no_seats_left"}
            await assert_whole(database)


async def test_of_many_who_move_to_one_time_one_gets_there(
    settings: Settings, server: Server, business: Business, database: "asyncpg.Connection[Any]"
) -> None:
    service = await business.service(durations_minutes=[30])
    await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    monday = next_monday()
    async with customers(settings, server, 8) as everyone:
        bookings = [
            await book(caller, service, monday + timedelta(minutes=30 * number))
            for number, caller in enumerate(everyone)
        ]
        for number in range(ROUNDS):
            target = monday + timedelta(days=1, minutes=30 * number)
            results = await race(
                *(
                    act(caller, booking, "reschedule", json={"start": target.isoformat()})
                    for caller, booking in zip(everyone, bookings, strict=True)
                )
            )
            assert Counter(results) == {200: 1, "slot_taken": 7}
            await assert_whole(database)


async def test_a_move_and_a_cancellation_leave_one_outcome(
    settings: Settings, server: Server, business: Business, database: "asyncpg.Connection[Any]"
) -> None:
    service = await business.service(durations_minutes=[30], capacity=4)
    await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    admin, monday = await business.admin(), next_monday()
    async with customers(settings, server, 1) as (ada,):
        for number in range(ROUNDS):
            start = monday + timedelta(hours=number)
            booking = await book(ada, service, start)
            later = {"start": (start + timedelta(minutes=30)).isoformat()}
            moved, cancelled = await race(
                act(ada, booking, "reschedule", json=later), act(admin, booking, "cancel")
            )
            assert cancelled == 200
            assert moved in {200, "invalid_transition"}
    assert await database.fetchval("SELECT count(*) FROM allocations") == 0
    assert await database.fetchval("SELECT count(*) FROM session_seats") == 0
