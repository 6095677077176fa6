"""What has served its time is removed, and nothing sooner."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pgqueuer import AsyncpgDriver, Queries
from sqlalchemy import text

from app.core import cleaning
from app.core.ids import new_id
from app.core.jobs import enqueue
from app.postgres import connect
from tests.business import PASSWORD, Business, Hands, execute, ok

NINE = "2026-03-03T09:00:00Z"
"""The day after the clock's first."""


async def run(app: FastAPI, routine: str) -> None:
    await app.state.jobs._routines[routine][1]()


async def count(app: FastAPI, table: str, where: str = "true") -> int:
    async with app.state.database.reading() as session:
        number = await session.scalar(text(f"SELECT count(*) FROM {table} WHERE {where}"))
    return int(number)


async def test_each_routine_has_its_time(app: FastAPI) -> None:
    times = {name: times for name, (times, _) in app.state.jobs._routines.items()}
    assert (
        times.items()
        >= {
            "auth.remove_dead": "17 3 * * *",
            "bookings.forget_guests": "23 3 * * *",
            "core.remove_kept_answers": "7 * * * *",
            "core.trim_job_log": "57 3 * * *",
            "holds.sweep": "*/10 * * * *",
            "waitlist.forget_ended": "37 3 * * *",
            "waitlist.sweep": "* * * * *",
        }.items()
    )


# --- Kept answers -------------------------------------------------------------------------------
async def sign_up(client: httpx.AsyncClient, name: str) -> None:
    body = {"name": name, "email": f"{name}@example.com", "password": PASSWORD}
    ok(await client.post("/api/v1/auth/signup", json=body, headers={"Idempotency-Key": name}))


async def test_answers_are_removed_when_their_day_is_over(
    app: FastAPI, client: httpx.AsyncClient, clock: Hands
) -> None:
    await sign_up(client, "ada")
    clock.advance(hours=23)
    await sign_up(client, "grace")
    await run(app, "core.remove_kept_answers")
    assert await count(app, "idempotency_keys") == 2
    clock.advance(hours=1, seconds=1)
    await run(app, "core.remove_kept_answers")
    assert await count(app, "idempotency_keys", "key = 'grace'") == 1
    assert await count(app, "idempotency_keys") == 1


async def test_much_is_removed_little_by_little(
    app: FastAPI, client: httpx.AsyncClient, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "BATCH", 2)
    removed: list[int] = []
    one_batch = cleaning.remove_some

    async def remove_some(*arguments: Any) -> int:
        removed.append(await one_batch(*arguments))
        return removed[-1]

    monkeypatch.setattr(cleaning, "remove_some", remove_some)
    for name in ("ada", "grace", "mary", "emmy", "joan"):
        await sign_up(client, name)
    clock.advance(days=2)
    await run(app, "core.remove_kept_answers")
    assert removed == [2, 2, 1]


async def test_what_somebody_is_changing_is_left_for_the_next_time(
    app: FastAPI, client: httpx.AsyncClient, clock: Hands
) -> None:
    await sign_up(client, "ada")
    clock.advance(days=2)
    async with app.state.database.transaction() as session:
        await session.execute(text("SELECT FROM idempotency_keys FOR UPDATE"))
        await run(app, "core.remove_kept_answers")
    assert await count(app, "idempotency_keys") == 1
    await run(app, "core.remove_kept_answers")
    assert await count(app, "idempotency_keys") == 0


# --- The queue's own log ------------------------------------------------------------------------
async def test_the_log_of_jobs_is_kept_for_a_month_and_with_jobs_that_are_there(
    app: FastAPI, clock: Hands
) -> None:
    async with app.state.database.transaction() as session:
        await enqueue(session, "a.job", new_id())
        await enqueue(session, "another.job", new_id())
    connection = await connect(app.state.settings)
    try:
        await Queries(AsyncpgDriver(connection)).clear_queue("a.job")
    finally:
        await connection.close()
    assert await count(app, "pgqueuer_log", "entrypoint = 'a.job'") == 2
    clock.now = datetime.now(UTC) + timedelta(days=29)  # Postgres has written it, by its own clock
    await run(app, "core.trim_job_log")
    assert await count(app, "pgqueuer_log", "entrypoint = 'a.job'") == 2
    clock.advance(days=2)
    await run(app, "core.trim_job_log")
    assert await count(app, "pgqueuer_log", "entrypoint = 'a.job'") == 0
    assert await count(app, "pgqueuer_log", "entrypoint = 'another.job'") == 1


