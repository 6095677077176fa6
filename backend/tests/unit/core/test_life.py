"""Whoever has to end in time is told when the signal comes, and the server when it is time."""

import asyncio
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from app.core.health import Health
from app.core.life import Life, heeding_signals

LONG = 20.0
DELAY = 0.2


class Told:
    """A server's handler of signals."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.is_told = asyncio.Event()

    def __call__(self, number: int, _: FrameType | None) -> None:
        self.numbers.append(number)
        self.is_told.set()


@pytest.fixture
def server() -> Iterator[Told]:
    told = Told()
    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    yield told
    for number, handler in before.items():
        signal.signal(number, handler)


async def turn() -> None:
    """What the signal's handler has left for the loop to do is done."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_application_hears_of_the_end_as_the_server_does(
    server: Told, number: signal.Signals
) -> None:
    life, heard = Life(), []
    life.when_ending(lambda: heard.append("jobs"))
    life.when_ending(lambda: heard.append("streams"))
    with heeding_signals(life, 0):
        signal.raise_signal(number)
        assert server.numbers == [number]
        await turn()
        assert (life.is_ending, heard) == (True, ["jobs", "streams"])
        signal.raise_signal(number)
        await turn()
    assert heard == ["jobs", "streams"], "once"
    assert server.numbers == [number, number], "uvicorn hurries when it is told again"


async def test_after_a_delay_the_server_is_told_later_but_the_application_at_once(
    server: Told,
) -> None:
    life = Life()
    with heeding_signals(life, DELAY):
        signal.raise_signal(signal.SIGTERM)
        await turn()
        assert (life.is_ending, server.numbers) == (True, [])
        await asyncio.wait_for(server.is_told.wait(), LONG)
    assert server.numbers == [signal.SIGTERM]


async def test_another_signal_ends_the_delay(server: Told) -> None:
    with heeding_signals(Life(), LONG * 10):
        signal.raise_signal(signal.SIGTERM)
        await turn()
        assert server.numbers == []
        signal.raise_signal(signal.SIGTERM)
    assert server.numbers == [signal.SIGTERM]


async def test_who_presses_control_c_waits_for_no_delay(server: Told) -> None:
    with heeding_signals(Life(), LONG * 10):
        signal.raise_signal(signal.SIGINT)
    assert server.numbers == [signal.SIGINT]


async def test_afterwards_the_signals_are_the_servers_again(server: Told) -> None:
    life = Life()
    with heeding_signals(life, LONG):
        pass
    signal.raise_signal(signal.SIGTERM)
    await turn()
    assert (life.is_ending, server.numbers) == (False, [signal.SIGTERM])


async def test_where_nobody_handles_signals_they_are_left_alone() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with heeding_signals(Life(), 0):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_who_ends_is_not_ready_whatever_the_parts_say() -> None:
    life = Life()
    life.begin_to_end()
    nobody = object()  # is not even asked
    health = Health(nobody, nobody, "head", life)  # type: ignore[arg-type]
    readiness = await health.readiness()
    assert (readiness.status, readiness.takes_requests) == ("ending", False)
