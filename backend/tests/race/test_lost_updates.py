"""Two who change the same thing at once: whoever saw an old version is told so."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from app.config import Settings
from tests.business import Business, ok
from tests.race.support import connect, outcome

pytestmark = pytest.mark.race

TABLES = "services, providers, schedules, locations"
WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
)
MONDAY = [{"weekday": "monday", "intervals": [{"start": "09:00", "end": "17:00"}]}]


@pytest.fixture
async def changes(business: Business) -> dict[str, tuple[str, str, list[dict[str, Any]]]]:
    """By name: method, path, and three bodies, each of which changes what the others make of it."""
    admin = await business.admin()
    service = await business.service()
    first, *others = [(await business.provider())["id"] for _ in range(3)]
    place = ok(await admin.post("/locations", {"name": "A", "time_zone": "UTC"}))["id"]
    path = f"/services/{service['id']}"
    hours = [
        {"time_zone": zone, "weekly": MONDAY} for zone in ("UTC", "Asia/Tokyo", "Asia/Kolkata")
    ]
    givers = [{"providers": [{"provider_id": p}]} for p in (first, *others)]
    return {
        "service": ("PATCH", path, [{"name": n} for n in "ABC"]),
        "assignments": ("PUT", f"{path}/providers", givers),
        "provider": ("PATCH", f"/providers/{first}", [{"bio": b} for b in "ABC"]),
        "schedule": ("PUT", f"/providers/{first}/schedule", hours),
        "location": ("PATCH", f"/locations/{place}", [{"address": a} for a in "ABC"]),
    }


@pytest.fixture
async def holder(settings: Settings) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A second look behind the scenes: what a transaction reads of the activity stands still."""
    connection = await connect(settings)
    yield connection
    await connection.close()


NAMES = ["service", "assignments", "provider", "schedule", "location"]


@pytest.mark.parametrize("name", NAMES)
async def test_of_two_who_saw_the_same_version_one_changes_it(
    business: Business,
    changes: dict[str, Any],
    database: "asyncpg.Connection[Any]",
    holder: "asyncpg.Connection[Any]",
    name: str,
) -> None:
    answers = await _both_at_once(business, changes[name], database, holder, is_conditional=True)
    assert Counter(map(outcome, answers)) == {200: 1, "version_mismatch": 1}


@pytest.mark.parametrize("name", NAMES)
async def test_who_does_not_say_what_they_saw_is_not_refused(
    business: Business,
    changes: dict[str, Any],
    database: "asyncpg.Connection[Any]",
    holder: "asyncpg.Connection[Any]",
    name: str,
) -> None:
    answers = await _both_at_once(business, changes[name], database, holder, is_conditional=False)
    assert Counter(map(outcome, answers)) == {200: 2}
    assert answers[0].headers["etag"] != answers[1].headers["etag"]


async def _both_at_once(
    business: Business,
    change: tuple[str, str, list[dict[str, Any]]],
    database: "asyncpg.Connection[Any]",
    holder: "asyncpg.Connection[Any]",
    *,
    is_conditional: bool,
) -> list[httpx.Response]:
    """Two changes that both have read the resource before either writes it."""
    admin = await business.admin()
    method, path, (now, *wishes) = change
    current = ok(await admin.request(method, path, json=now))
    headers = {"If-Match": f'"{current["version"]}"'} if is_conditional else {}
    async with holder.transaction():
        await holder.execute(f"LOCK TABLE {TABLES} IN SHARE MODE")  # reads pass, writes wait
        requests = [
            asyncio.create_task(admin.request(method, path, json=wish, headers=headers))
            for wish in wishes
        ]
        while await database.fetchval(WAITING) < len(requests):
            assert not any(request.done() for request in requests)
    return await asyncio.gather(*requests)
