"""Waiting lists under race: one offer for each free time, and one booking for each offer."""

import asyncio
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from app.bookings.jobs import WaitlistJobs
from app.config import Settings
from app.core.clock import system_clock
from app.core.mail import Mailer
from app.database import Database
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

ROUNDS = 20
HOUR = timedelta(hours=1)


async def test_of_runs_at_once_one_offers_and_of_acceptances_at_once_one_books(
    settings: Settings, server: Server, business: Business, database: "asyncpg.Connection[Any]"
) -> None:
    service = await business.service(durations_minutes=[60])
    await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    service_id = uuid.UUID(service["id"])
    own = Database.from_settings(settings)
    jobs = WaitlistJobs(own, Mailer(settings, system_clock), settings, system_clock)
    offered = "SELECT customer_id FROM waitlist_entries WHERE status = 'offered'"
    try:
        async with customers(settings, server, 3) as callers:
            for number in range(ROUNDS):
                start = next_monday() + number * HOUR
                window = {"start": start.isoformat(), "end": (start + HOUR).isoformat()}
                body = {"service_id": service["id"], "windows": [window]}
                entries = [ok(await caller.post("/waitlist", body)) for caller in callers]

                await asyncio.gather(*(jobs.offer(service_id) for _ in range(4)))

                (row,) = await database.fetch(offered)
                # The first in line, whoever of the four runs came first.
                assert str(row["customer_id"]) == entries[0]["customer_id"]
                path = f"/waitlist/{entries[0]['id']}/accept"
                answers = await asyncio.gather(*(callers[0].post(path) for _ in range(4)))
                assert Counter(map(outcome, answers)) == {201: 1, "invalid_transition": 3}
    finally:
        await own.dispose()
    assert await database.fetchval("SELECT count(*) FROM bookings") == ROUNDS
    assert await double_bookings(database) == 0


async def test_accepting_leaving_and_offering_at_once_leave_one_truth(
    settings: Settings, server: Server, business: Business, database: "asyncpg.Connection[Any]"
) -> None:
    service = await business.service(durations_minutes=[60])
    await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    service_id = uuid.UUID(service["id"])
    own = Database.from_settings(settings)
    jobs = WaitlistJobs(own, Mailer(settings, system_clock), settings, system_clock)
    try:
        async with customers(settings, server, 2) as (first, second):
            for number in range(ROUNDS):
                start = next_monday() + number * HOUR
                window = {"start": start.isoformat(), "end": (start + HOUR).isoformat()}
                body = {"service_id": service["id"], "windows": [window]}
                entry, next_one = [ok(await c.post("/waitlist", body)) for c in (first, second)]
                await jobs.offer(service_id)

                accepted, left, *_ = await asyncio.gather(
                    first.post(f"/waitlist/{entry['id']}/accept"),
                    first.delete(f"/waitlist/{entry['id']}"),
                    jobs.offer(service_id),
                    jobs.offer(service_id),
                )

                assert {accepted.status_code, left.status_code} in ({201, 409}, {409, 204})
                await jobs.offer(service_id)
                status = "SELECT status FROM waitlist_entries WHERE id = $1"
                hers = await database.fetchval(status, uuid.UUID(entry["id"]))
                theirs = await database.fetchval(status, uuid.UUID(next_one["id"]))
                expected = ("accepted", "waiting"), ("withdrawn", "offered")
                assert (hers, theirs) in expected
                assert (await second.delete(f"/waitlist/{next_one['id']}")).status_code == 204
    finally:
        await own.dispose()
    assert await double_bookings(database) == 0
