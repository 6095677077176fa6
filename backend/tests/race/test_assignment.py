"""Many who ask for anybody at the same moment are given to different providers."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from app.config import Settings
from tests.business import Business
from tests.race.support import (
    ROUND_THE_CLOCK,
    Server,
    customers,
    double_bookings,
    next_monday,
    outcome,
)

pytestmark = pytest.mark.race

CLIENTS = 10


async def test_ten_at_once_are_spread_over_five_and_only_for_one_time_refused(
    settings: Settings, server: Server, business: Business, database: "asyncpg.Connection[Any]"
) -> None:
    service = await business.service(durations_minutes=[60], assignment="round_robin")
    ids = [
        (await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK))["id"]
        for _ in range(5)
    ]
    async with customers(settings, server, CLIENTS) as callers:
        for number in range(10):
            day = next_monday() + timedelta(days=number)
            # Ten different times: twice for each; then one time, which five of them get.
            for hours, each, refused in (range(10), 2, 0), ([12] * 10, 1, 5):
                starts = [(day + timedelta(hours=hour)).isoformat() for hour in hours]
                answers = await asyncio.gather(
                    *(
                        caller.post("/bookings", {"service_id": service["id"], "start": start})
                        for caller, start in zip(callers, starts, strict=True)
                    )
                )
                said = Counter(map(outcome, answers))
                assert said == Counter({201: CLIENTS - refused, "slot_taken": refused})
                given = Counter(a.json()["provider"]["id"] for a in answers if a.is_success)
                assert given == dict.fromkeys(ids, each)
    assert await double_bookings(database) == 0