# --- Accounts -----------------------------------------------------------------------------------
async def test_sessions_are_forgotten_a_month_after_their_end(
    app: FastAPI, business: Business, clock: Hands
) -> None:
    left, stays = await business.customer(), await business.customer()
    await execute(app, "UPDATE sessions SET expires_at = expires_at + interval '1 year'")
    assert (await left.post("/auth/logout")).is_success
    clock.advance(days=29)
    await run(app, "auth.remove_dead")
    assert await count(app, "sessions") == 2
    clock.advance(days=2)
    await run(app, "auth.remove_dead")
    assert await count(app, "sessions", f"user_id = '{stays.user['id']}'") == 1
    assert await count(app, "sessions") == 1
    assert await count(app, "refresh_tokens") == 1


async def test_sessions_that_ran_out_are_forgotten_as_well(
    app: FastAPI, business: Business, clock: Hands
) -> None:
    await business.customer()
    clock.advance(days=59)
    await run(app, "auth.remove_dead")
    assert await count(app, "sessions") == 1
    clock.advance(days=2)
    await run(app, "auth.remove_dead")
    assert await count(app, "sessions") == await count(app, "refresh_tokens") == 0


async def test_links_are_forgotten_a_month_after_they_ran_out(
    app: FastAPI, client: httpx.AsyncClient, clock: Hands
) -> None:
    await sign_up(client, "ada")
    assert await count(app, "one_time_tokens") == 1
    clock.advance(days=30)
    await run(app, "auth.remove_dead")
    assert await count(app, "one_time_tokens") == 1
    clock.advance(days=3)
    await run(app, "auth.remove_dead")
    assert await count(app, "one_time_tokens") == 0


# --- Bookings -----------------------------------------------------------------------------------
@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    service = await business.service()
    await business.provider(service, zone="UTC")
    return service


async def test_a_hold_that_its_own_job_has_not_ended_is_cleared_away(
    app: FastAPI, business: Business, service: dict[str, Any], clock: Hands
) -> None:
    caller = await business.customer()
    body = {"service_id": service["id"], "start": NINE}
    hold = ok(await caller.post("/holds", body))
    await execute(app, "DELETE FROM pgqueuer")
    clock.advance(minutes=14)
    await run(app, "holds.sweep")
    assert await count(app, "holds") == await count(app, "allocations") == 1
    clock.advance(minutes=2)
    await run(app, "holds.sweep")
    assert await count(app, "holds") == await count(app, "allocations") == 0
    about = f"subject_id = '{hold['id']}' AND type = 'hold.expired'"
    assert await count(app, "events", about) == 1


async def test_who_waited_is_forgotten_three_months_later_and_who_waits_is_not(
    app: FastAPI, business: Business, service: dict[str, Any], clock: Hands
) -> None:
    window = {"start": NINE, "end": "2026-03-03T17:00:00Z"}
    body = {"service_id": service["id"], "windows": [window]}
    gone, waits = await business.customer(), await business.customer()
    entry = ok(await gone.post("/waitlist", body))
    ok(await waits.post("/waitlist", body))
    answer = await gone.delete(f"/waitlist/{entry['id']}")
    assert answer.is_success
    clock.now = datetime.now(UTC) + timedelta(days=89)  # Postgres has written when, by its own
    await run(app, "waitlist.forget_ended")
    assert await count(app, "waitlist_entries") == 2
    clock.advance(days=2)
    await run(app, "waitlist.forget_ended")
    assert await count(app, "waitlist_entries", "status = 'waiting'") == 1
    assert await count(app, "waitlist_entries") == 1
