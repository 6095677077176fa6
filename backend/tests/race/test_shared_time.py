"""Many want time that is shared: seats, a room, a whole team, what limits leave, an ended hold's.

Nobody gets more than there is, nobody is refused what is left, and nothing breaks.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import chain
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
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

ENDED_HOLD = (
    "INSERT INTO allocations (id, subject_id, during, kind, expires_at)"
    " VALUES (gen_random_uuid(), $1, tstzrange($2, $3), 'hold', now() - interval '1 minute')"
)
ENDED_SESSION = (
    "WITH session AS (INSERT INTO allocations (id, subject_id, during, kind, capacity, seats_taken,"
    " service_id, starts_at, ends_at) VALUES (gen_random_uuid(), $1, tstzrange($2, $3), 'booking',"
    " 2, 2, $4, $2, $3) RETURNING id, subject_id)"
    " INSERT INTO session_seats (id, subject_id, allocation_id, seats, expires_at)"
    " SELECT gen_random_uuid(), subject_id, id, 2, now() - interval '1 minute' FROM session"
)
OVERFULL = (
    "SELECT count(*) FROM allocations a WHERE a.capacity > 1 AND (a.seats_taken > a.capacity OR"
    " a.seats_taken <> (SELECT sum(seats) FROM session_seats s WHERE s.allocation_id = a.id))"
)


async def race(
    callers: Sequence[Caller], service: dict[str, Any], start: datetime, **fields: Any
) -> list[httpx.Response]:
    """Everybody books the same at once."""
    body = {"service_id": service["id"], "start": start.isoformat()} | fields
    return await asyncio.gather(*(caller.post("/bookings", body) for caller in callers))


def said(*answers: Sequence[httpx.Response]) -> Counter[str | int]:
    return Counter(map(outcome, chain(*answers)))


async def test_of_50_clients_two_get_the_last_two_seats_20_times(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
) -> None:
    pair = await business.service(durations_minutes=[60], capacity=2)
    trio = await business.service(durations_minutes=[60], capacity=3)
    await business.provider(pair, zone="UTC", hours=ROUND_THE_CLOCK)
    await business.provider(trio, zone="UTC", hours=ROUND_THE_CLOCK)
    async with customers(settings, server, 51) as (first, *callers):
        for number in range(ROUNDS):
            start, service = next_monday() + number * HOUR, (pair, trio)[number % 2]
            if service is trio:  # the session has begun to fill; of the pair's all want to open one
                ok((await race([first], trio, start))[0])
            assert said(await race(callers, service, start)) == {201: 2, "no_seats_left": 48}
    assert await database.fetchval("SELECT count(*) FROM allocations") == ROUNDS
    assert await database.fetchval(OVERFULL) == 0


async def test_a_whole_team_and_its_members_are_never_taken_at_once(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
) -> None:
    board = await business.service(durations_minutes=[60], assignment="collective")
    talk = await business.service(durations_minutes=[60])
    team = [
        await business.provider(board, talk, zone="UTC", hours=ROUND_THE_CLOCK) for _ in range(2)
    ]
    async with customers(settings, server, 30) as callers:
        for number in range(ROUNDS):
            start = next_monday() + number * HOUR
            members = [
                race(callers[n * 10 :][:10], talk, start, provider_id=provider["id"])
                for n, provider in enumerate(team)
            ]
            answers = await asyncio.gather(race(callers[20:], board, start), *members)
            won = [said(each)[201] for each in answers]
            assert won in ([1, 0, 0], [0, 1, 1]), won
            assert set(said(*answers)) == {201, "slot_taken"}
    assert await double_bookings(database) == 0


async def test_one_room_has_one_guest_whoever_wants_it(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
) -> None:
    admin = await business.admin()
    ok(await admin.post("/resources", {"name": "The room", "kind": "room"}))
    needs = [{"resource_kind": "room", "quantity": 1}]
    services = []
    for _ in range(2):
        services.append(await business.service(durations_minutes=[60], resource_requirements=needs))
        await business.provider(services[-1], zone="UTC", hours=ROUND_THE_CLOCK)
    async with customers(settings, server, 12) as callers:
        for number in range(ROUNDS):
            start = next_monday() + number * HOUR
            both = await asyncio.gather(
                race(callers[:10], services[0], start), race(callers[10:], services[1], start)
            )
            outcomes = said(*both)
            assert outcomes[201] == 1, outcomes
            assert set(outcomes) <= {201, "slot_taken", "slot_unavailable"}, outcomes
    assert await double_bookings(database) == 0


async def test_limits_hold_however_many_try_at_once(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
) -> None:
    """One customer may have one ahead, a provider gives two a day; all the times are different."""
    once = await business.service(durations_minutes=[30], limits={"per_customer_active": 1})
    twice = await business.service(durations_minutes=[30], limits={"per_day": 2})
    # Who names a provider waits for nobody who names another: only for the customer's other self.
    named = [
        (await business.provider(once, zone="UTC", hours=ROUND_THE_CLOCK))["id"] for _ in range(5)
    ]
    await business.provider(twice, zone="UTC", hours=ROUND_THE_CLOCK)
    async with customers(settings, server, 12) as callers:
        for number in range(ROUNDS):
            day = next_monday() + number * DAY
            starts = [day + n * HOUR for n in range(12)]
            alone = asyncio.gather(
                *(
                    race(callers[:1], once, start, provider_id=provider)
                    for start, provider in zip(starts[:10], named * 2, strict=True)
                )
            )
            together = asyncio.gather(
                *(race([c], twice, start) for c, start in zip(callers, starts, strict=True))
            )
            mine, ours = [[*chain(*answers)] for answers in (await alone, await together)]
            assert said(mine) == {201: 1, "slot_unavailable": 9}
            assert said(ours) == {201: 2, "slot_unavailable": 10}
            refusals = [a.json()["reason"] for a in [*mine, *ours] if a.status_code == 422]
            assert set(refusals) == {"limit_reached"}
            booking = next(a.json() for a in mine if a.status_code == 201)
            ok(await callers[0].post(f"/bookings/{booking['id']}/cancel"))


async def test_what_an_ended_hold_kept_has_one_new_owner(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
) -> None:
    talk = await business.service(durations_minutes=[60])
    pair = await business.service(durations_minutes=[60], capacity=2)
    provider = await business.provider(talk, pair, zone="UTC", hours=ROUND_THE_CLOCK)
    subject, service_id = uuid.UUID(provider["id"]), uuid.UUID(pair["id"])
    async with customers(settings, server, 10) as callers:
        for number in range(ROUNDS):
            start = next_monday() + number * 4 * HOUR
            for half in (0, 30):  # two holds are in the way of one appointment
                begin = start + timedelta(minutes=half)
                await database.execute(ENDED_HOLD, subject, begin, begin + HOUR / 2)
            later = start + 2 * HOUR
            await database.execute(ENDED_SESSION, subject, later, later + HOUR, service_id)
            alone, shared = await asyncio.gather(
                race(callers, talk, start), race(callers, pair, later)
            )
            assert said(alone) == {201: 1, "slot_taken": 9}
            assert said(shared) == {201: 2, "no_seats_left": 8}
    assert await double_bookings(database) == 0
    assert await database.fetchval(OVERFULL) == 0
    assert await database.fetchval("SELECT count(*) FROM allocations WHERE kind = 'hold'") == 0
