"""Holds against bookings, holds, their own end, and themselves, all at once."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
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

CLIENTS = 16
ROUNDS = 20
HOUR = timedelta(hours=1)
LOST = {"slot_taken", "slot_held"}


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    service = await business.service(durations_minutes=[60])
    await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    return service


def wish(service: dict[str, Any], number: int, **fields: Any) -> dict[str, Any]:
    """The slot of a round."""
    start = (next_monday() + number * HOUR).isoformat()
    return {"service_id": service["id"], "start": start} | fields


async def give_up(callers: Iterable[Caller], answers: Iterable[httpx.Response]) -> None:
    """End the holds that were won, so that nobody ever has too many."""
    for caller, answer in zip(callers, answers, strict=True):
        if answer.is_success and "secret" in answer.json():
            ended = await caller.delete(f"/holds/{answer.json()['id']}")
            assert ended.status_code == 204, ended.text


async def test_holds_and_bookings_race_and_one_wins(
    settings: Settings,
    server: Server,
    service: dict[str, Any],
    database: "asyncpg.Connection[Any]",
) -> None:
    winners = Counter[str]()
    async with customers(settings, server, CLIENTS) as callers:
        for number in range(ROUNDS):
            body = wish(service, number)
            paths = ["/holds", "/bookings"] * (CLIENTS // 2)
            answers = await asyncio.gather(
                *(c.post(path, body) for c, path in zip(callers, paths, strict=True))
            )
            said = Counter(map(outcome, answers))
            assert said.pop(201) == 1
            assert said.keys() <= LOST
            winners.update(p for p, a in zip(paths, answers, strict=True) if a.is_success)
            await give_up(callers, answers)
    assert winners.total() == ROUNDS
    assert await double_bookings(database) == 0
    assert await database.fetchval("SELECT count(*) FROM holds") == 0
    assert await database.fetchval("SELECT count(*) FROM allocations") == winners["/bookings"]


async def test_of_many_holds_one_wins(
    settings: Settings,
    server: Server,
    service: dict[str, Any],
    database: "asyncpg.Connection[Any]",
) -> None:
    async with customers(settings, server, CLIENTS) as callers:
        for number in range(ROUNDS):
            body = wish(service, number)
            answers = await asyncio.gather(*(c.post("/holds", body) for c in callers))
            said = Counter(map(outcome, answers))
            assert said.pop(201) == 1
            assert said.keys() <= LOST
            assert await database.fetchval("SELECT count(*) FROM allocations") == 1
            await give_up(callers, answers)
    events = "SELECT count(*) FROM events WHERE type = $1"
    assert await database.fetchval(events, "hold.created") == ROUNDS
    assert await database.fetchval(events, "hold.released") == ROUNDS


async def test_a_hold_becomes_one_booking_however_often_it_is_used(
    settings: Settings,
    server: Server,
    service: dict[str, Any],
    database: "asyncpg.Connection[Any]",
) -> None:
    async with customers(settings, server, 1) as (ada,):
        for number in range(ROUNDS):
            hold = ok(await ada.post("/holds", wish(service, number)))
            body = wish(service, number, hold_id=hold["id"])
            answers = await asyncio.gather(*(ada.post("/bookings", body) for _ in range(10)))
            assert Counter(map(outcome, answers)) == {201: 1, "hold_expired": 9}
    for table in ("bookings", "allocations"):
        assert await database.fetchval(f"SELECT count(*) FROM {table}") == ROUNDS
    used = "SELECT count(*) FROM events WHERE type = 'hold.used'"
    assert await database.fetchval(used) == ROUNDS


async def test_of_ten_for_whom_an_ended_hold_makes_room_one_wins(
    settings: Settings,
    server: Server,
    service: dict[str, Any],
    database: "asyncpg.Connection[Any]",
) -> None:
    async with customers(settings, server, 11) as (holder, *callers):
        for number in range(ROUNDS):
            hold = ok(await holder.post("/holds", wish(service, number)))
            for table in ("holds", "allocations"):
                await database.execute(
                    f"UPDATE {table} SET expires_at = now() - interval '1 second' WHERE id = $1",
                    uuid.UUID(hold["id"]),
                )
            body = wish(service, number)
            answers = await asyncio.gather(*(c.post("/bookings", body) for c in callers))
            assert Counter(map(outcome, answers)) == {201: 1, "slot_taken": 9}
            late = await holder.post("/bookings", body | {"hold_id": hold["id"]})
            assert outcome(late) == "hold_expired"
    assert await double_bookings(database) == 0
    assert await database.fetchval("SELECT count(*) FROM bookings") == ROUNDS


async def test_ending_and_using_a_hold_at_once_leave_one_truth(
    settings: Settings,
    server: Server,
    service: dict[str, Any],
    database: "asyncpg.Connection[Any]",
) -> None:
    """Used, extended, given up and wanted by others, all at once."""
    async with customers(settings, server, 6) as (ada, *others):
        for number in range(ROUNDS):
            hold = ok(await ada.post("/holds", wish(service, number)))
            body, path = wish(service, number), f"/holds/{hold['id']}"
            used, extended, ended, *wanted = await asyncio.gather(
                ada.post("/bookings", body | {"hold_id": hold["id"]}),
                ada.patch(path, {"ttl_seconds": 600}),
                ada.delete(path),
                *(other.post("/bookings", body) for other in others),
            )
            assert outcome(used) in {201, "hold_expired"}
            assert outcome(extended) in {200, "hold_expired"}
            assert (outcome(used), outcome(ended)) in {(201, "hold_expired"), ("hold_expired", 204)}
            said = Counter(map(outcome, wanted))
            assert said[201] == 0 if used.is_success else said[201] <= 1
            assert said.keys() <= {201} | LOST
    assert await double_bookings(database) == 0
    booked = await database.fetchval("SELECT count(*) FROM bookings")
    assert await database.fetchval("SELECT count(*) FROM allocations") == booked
    assert await database.fetchval("SELECT count(*) FROM holds") == 0


async def test_ten_holds_at_once_are_no_way_around_the_cap(
    settings: Settings,
    server: Server,
    service: dict[str, Any],
    database: "asyncpg.Connection[Any]",
) -> None:
    async with customers(settings, server, 1) as (ada,):
        for number in range(ROUNDS):
            bodies = [wish(service, number * 10 + i) for i in range(10)]
            answers = await asyncio.gather(*(ada.post("/holds", body) for body in bodies))
            assert Counter(map(outcome, answers)) == {201: 3, "policy_violation": 7}
            assert await database.fetchval("SELECT count(*) FROM allocations") == 3
            await give_up([ada] * 10, answers)


async def test_of_many_who_hold_the_last_two_seats_two_win(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
) -> None:
    service = await business.service(durations_minutes=[60], capacity=2)
    await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    async with customers(settings, server, CLIENTS) as callers:
        for number in range(ROUNDS):
            body = wish(service, number)
            paths = ["/holds", "/bookings"] * (CLIENTS // 2)
            answers = await asyncio.gather(
                *(c.post(path, body) for c, path in zip(callers, paths, strict=True))
            )
            said = Counter(map(outcome, answers))
            assert said.pop(201) == 2
            assert said.keys() == {"no_seats_left"}
            await give_up(callers, answers)
    left = "SELECT coalesce(sum(seats_taken), 0) FROM allocations"
    assert await database.fetchval(left) == await database.fetchval("SELECT count(*) FROM bookings")
