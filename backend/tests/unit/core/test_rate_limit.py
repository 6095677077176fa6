import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits.aio.storage import memory

from app.core import breaker, redis
from app.core.breaker import RETRY_SECONDS
from app.core.rate_counters import Window
from app.core.rate_limit import Policy, RateLimiter, Standing, network_of, standing
from app.core.redis import create_limits_redis
from devserver.valkey import EmbeddedValkey
from tests.conftest import make_settings
from tests.unit.core.recorder import record_log

POLICY = Policy("login", 10, 60)
SECRET = "a secret"
DOWN, UP = "rate_limits_counted_per_process", "rate_limits_counted_in_redis"

Make = Callable[..., RateLimiter]


class Ticks:
    """The clock by which a limiter decides when to ask Redis again."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    return record_log(monkeypatch, breaker)


@pytest.fixture
async def make(ticks: Ticks) -> AsyncIterator[Make]:
    """Makes limiters that share one prefix, as the processes of one installation do."""
    made: list[RateLimiter] = []
    prefix = f"test-{uuid.uuid4().hex}"

    def make(**settings: object) -> RateLimiter:
        client = create_limits_redis(make_settings(**settings))
        made.append(RateLimiter(client, prefix=prefix, secret=SECRET, clock=ticks))
        return made[-1]

    yield make
    for limiter in made:
        await limiter.aclose()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For exact counts in Redis, which a busy machine must not turn into a fallback."""
    monkeypatch.setattr(redis, "TIMEOUT_SECONDS", 20.0)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server to throw away."""
    with EmbeddedValkey(tmp_path / "valkey", ephemeral=True) as server:
        yield server


@pytest.fixture(params=["redis", "process"])
def limiter(request: pytest.FixtureRequest, make: Make, patient: None, tmp_path: Path) -> Any:
    """One that counts in Redis, and one that counts for itself."""
    return make() if request.param == "redis" else make(REDIS_HOST=str(tmp_path / "absent"))


async def admitted(*takes: Awaitable[Standing]) -> int:
    return sum(one.is_admitted for one in await asyncio.gather(*takes))


# --- What is left, and until when --------------------------------------------------------------
@pytest.mark.parametrize(
    ("window", "remaining", "seconds"),
    [
        pytest.param(Window(0, 0, 0, 0), 10, 60, id="nothing was counted"),
        pytest.param(Window(0, 0, 1, 120), 9, 60, id="the first, just now"),
        pytest.param(Window(0, 0, 10, 102.5), 0, 43, id="full"),
        pytest.param(Window(0, 0, 10, 60.2), 0, 1, id="about to begin fading"),
        pytest.param(Window(10, 60, 0, 120), 0, 1, id="begins to fade"),
        pytest.param(Window(10, 30, 5, 90), 0, 1, id="half faded"),
        pytest.param(Window(2, 44, 9, 104), 0, 15, id="one of two has faded"),
        pytest.param(Window(1, 30, 3, 90), 7, 31, id="all of it has faded"),
        pytest.param(Window(0, 0, -1, 120), 10, 60, id="given back in the next window"),
    ],
)
def test_a_standing_is_read_from_two_windows(window: Window, remaining: int, seconds: int) -> None:
    left = standing(POLICY, window, is_admitted=True)
    assert (left.remaining, left.seconds) == (remaining, seconds)


def left_after(window: Window, seconds: Fraction) -> int:
    """What is left of the quota then, in exact numbers, as Redis will say it."""
    previous, previous_seconds = window.previous, Fraction(window.previous_seconds) - seconds
    current, current_seconds = window.current, Fraction(window.current_seconds) - seconds
    if current_seconds < POLICY.window_seconds:
        previous, previous_seconds, current = current, current_seconds, 0
    fading = floor(previous * max(previous_seconds, Fraction(0)) / POLICY.window_seconds)
    return POLICY.quota - fading - current


@given(previous=st.integers(0, 10), current=st.integers(1, 10), milliseconds=st.integers(1, 59_999))
def test_the_quota_grows_at_the_time_announced_and_no_second_earlier(
    previous: int, current: int, milliseconds: int
) -> None:
    window = Window(previous, milliseconds / 1000, current, 60 + milliseconds / 1000)
    now = left_after(window, Fraction(0))
    seconds = standing(POLICY, window, is_admitted=True).seconds
    # Half a millisecond: what Redis counts in, and floats get wrong.
    grain = Fraction(1, 2000)
    assert left_after(window, seconds + grain) > now
    assert left_after(window, seconds - 1 - grain) <= now


def test_headers_are_those_of_the_draft() -> None:
    refused = standing(POLICY, Window(0, 0, 10, 101.5), is_admitted=False)
    headers = {"RateLimit-Policy": '"login";q=10;w=60', "RateLimit": '"login";r=0;t=42'}
    assert refused.headers == headers
    refusal = refused.refusal()
    assert (refusal.status, refusal.code) == (429, "rate_limited")
    assert refusal.headers == headers | {"Retry-After": "42"}


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("203.0.113.7", "203.0.113.8", False),
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:DB8:1:2::1%eth0", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::1", "127.0.0.1", False),
        ("", "testclient", False),
    ],
)
def test_who_is_one_client(one: str, other: str, is_same: bool) -> None:  # noqa: FBT001
    assert (network_of(one) == network_of(other)) is is_same


# --- Counting, in Redis and without it ----------------------------------------------------------
async def test_of_fifty_at_once_ten_are_admitted(limiter: RateLimiter) -> None:
    assert await admitted(*(limiter.take(POLICY, "ada") for _ in range(50))) == 10
    last = await limiter.take(POLICY, "ada")
    assert (last.is_admitted, last.remaining) == (False, 0)


async def test_processes_count_together(make: Make, patient: None) -> None:
    processes = [make() for _ in range(3)]
    takes = (processes[i % 3].take(POLICY, "ada") for i in range(50))
    assert await admitted(*takes) == 10


async def test_each_who_and_each_policy_is_counted_apart(limiter: RateLimiter) -> None:
    single = Policy("single", 1, 60)
    other = Policy("other", 1, 60)
    longer = Policy("single", 1, 600)
    takes = (
        limiter.take(policy, *who)
        for policy in (single, other, longer)
        for who in ((), ("ada",), ("grace",), ("ada", "here"), ("adahere",))
        for _ in range(3)
    )
    assert await admitted(*takes) == 15


async def test_what_is_given_back_can_be_taken_again(limiter: RateLimiter) -> None:
    for _ in range(10):
        await limiter.take(POLICY, "ada")
    returned = [await limiter.give_back(POLICY, "ada") for _ in range(2)]
    assert [one.remaining for one in returned] == [1, 2]
    assert await admitted(*(limiter.take(POLICY, "ada") for _ in range(5))) == 2


async def test_after_a_reset_the_quota_is_whole(limiter: RateLimiter) -> None:
    for _ in range(11):
        await limiter.take(POLICY, "ada")
    assert (await limiter.reset(POLICY, "ada")).remaining == 10
    assert await admitted(*(limiter.take(POLICY, "ada") for _ in range(20))) == 10


async def test_a_mark_is_found_again(limiter: RateLimiter) -> None:
    await limiter.remember("place", "ada", "here", seconds=60)
    assert await limiter.remembers("place", "ada", "here")
    assert not await limiter.remembers("place", "ada", "there")


async def test_keys_have_the_prefix_an_end_and_no_names(make: Make, patient: None) -> None:
    limiter = make()
    await limiter.take(POLICY, "ada@example.com", "203.0.113.7")
    await limiter.remember("place", "ada@example.com", seconds=60)
    prefix = limiter._shared.prefix
    keys = [key.decode() async for key in limiter._redis.scan_iter("*") if prefix.encode() in key]
    assert len(keys) == 2
    for key in keys:
        assert key.startswith(f"{prefix}:")
        assert "ada@" not in key
        assert "203.0" not in key
        assert 0 < await limiter._redis.pttl(key) <= 120_000


async def test_a_process_forgets_after_the_window_too(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr(memory.time, "time", lambda: now)
    limiter = make(REDIS_HOST=str(tmp_path / "absent"))
    assert await admitted(*(limiter.take(POLICY, "ada") for _ in range(20))) == 10
    now += 59
    assert not (await limiter.take(POLICY, "ada")).is_admitted
    now += 61
    assert await admitted(*(limiter.take(POLICY, "ada") for _ in range(20))) == 10


# --- When Redis goes and comes back -------------------------------------------------------------
async def test_its_absence_is_logged_once(
    make: Make, tmp_path: Path, ticks: Ticks, lines: list[dict[str, Any]]
) -> None:
    limiter = make(REDIS_HOST=str(tmp_path / "absent"), REDIS_PASSWORD="canary")
    for _ in range(5):
        await asyncio.gather(*(limiter.take(POLICY, "ada") for _ in range(100)))
        ticks.seconds += RETRY_SECONDS
    assert [line["event"] for line in lines] == [DOWN]
    assert "canary" not in str(lines)
    assert str(tmp_path) not in str(lines)


async def test_when_it_is_back_processes_count_together_again(
    make: Make, valkey: EmbeddedValkey, ticks: Ticks, lines: list[dict[str, Any]], patient: None
) -> None:
    one, other = make(**valkey.environment), make(**valkey.environment)
    valkey.stop()
    assert await admitted(*(one.take(POLICY, "ada") for _ in range(20))) == 10
    assert await admitted(*(other.take(POLICY, "ada") for _ in range(20))) == 10
    valkey.start()
    ticks.seconds += RETRY_SECONDS
    await one.take(POLICY, "grace")
    await other.take(POLICY, "grace")
    assert await admitted(*(one.take(POLICY, "ada") for _ in range(6))) == 6
    assert await admitted(*(other.take(POLICY, "ada") for _ in range(6))) == 4
    assert [line["event"] for line in lines] == [DOWN, DOWN, UP, UP]


async def test_a_frozen_one_is_an_absent_one(
    make: Make, valkey: EmbeddedValkey, ticks: Ticks, lines: list[dict[str, Any]]
) -> None:
    limiter = make(**valkey.environment)
    assert valkey.process.pid is not None
    os.kill(valkey.process.pid, signal.SIGSTOP)
    try:
        assert await admitted(*(limiter.take(POLICY, "ada") for _ in range(50))) == 10
        ticks.seconds += RETRY_SECONDS
        assert await admitted(*(limiter.take(POLICY, "ada") for _ in range(50))) == 0
    finally:
        os.kill(valkey.process.pid, signal.SIGCONT)
    assert [line["event"] for line in lines] == [DOWN]


async def require_password(socket: str, password: str) -> None:
    client = create_limits_redis(make_settings(REDIS_HOST=socket))
    await client.config_set("requirepass", password)
    await client.aclose()


# --- Where it counts ------------------------------------------------------------------------------
async def test_a_storage_of_its_own_is_used_with_its_password_and_number(
    make: Make, valkey: EmbeddedValkey, tmp_path: Path, patient: None
) -> None:
    socket = valkey.environment["REDIS_HOST"]
    await require_password(socket, "pass word")
    url = f"unix://:pass%20word@{socket}?db=3"
    nowhere = str(tmp_path / "absent")
    one, other = (make(REDIS_HOST=nowhere, RATE_LIMIT_STORAGE_URL=url) for _ in range(2))
    plain = make(REDIS_HOST=socket, REDIS_PASSWORD="pass word", REDIS_DB=3)
    takes = (limiter.take(POLICY, "ada") for limiter in (one, other, plain) for _ in range(20))
    assert await admitted(*takes) == 10


async def test_a_wrong_password_is_an_absent_redis(
    make: Make, valkey: EmbeddedValkey, lines: list[dict[str, Any]], patient: None
) -> None:
    socket = valkey.environment["REDIS_HOST"]
    await require_password(socket, "right")
    limiter = make(REDIS_HOST=socket, REDIS_PASSWORD="wrong")
    assert await admitted(*(limiter.take(POLICY, "ada") for _ in range(20))) == 10
    assert [line["event"] for line in lines] == [DOWN]


def test_a_storage_of_another_kind_is_refused() -> None:
    settings = make_settings(RATE_LIMIT_STORAGE_URL="memcached://localhost:11211")
    with pytest.raises(ValueError, match="scheme"):
        create_limits_redis(settings)


def test_where_limits_are_off_there_is_no_limiter() -> None:
    assert RateLimiter.from_settings(make_settings(RATE_LIMIT_ENABLED=False)) is None
