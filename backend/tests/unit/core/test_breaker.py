"""Who can do without Redis does, at once, until one of them finds it back."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from app.core.breaker import RETRY_SECONDS, AwayError, Breaker


class Ticks:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def breaker(ticks: Ticks) -> Breaker:
    return Breaker("tests", gone="gone", back="back", clock=ticks)


async def answers() -> str:
    return "answer"


async def fails() -> str:
    raise RedisConnectionError("redis://:canary@host")


async def outcome(breaker: Breaker, work: object) -> str:
    try:
        return await breaker.ask(work)  # type: ignore[arg-type]
    except AwayError:
        return "away"


@pytest.mark.parametrize("error", [RedisConnectionError, OSError, TimeoutError])
async def test_what_keeps_redis_from_answering_is_told_apart_from_mistakes(
    breaker: Breaker, error: type[Exception]
) -> None:
    async def work() -> None:
        raise error

    with pytest.raises(AwayError):
        await breaker.ask(work)

    async def mistaken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Breaker("tests", gone="gone", back="back").ask(mistaken)


async def test_after_a_failure_nobody_asks_for_a_while_and_then_one_does(
    breaker: Breaker, ticks: Ticks
) -> None:
    asked = 0

    async def fail_slowly() -> str:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)  # so that the others come while this one waits
        raise TimeoutError

    await outcome(breaker, fails)
    for elapsed, expected in ((RETRY_SECONDS - 0.1, 0), (0.1, 1), (0.0, 1), (RETRY_SECONDS, 2)):
        ticks.seconds += elapsed
        await asyncio.gather(*(outcome(breaker, fail_slowly) for _ in range(20)))
        assert asked == expected


async def test_it_is_asked_again_by_all_once_one_has_found_it_back(
    breaker: Breaker, ticks: Ticks
) -> None:
    await outcome(breaker, fails)
    assert await outcome(breaker, answers) == "away"
    ticks.seconds += RETRY_SECONDS
    assert await outcome(breaker, answers) == "answer"
    assert await asyncio.gather(*(outcome(breaker, answers) for _ in range(3))) == ["answer"] * 3


async def test_those_on_their_way_when_it_went_do_not_call_it_back(breaker: Breaker) -> None:
    may_answer = asyncio.Event()

    async def answer_late() -> str:
        await may_answer.wait()
        return "late"

    late = asyncio.create_task(outcome(breaker, answer_late))
    await asyncio.sleep(0)
    await outcome(breaker, fails)
    may_answer.set()
    assert await late == "late"
    assert await outcome(breaker, answers) == "away"


async def test_one_line_says_that_it_went_and_one_that_it_is_back(
    breaker: Breaker, ticks: Ticks
) -> None:
    with capture_logs() as lines:
        for _ in range(3):
            await asyncio.gather(*(outcome(breaker, fails) for _ in range(20)))
            ticks.seconds += RETRY_SECONDS
        await asyncio.gather(*(outcome(breaker, answers) for _ in range(20)))
    assert [line["event"] for line in lines] == ["gone", "back"]
    assert "canary" not in str(lines)
