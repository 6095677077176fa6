"""Answers are found once, shared by all processes, and never another's, damaged or outlived."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from app.core import breaker, caching, redis
from app.core.breaker import RETRY_SECONDS
from app.core.caching import Answer, AnswerCache, SharedAnswers, content_tag
from app.core.redis import create_redis
from devserver.valkey import EmbeddedValkey
from tests.conftest import make_settings
from tests.unit.core.recorder import record_log

GONE, BACK = "cache_bypassed", "cache_used_again"
SECRET = "a secret"
NOW = 1_000_000.0
TTL = 300


class Hand:
    """A clock that stands until it is moved; it tells all kinds of time."""

    def __init__(self) -> None:
        self.seconds = NOW

    def __call__(self) -> float:
        return self.seconds


class Maker:
    """Makes answers, and counts them."""

    def __init__(self, text: str = "made", fresh_until: float | None = None) -> None:
        self.made = 0
        self._text = text
        self._fresh_until = fresh_until

    async def __call__(self) -> Answer:
        self.made += 1
        body = f'"{self._text} {self.made}"'.encode()
        await asyncio.sleep(0)
        return Answer(body, content_tag(body), self._fresh_until)


Process = Callable[..., AnswerCache]


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not turn a hit into a bypass."""
    monkeypatch.setattr(redis, "TIMEOUT_SECONDS", 20.0)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    return record_log(monkeypatch, breaker)


