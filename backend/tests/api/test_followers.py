"""Who follows the log is told of every commit once, in order, and of nothing else."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import followers as module
from app.core.events import SYSTEM, Event, event_values, record, record_all
from app.core.followers import Follower, Followers
from app.core.ids import new_id
from app.core.jobs import JobRunner, enqueue, running
from tests.statements import statements


class Listener:
    """Remembers what it is told; fails for as long as it is told to."""

    def __init__(self, name: str = "listener", *types: str) -> None:
        self.told: list[UUID] = []
        self.fails = False
        self.follower = Follower(name, types or ("thing.",), self.follow)

    async def follow(self, session: AsyncSession, events: Sequence[Event]) -> None:
        await session.execute(
            text("INSERT INTO told SELECT :name, unnest(CAST(:ids AS uuid[]))"),
            {"name": self.follower.name, "ids": [event.id for event in events]},
        )
        if self.fails:
            raise ValueError
        self.told += [event.id for event in events]


@pytest.fixture
async def app(app: FastAPI) -> FastAPI:
    async with app.state.database.transaction() as session:
        await session.execute(text("CREATE TABLE told (name text, event_id uuid)"))
    return app


def following(app: FastAPI, *listeners: Listener) -> Followers:
    return Followers(app.state.database, [listener.follower for listener in listeners])


async def begun(app: FastAPI, *listeners: Listener) -> Followers:
    """Followers whose cursors stand at the log's end."""
    followers = following(app, *listeners)
    await followers.run_due()
    return followers


async def happen(app: FastAPI, event_type: str = "thing.done") -> UUID:
    async with app.state.database.transaction() as session:
        return await record(session, event_type, subject_id=new_id(), actor=SYSTEM)


async def told(app: FastAPI, name: str = "listener") -> list[UUID]:
    async with app.state.database.reading() as session:
        found = await session.scalars(
            text("SELECT event_id FROM told WHERE name = :name"), {"name": name}
        )
        return list(found)


async def test_what_commits_late_is_not_passed_over(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0)
    listener = Listener()
    followers = await begun(app, listener)
    async with app.state.database.transaction() as late:
        first = await record(late, "thing.begun", subject_id=new_id(), actor=SYSTEM)
        second = await happen(app)
        await followers.run_due()
        assert second not in listener.told
    monkeypatch.undo()
    await followers.run_due()
    assert listener.told == [first, second]


async def test_a_rollback_is_never_told(app: FastAPI) -> None:
    class Rollback(Exception): ...

    async def happen_and_fail() -> None:
        async with app.state.database.transaction() as session:
            await record(session, "thing.done", subject_id=new_id(), actor=SYSTEM)
            raise Rollback

    listener = Listener()
    followers = await begun(app, listener)
    with pytest.raises(Rollback):
        await happen_and_fail()
    assert not await followers.run_due()
    assert listener.told == []


async def test_several_who_follow_at_once_tell_everything_once(app: FastAPI) -> None:
    await begun(app, Listener())
    many = [event_values("thing.done", subject_id=new_id(), actor=SYSTEM) for _ in range(1200)]
    async with app.state.database.transaction() as session:
        await record_all(session, many)
    await asyncio.gather(*(following(app, Listener()).run_due() for _ in range(4)))
    assert await told(app) == [values["id"] for values in many]


async def test_who_fails_leaves_nothing_behind_and_holds_nobody_up(app: FastAPI) -> None:
    good, bad = Listener("good"), Listener("bad")
    followers = await begun(app, bad, good)
    bad.fails = True
    happened = await happen(app)
    await followers.run_due()
    assert (await told(app, "bad"), await told(app, "good")) == ([], [happened])
    bad.fails = False
    await followers.run_due()
    assert (await told(app, "bad"), await told(app, "good")) == ([happened], [happened])


async def test_a_new_follower_begins_at_the_end(app: FastAPI) -> None:
    await happen(app)
    listener = Listener()
    followers = await begun(app, listener)
    assert listener.told == []
    happened = await happen(app)
    await followers.run_due()
    assert listener.told == [happened]


async def test_followers_are_told_of_what_they_asked_for_only(app: FastAPI) -> None:
    some, others = Listener("some", "thing."), Listener("others", "other.", "thing.else")
    followers = await begun(app, some, others)
    happened = [await happen(app, kind) for kind in ("thing.done", "other.done", "thing.else")]
    await followers.run_due()
    assert some.told == [happened[0], happened[2]]
    assert others.told == happened[1:]


async def test_to_look_for_news_takes_one_statement_for_all(app: FastAPI) -> None:
    followers = await begun(app, *(Listener(f"follower {number}") for number in range(5)))
    with statements(app) as sent:
        await followers.run_due()
    assert len(sent) == 1


async def test_what_followers_enqueue_is_done_and_followed_in_turn(app: FastAPI) -> None:
    async def answer(session: AsyncSession, events: Sequence[Event]) -> None:
        for event in events:
            await enqueue(session, "answer", event.subject_id)

    async def reply(subject_id: UUID) -> None:
        async with app.state.database.transaction() as session:
            await record(session, "reply.given", subject_id=subject_id, actor=SYSTEM)

    listener = Listener("replies", "reply.")
    followers = Followers(
        app.state.database, [listener.follower, Follower("answers", ("thing.",), answer)]
    )
    runner = JobRunner(app.state.settings, {"answer": reply}, followers=followers)
    await runner.run_due()
    await happen(app)
    await runner.run_due()
    assert len(listener.told) == 1


async def test_a_running_runner_follows_by_itself_and_through_failures(app: FastAPI) -> None:
    listener, happened = Listener(), asyncio.Event()
    follow = listener.follow

    async def fail_first(session: AsyncSession, events: Sequence[Event]) -> None:
        listener.fails = not listener.fails
        await follow(session, events)
        happened.set()

    follower = Follower("listener", ("thing.",), fail_first)
    followers = Followers(app.state.database, [follower])
    await followers.run_due()
    runner = JobRunner(app.state.settings, {}, followers=followers)
    async with running(runner):
        expected = await happen(app)
        async with asyncio.timeout(20):
            await happened.wait()
    assert await told(app) == [expected]
