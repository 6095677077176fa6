"""The log for integrators: every event, exactly once, whatever commits meanwhile."""

import asyncio
import random
from typing import Any

from fastapi import FastAPI
from sqlalchemy import text

from app.config import Settings
from app.core.events import SYSTEM, event_values, record, record_all
from app.core.ids import new_id
from app.main import create_app
from app.webhooks import event_repository
from tests.business import Business, Caller, ok, problem, serving
from tests.statements import statements


async def read(caller: Caller, **query: Any) -> Any:
    return ok(await caller.get("/events", params=query))


async def to_the_end(caller: Caller, after: str | None = None, **query: Any) -> tuple[Any, str]:
    """Everything after a cursor, and where to go on."""
    items, has_more = [], True
    while has_more:
        query |= {"after": after} if after else {}
        page = await read(caller, **query)
        items += page["items"]
        after, has_more = page["next_cursor"], page["has_more"]
    assert after is not None
    return items, after


async def happen(app: FastAPI, *types: str) -> list[str]:
    rows = [event_values(name, subject_id=new_id(), actor=SYSTEM) for name in types]
    async with app.state.database.transaction() as session:
        await record_all(session, rows)
    await settled(app)
    return [str(row["id"]) for row in rows]


async def settled(app: FastAPI) -> None:
    """Wait for the transactions of other tests, which have the same server and are older."""
    question = text(
        "SELECT max(transaction_id) < pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        " FROM events"
    )
    async with asyncio.timeout(60), app.state.database.reading() as session:
        while not await session.scalar(question):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


def ids(items: Any) -> list[str]:
    return [item["id"] for item in items]


async def test_a_booking_is_told_with_all_it_says(app: FastAPI, business: Business) -> None:
    admin = await business.admin()
    _, after = await to_the_end(admin)
    service = await business.service()
    provider = await business.provider(service)
    booking = await business.booking(service, "2026-03-03T09:00:00+01:00")
    await settled(app)
    items, _ = await to_the_end(admin, after, type="booking.*")
    (event,) = items
    assert (event["type"], event["data"]["subject"]) == (
        "booking.created",
        {"type": "booking", "id": booking["id"]},
    )
    assert event["data"]["actor"] == {"type": "user", "id": booking["customer"]["id"]}
    assert event["data"]["after"]["provider_id"] == provider["id"]
    assert event["timestamp"].endswith("Z")


async def test_a_cursor_at_the_end_goes_on_with_what_is_new(
    app: FastAPI, business: Business
) -> None:
    admin = await business.admin()
    _, after = await to_the_end(admin)
    nothing = await read(admin, after=after)
    assert nothing == {"items": [], "next_cursor": after, "has_more": False}
    happened = await happen(app, "thing.done", "thing.done")
    assert ids((await read(admin, after=after))["items"]) == happened


async def test_pages_follow_one_another(app: FastAPI, business: Business) -> None:
    admin = await business.admin()
    _, after = await to_the_end(admin)
    happened = await happen(app, *["thing.done"] * 7)
    items, _ = await to_the_end(admin, after, limit=3)
    assert ids(items) == happened


async def test_only_what_is_asked_for_is_told_and_all_else_is_passed_over(
    app: FastAPI, business: Business, monkeypatch: Any
) -> None:
    monkeypatch.setattr(event_repository, "LOOKED_THROUGH", 2)
    admin = await business.admin()
    _, after = await to_the_end(admin)
    happened = await happen(
        app, "a.x", "b.x", "b.y", "b.y", "b.y", "b.x", "a.y", "ab.x", "c.x", "b.z"
    )
    for asked, expected in {
        "a.x": [0],
        "a.*": [0, 6],
        "b.x": [1, 5],
        "*": list(range(10)),
        ("a.*", "b.z"): [0, 6, 9],
        "none.such": [],
    }.items():
        items, end = await to_the_end(admin, after, limit=2, type=asked)
        assert ids(items) == [happened[number] for number in expected]
        assert (await read(admin, after=end))["items"] == []


async def test_fifty_who_write_at_once_are_each_heard_once(settings: Settings) -> None:
    """All transactions are open at once, draw their ids, and commit when chance says so."""
    app = create_app(settings.model_copy(update={"POSTGRES_POOL_SIZE": 55}))
    chance, written, told = random.Random(7), list[str](), list[str]()
    begun, ended = asyncio.Barrier(51), asyncio.Event()

    async def write() -> None:
        async with app.state.database.transaction() as session:
            for _ in range(chance.randint(1, 3)):
                event = await record(session, "thing.done", subject_id=new_id(), actor=SYSTEM)
                written.append(str(event))
            await begun.wait()
            await asyncio.sleep(chance.random() / 2)

    async with serving(app) as client, asyncio.timeout(30):
        admin = await Business(client).admin()
        _, after = await to_the_end(admin)

        async def follow() -> None:
            nonlocal after
            await begun.wait()
            # What other databases' transactions hold back is there when they have ended.
            while not ended.is_set() or len(told) < len(written):
                items, after = await to_the_end(admin, after, limit=5)
                told.extend(ids(items))

        reader = asyncio.create_task(follow())
        await asyncio.gather(*(write() for _ in range(50)))
        ended.set()
        await reader
        assert (await read(admin, after=after))["items"] == []
    assert sorted(told) == sorted(written)


async def test_to_read_the_log_takes_one_statement(app: FastAPI, business: Business) -> None:
    admin = await business.admin()
    app.state.authenticator._standings.seconds = float("inf")
    await read(admin)
    with statements(app) as sent:
        await read(admin, type="booking.*")
    assert len(sent) == 1


async def test_what_is_no_cursor_or_no_type_is_refused(business: Business) -> None:
    admin = await business.admin()
    for query in (
        {"after": "x"},
        {"after": "AAAA"},
        {"after": "é" * 8},
        {"after": "a" * 33},
        {"type": "booking"},
        {"type": "Booking.created"},
        {"type": "*.created"},
        {"limit": 201},
        {"since": "x"},
    ):
        problem(await admin.get("/events", params=query), 422, "validation_failed")
    # Whatever else was made up is a place in the log all the same.
    assert ok(await admin.get("/events", params={"after": "_" * 32}))["items"]