@pytest.fixture
async def process(hand: Hand) -> AsyncIterator[Process]:
    """Makes the caches of processes that share a prefix, as those of one installation do."""
    clients: list[Redis] = []
    prefix = f"test-{uuid.uuid4().hex}"

    def make(*, secret: str = SECRET, ttl: int = TTL, **settings: object) -> AnswerCache:
        clients.append(create_redis(make_settings(**settings)))
        shared = SharedAnswers(clients[-1], prefix=prefix, secret=secret, clock=hand)
        return AnswerCache(shared, ttl=ttl, clock=hand)

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server to throw away."""
    with EmbeddedValkey(tmp_path / "valkey", ephemeral=True) as server:
        yield server


def redis_of(cache: AnswerCache) -> Redis:
    assert cache._shared is not None
    return cache._shared._redis


def name_of(cache: AnswerCache, key: str) -> bytes:
    assert cache._shared is not None
    return cache._shared._name(("of", key))


async def ask(cache: AnswerCache, key: str, make: Maker, now: float = NOW) -> tuple[bytes, str]:
    """What it answers, and how it came by that. Whatever it keeps has been kept then."""
    answer, found = await cache.get("of", key, now, make)
    assert answer.etag == content_tag(answer.body)
    assert cache._shared is not None
    if calling := cache._shared._commands._calling:
        await asyncio.wait([calling])
    return answer.body, found.value


# --- Found once -------------------------------------------------------------------------------
async def test_a_process_keeps_what_it_made_and_others_find_it(process: Process) -> None:
    one, other, make = process(), process(), Maker()
    assert await ask(one, "key", make) == (b'"made 1"', "miss")
    assert await ask(one, "key", make) == (b'"made 1"', "hit")
    assert await ask(other, "key", make) == (b'"made 1"', "hit")
    assert await ask(other, "another key", make) == (b'"made 2"', "miss")
    await redis_of(one).flushdb()
    assert await ask(other, "key", make) == (b'"made 1"', "hit")


async def test_of_a_crowd_that_misses_the_same_one_makes_it(process: Process) -> None:
    cache, make = process(), Maker()
    answers = await asyncio.gather(*(cache.get("of", "key", NOW, make) for _ in range(50)))
    assert {answer.body for answer, _ in answers} == {b'"made 1"'}
    assert sorted(found for _, found in answers) == ["hit"] * 49 + ["miss"]


async def test_what_fails_fails_for_the_crowd_and_is_not_kept(process: Process) -> None:
    cache, make, calls = process(), Maker(), 0

    async def fail() -> Answer:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        raise ConnectionError

    outcomes = await asyncio.gather(
        *(cache.get("of", "key", NOW, fail) for _ in range(5)), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} == {ConnectionError}
    assert calls == 1
    assert await ask(cache, "key", make) == (b'"made 1"', "miss")


async def test_when_the_one_leaves_another_makes_it(process: Process) -> None:
    cache, make = process(), Maker()
    begun, never = asyncio.Event(), asyncio.Event()

    async def wait() -> Answer:
        begun.set()
        await never.wait()
        raise AssertionError

    first = asyncio.create_task(cache.get("of", "key", NOW, wait))
    await begun.wait()
    others = [asyncio.create_task(cache.get("of", "key", NOW, make)) for _ in range(3)]
    leaving = asyncio.create_task(cache.get("of", "key", NOW, make))
    await asyncio.sleep(0.01)
    leaving.cancel()
    first.cancel()
    assert {(await other)[0].body for other in others} == {b'"made 1"'}
    assert make.made == 1
    assert cache._flights == {}


# --- Not for ever -----------------------------------------------------------------------------
async def test_nothing_is_kept_longer_than_its_time(process: Process, hand: Hand) -> None:
    cache, make = process(), Maker()
    await ask(cache, "key", make)
    hand.seconds += TTL - 1
    other = process()  # what it takes over from the first gets no new time
    assert await ask(other, "key", make) == (b'"made 1"', "hit")
    assert await ask(cache, "key", make) == (b'"made 1"', "hit")
    hand.seconds += 1
    assert await ask(cache, "key", make) == (b'"made 2"', "miss")
    await redis_of(other).flushdb()
    assert await ask(other, "key", make) == (b'"made 3"', "miss")


async def test_redis_forgets_in_time(process: Process) -> None:
    cache = process()
    await ask(cache, "lasting", Maker())
    await ask(cache, "passing", Maker(fresh_until=NOW + 10.5))
    client = redis_of(cache)
    assert TTL - 5 < await client.ttl(name_of(cache, "lasting")) <= TTL
    assert 5 < await client.ttl(name_of(cache, "passing")) <= 11


async def test_an_answer_that_time_has_changed_is_made_anew(process: Process) -> None:
    one, other = process(), process()
    make, later = Maker(fresh_until=NOW + 60), Maker("later", fresh_until=NOW + 120)
    await ask(one, "key", make)
    assert await ask(other, "key", later, NOW + 59) == (b'"made 1"', "hit")
    for cache, outcome in ((one, "miss"), (other, "hit")):  # each for itself, and for the other
        assert await ask(cache, "key", later, NOW + 60) == (b'"later 1"', outcome)


async def test_without_time_nothing_is_kept(process: Process) -> None:
    cache, make = process(ttl=0), Maker()
    for number in (1, 2):
        assert await ask(cache, "key", make) == (f'"made {number}"'.encode(), "bypass")
    assert await redis_of(cache).get(name_of(cache, "key")) is None


async def test_what_is_too_large_stays_in_the_process(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "LARGEST_BYTES", 7)
    cache, make = process(), Maker()
    await ask(cache, "key", make)
    assert await redis_of(cache).get(name_of(cache, "key")) is None
    assert await ask(cache, "key", make) == (b'"made 1"', "hit")


# --- Believed ---------------------------------------------------------------------------------
async def test_keys_have_the_prefix_and_tell_nothing(process: Process) -> None:
    cache = process()
    await ask(cache, "canary", Maker())
    assert cache._shared is not None
    prefix = cache._shared._prefix
    keys = [key async for key in redis_of(cache).scan_iter(prefix + b"*")]
    assert keys == [name_of(cache, "canary")]
    assert b"canary" not in keys[0]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value[:0],
        lambda value: value[:16],
        lambda value: value[16:],
        lambda value: value[:-1],
        lambda value: value + b" ",
        lambda value: value[:16] + b"\xff" * 200,
        lambda value: bytes([value[0] ^ 1]) + value[1:],
        lambda value: value.replace(b"made", b"fake"),
    ],
)
async def test_what_was_spoiled_is_missing(
    process: Process, spoil: Callable[[bytes], bytes]
) -> None:
    cache, make = process(), Maker()
    await ask(cache, "key", make)
    name, client = name_of(cache, "key"), redis_of(cache)
    value = await client.get(name)
    assert isinstance(value, bytes)
    await client.set(name, spoil(value))
    assert await ask(process(), "key", make) == (b'"made 2"', "miss")


async def test_what_is_no_text_at_all_is_missing_and_redis_is_not_away(
    process: Process, lines: list[dict[str, Any]]
) -> None:
    cache, make = process(), Maker()
    await redis_of(cache).rpush(name_of(cache, "key"), "an item")
    assert await ask(cache, "key", make) == (b'"made 1"', "miss")
    assert await ask(process(), "key", make) == (b'"made 1"', "hit")  # it took the place
    assert lines == []


async def test_anothers_answer_is_missing(process: Process) -> None:
    """Moved to this name by who may write to Redis, or left by another installation."""
    cache, client = process(), redis_of(process())
    await ask(cache, "mine", Maker("mine"))
    await ask(cache, "yours", Maker("yours"))
    await client.copy(name_of(cache, "yours"), name_of(cache, "mine"), replace=True)
    assert await ask(process(), "mine", Maker("new")) == (b'"new 1"', "miss")
    stranger = process(secret="another secret")
    await client.copy(name_of(cache, "yours"), name_of(stranger, "yours"))
    assert await ask(stranger, "yours", Maker("new")) == (b'"new 1"', "miss")


# --- When Redis goes and comes back -----------------------------------------------------------
async def test_without_redis_answers_are_made_and_it_is_said_once(
    process: Process, valkey: EmbeddedValkey, hand: Hand, lines: list[dict[str, Any]]
) -> None:
    cache, make = process(**valkey.environment), Maker()
    await ask(cache, "key", make)
    valkey.stop()
    assert await ask(cache, "key", make) == (b'"made 1"', "hit")  # the process has it itself
    for number in range(2, 12):
        assert await ask(cache, f"key {number}", make) == (f'"made {number}"'.encode(), "bypass")
    valkey.start()
    hand.seconds += RETRY_SECONDS
    assert await ask(cache, "key 12", make) == (b'"made 12"', "miss")
    assert await ask(process(**valkey.environment), "key 12", make) == (b'"made 12"', "hit")
    assert [line["event"] for line in lines] == [GONE, BACK]


async def test_a_frozen_redis_is_waited_for_once(
    process: Process,
    valkey: EmbeddedValkey,
    lines: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis, "TIMEOUT_SECONDS", 0.2)
    cache, make = process(**valkey.environment), Maker()
    assert valkey.process.pid is not None
    os.kill(valkey.process.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(5):  # 100 times 0.2 s are 20
            for number in range(100):
                assert (await ask(cache, f"key {number}", make))[1] == "bypass"
    finally:
        os.kill(valkey.process.pid, signal.SIGCONT)
    assert [line["event"] for line in lines] == [GONE]


async def test_a_connection_that_redis_has_closed_is_replaced_unnoticed(
    process: Process, lines: list[dict[str, Any]]
) -> None:
    cache, make = process(), Maker()
    await ask(cache, "key", make)
    assert cache._shared is not None
    connection = cache._shared._connection
    assert connection is not None
    await connection.send_command("CLIENT", "ID")
    await redis_of(cache).client_kill_filter(_id=await connection.read_response())
    assert await ask(cache, "another key", make) == (b'"made 2"', "miss")
    assert lines == []
