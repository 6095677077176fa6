"""What is taken at once, from several windows, by many."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from app.core import redis
from app.core.rate_counters import (
    MAXIMUM_AT_ONCE,
    Charge,
    Count,
    LocalCounters,
    SharedCounters,
)
from app.core.redis import create_redis
from tests.conftest import make_settings

Counters = SharedCounters | LocalCounters


@pytest.fixture
async def shared(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SharedCounters]:
    monkeypatch.setattr(redis, "TIMEOUT_SECONDS", 20.0)
    client = create_redis(make_settings())
    yield SharedCounters(client, prefix=f"test-{uuid.uuid4().hex}")
    await client.aclose()


@pytest.fixture(params=["redis", "process"])
def counters(request: pytest.FixtureRequest, shared: SharedCounters) -> Counters:
    return shared if request.param == "redis" else LocalCounters()


def charge(key: str, quota: int, amount: int = 1) -> Charge:
    return Charge(key, quota, 60, amount)


def told(counts: list[Count]) -> list[tuple[bool, int]]:
    return [(count.fits, count.window.current) for count in counts]


async def test_what_fits_is_taken_and_told(counters: Counters) -> None:
    assert told(await counters.take([charge("a", 2), charge("b", 5)])) == [(True, 1), (True, 1)]
    assert told(await counters.take([charge("a", 2, 2)])) == [(False, 1)]
    (count,) = await counters.take([charge("a", 2)])
    assert told([count]) == [(True, 2)]
    assert 60 < count.window.current_seconds <= 120


async def test_of_several_all_are_taken_or_none(counters: Counters) -> None:
    await counters.take([charge("narrow", 1)])
    for _ in range(3):
        counts = await counters.take([charge("wide", 5), charge("narrow", 1)])
        assert told(counts) == [(True, 0), (False, 1)]
    assert told(await counters.take([charge("wide", 5)])) == [(True, 1)]


async def test_what_is_given_back_can_be_taken_again(counters: Counters) -> None:
    await counters.take([charge("a", 2, 2)])
    assert told(await counters.take([charge("a", 2, -1)])) == [(True, 1)]
    assert told(await counters.take([charge("a", 2)])) == [(True, 2)]


async def test_what_many_take_at_once_is_counted_by_few_calls(
    shared: SharedCounters, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    take: Callable[..., Any] = shared._take

    async def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return await take(*arguments)

    monkeypatch.setattr(shared, "_take", counted)
    wanted = [[charge("a", 30), charge(f"b{n}", 1)] for n in range(40)]
    counts = await asyncio.gather(*map(shared.take, wanted))
    assert [told(count) for count in counts[:2]] == [[(True, 1), (True, 1)], [(True, 2), (True, 1)]]
    assert sum(mine.fits and other.fits for mine, other in counts) == 30
    assert told(counts[-1]) == [(False, 30), (True, 0)]
    assert calls == 1

    many = [shared.take([charge("c", 1000)]) for _ in range(2 * MAXIMUM_AT_ONCE + 1)]
    assert (await asyncio.gather(*many))[-1][0].window.current == len(many)
    assert calls == 4


async def test_whoever_waits_hears_that_it_failed_and_the_next_one_asks_again(
    shared: SharedCounters, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = shared._take
    asked = asyncio.Event()

    async def fail(*_: object) -> None:
        asked.set()
        await asyncio.sleep(0)
        raise TimeoutError

    monkeypatch.setattr(shared, "_take", fail)
    first = asyncio.ensure_future(shared.take([charge("a", 5)]))
    await asked.wait()
    later = [asyncio.ensure_future(shared.take([charge("a", 5)])) for _ in range(3)]
    results = await asyncio.gather(first, *later, return_exceptions=True)
    assert [type(result) for result in results] == [TimeoutError] * 4
    monkeypatch.setattr(shared, "_take", working)
    assert told(await shared.take([charge("a", 5)])) == [(True, 1)]


async def test_who_leaves_keeps_nobody_else_from_the_answer(shared: SharedCounters) -> None:
    takes = [asyncio.ensure_future(shared.take([charge("a", 5)])) for _ in range(3)]
    await asyncio.sleep(0)
    takes[0].cancel()
    results = await asyncio.gather(*takes, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert [told(result) for result in results[1:] if isinstance(result, list)] == [
        [(True, 2)],
        [(True, 3)],
    ]
