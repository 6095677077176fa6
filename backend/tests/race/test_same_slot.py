"""Many want the very same thing at the same moment: a slot, a cancellation, a calendar."""

import asyncio
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from app.config import Settings
from tests.business import Business, ok
from tests.race.support import (
    ROUND_THE_CLOCK,
    Server,
    customers,
    double_bookings,
    next_monday,
    outcome,
)

pytestmark = pytest.mark.race

CLIENTS = 50
ROUNDS = 20
HOUR = timedelta(hours=1)


async def test_of_50_clients_for_one_slot_one_gets_it_20_times(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
) -> None:
    service = await business.service(durations_minutes=[60])
    await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    async with customers(settings, server, CLIENTS) as callers:
        for number in range(ROUNDS):
            start = (next_monday() + number * HOUR).isoformat()
            body = {"service_id": service["id"], "start": start}
            answers = await asyncio.gather(*(c.post("/bookings", body) for c in callers))
            assert Counter(map(outcome, answers)) == {201: 1, "slot_taken": CLIENTS - 1}
    assert await database.fetchval("SELECT count(*) FROM bookings") == ROUNDS


async def test_a_slot_of_three_providers_has_three_winners(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
) -> None:
    service = await business.service(durations_minutes=[60])
    for _ in range(3):
        await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    async with customers(settings, server, CLIENTS) as callers:
        for number in range(5):
            start = (next_monday() + number * HOUR).isoformat()
            body = {"service_id": service["id"], "start": start}
            answers = await asyncio.gather(*(c.post("/bookings", body) for c in callers))
            assert Counter(map(outcome, answers)) == {201: 3, "slot_taken": CLIENTS - 3}
            winners = {a.json()["provider"]["id"] for a in answers if a.status_code == 201}
            assert len(winners) == 3
    assert await double_bookings(database) == 0


async def test_booking_cancelling_and_closing_at_once_leave_one_truth(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
) -> None:
    """A slot is cancelled, wanted by many, and taken out of the working hours, all at once."""
    service = await business.service(durations_minutes=[60])
    provider = await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    version = "SELECT version FROM calendars WHERE subject_id = $1"
    provider_id = uuid.UUID(provider["id"])

    async with customers(settings, server, 11) as (holder, *callers):
        for number in range(8):
            await business.schedule(provider, zone="UTC", hours=ROUND_THE_CLOCK)
            start = (next_monday() + number * HOUR).isoformat()
            body = {"service_id": service["id"], "start": start}
            held = ok(await holder.post("/bookings", body))
            before = await database.fetchval(version, provider_id)

            cancelled, _, *answers = await asyncio.gather(
                holder.post(f"/bookings/{held['id']}/cancel"),
                business.schedule(provider, zone="UTC", hours={}),
                *(caller.post("/bookings", body) for caller in callers),
            )

            said = Counter(map(outcome, answers))
            assert outcome(cancelled) == 200
            assert said[201] <= 1
            assert set(said) <= {201, "slot_taken", "slot_unavailable"}
            changes = 2 + said[201]  # the cancellation, the hours and perhaps a booking
            assert await database.fetchval(version, provider_id) == before + changes
            assert await business.free_times(service, start[:10], start[:10]) == []
    assert await double_bookings(database) == 0
    dangling = await database.fetchval(
        "SELECT count(*) FROM allocations a LEFT JOIN bookings b ON b.allocation_id = a.id"
        " WHERE b.id IS NULL"
    )
    assert dangling == 0


@pytest.mark.parametrize(
    ("seen", "losing"),
    [({}, {"invalid_transition"}), ({"If-Match": '"1"'}, {"version_mismatch"})],
    ids=["unconditional", "if-match"],
)
async def test_a_booking_is_cancelled_once_however_many_cancel_it(
    settings: Settings,
    server: Server,
    business: Business,
    database: "asyncpg.Connection[Any]",
    seen: dict[str, str],
    losing: set[str],
) -> None:
    service = await business.service(durations_minutes=[60])
    await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    start = next_monday().isoformat()
    async with customers(settings, server, 1) as (customer,):
        for _ in range(8):
            body = {"service_id": service["id"], "start": start}
            booking = ok(await customer.post("/bookings", body))
            path = f"/bookings/{booking['id']}/cancel"
            answers = await asyncio.gather(*(customer.post(path, headers=seen) for _ in range(2)))
            said = Counter(map(outcome, answers))
            assert said.pop(200) == 1
            assert set(said) == losing
            logged = (
                "SELECT count(*) FROM events WHERE type = 'booking.cancelled' AND subject_id = $1"
            )
            assert await database.fetchval(logged, uuid.UUID(booking["id"])) == 1
    assert await database.fetchval("SELECT count(*) FROM allocations") == 0
