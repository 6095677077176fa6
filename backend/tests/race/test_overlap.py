"""Many want overlapping times of one provider at the same moment; one gets it.

The server is the real one, in a process of its own, with a connection to Postgres for every
client: the requests race through HTTP, the pool and the database as they do in production.
"""

import asyncio
import statistics
import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.availability.models import NO_OVERLAP
from app.config import Settings
from tests.business import Business, Caller
from tests.race.support import (
    ROUND_THE_CLOCK,
    Server,
    connect,
    customers,
    double_bookings,
    next_monday,
    outcome,
)

pytestmark = pytest.mark.race

CLIENTS = 60
ROUNDS = 40
NAIVE_ROUNDS = 5

# An hour each, a minute apart: sixty different ranges, and every two of them overlap.
DURATION = timedelta(minutes=60)
STEP = timedelta(minutes=1)
EVERY_ROUND = timedelta(hours=3)


async def test_of_60_overlapping_wishes_one_is_granted_40_times(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
) -> None:
    service = await business.service(durations_minutes=[60], slot_interval_minutes=1)
    provider = await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    before = await _calendar_version(database, provider)

    slowest = []
    async with customers(settings, server, CLIENTS) as callers:
        for number in range(ROUNDS):
            first = next_monday() + number * EVERY_ROUND
            wishes = [first + i * STEP for i in range(CLIENTS)]
            answers = await asyncio.gather(
                *(_timed_booking(c, service, w) for c, w in zip(callers, wishes, strict=True))
            )
            assert Counter(said for said, _ in answers) == {201: 1, "slot_taken": CLIENTS - 1}
            slowest.append(max(seconds for _, seconds in answers))

    assert await database.fetchval("SELECT count(*) FROM bookings") == ROUNDS
    assert await database.fetchval("SELECT count(*) FROM allocations") == ROUNDS
    assert await double_bookings(database) == 0
    created = "SELECT count(*) FROM events WHERE type = 'booking.created'"
    assert await database.fetchval(created) == ROUNDS
    assert await _calendar_version(database, provider) == before + ROUNDS
    print(  # noqa: T201 - a measurement for people
        f"\nslowest of {CLIENTS} answers, median of {ROUNDS} rounds: "
        f"{statistics.median(slowest) * 1000:.0f} ms, worst {max(slowest) * 1000:.0f} ms"
    )


async def test_the_constraint_alone_makes_one_winner_of_careless_clients(
    settings: Settings, database: "asyncpg.Connection[Any]"
) -> None:
    assert await _naive_race(settings) == [1] * NAIVE_ROUNDS
    assert await double_bookings(database) == 0


async def test_without_the_constraint_the_same_clients_book_twice(
    settings: Settings, database: "asyncpg.Connection[Any]"
) -> None:
    """So the tests above can fail: what they count is what the constraint prevents."""
    await database.execute(f"ALTER TABLE allocations DROP CONSTRAINT {NO_OVERLAP}")
    winners = await _naive_race(settings)
    assert winners == [CLIENTS] * NAIVE_ROUNDS
    assert await double_bookings(database) == NAIVE_ROUNDS * CLIENTS * (CLIENTS - 1) // 2


async def _timed_booking(
    caller: Caller, service: dict[str, Any], start: datetime
) -> tuple[str | int, float]:
    began = time.perf_counter()
    body = {"service_id": service["id"], "start": start.isoformat()}
    answer = await caller.post("/bookings", body)
    return outcome(answer), time.perf_counter() - began


async def _calendar_version(database: "asyncpg.Connection[Any]", provider: dict[str, Any]) -> int:
    query = "SELECT version FROM calendars WHERE subject_id = $1"
    return await database.fetchval(query, uuid.UUID(provider["id"]))


async def _naive_race(settings: Settings) -> list[int]:
    """How many clients win each round by looking first and inserting then.

    All of them look before anyone inserts: what bad luck does sooner or later, done every time.
    """
    connections = [await connect(settings) for _ in range(CLIENTS)]
    everybody_looked = asyncio.Barrier(CLIENTS)

    async def check_then_insert(
        connection: "asyncpg.Connection[Any]", subject: uuid.UUID, start: datetime
    ) -> bool:
        async with connection.transaction():
            during = asyncpg.Range(start, start + DURATION)
            is_taken = await connection.fetchval(
                "SELECT EXISTS (SELECT FROM allocations WHERE subject_id = $1 AND during && $2)",
                subject,
                during,
            )
            await everybody_looked.wait()
            if is_taken:
                return False
            written = await connection.execute(
                "INSERT INTO allocations (id, subject_id, during, kind)"
                " VALUES ($1, $2, $3, 'booking') ON CONFLICT DO NOTHING",
                uuid.uuid4(),
                subject,
                during,
            )
            return written == "INSERT 0 1"

    try:
        subject, winners = uuid.uuid4(), []
        for number in range(NAIVE_ROUNDS):
            first = datetime(2030, 1, 1, tzinfo=UTC) + number * EVERY_ROUND
            won = await asyncio.gather(
                *(
                    check_then_insert(c, subject, first + i * STEP)
                    for i, c in enumerate(connections)
                )
            )
            winners.append(sum(won))
        return winners
    finally:
        for connection in connections:
            await connection.close()
