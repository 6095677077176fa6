"""Who asks while a call is on its way goes with the next one."""

import asyncio
from collections.abc import Sequence

import pytest

from app.core import together
from app.core.together import Rounds, Together


class Line:
    """A call that lasts until it is told to end."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, questions: Sequence[int]) -> list[int]:
        self.calls.append(list(questions))
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return [10 * question for question in questions]


@pytest.fixture
def line() -> Line:
    return Line()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_alone_nobody_waits_for_company(line: Line) -> None:
    line.may_answer.set()
    asker = Together(line)
    assert [await asker.ask(number) for number in range(3)] == [0, 10, 20]
    assert line.calls == [[0], [1], [2]]


async def test_those_who_come_during_a_call_go_together_in_the_next(line: Line) -> None:
    asker = Together(line)
    first = asyncio.create_task(asker.ask(1))
    await settle()
    others = [asyncio.create_task(asker.ask(number)) for number in (2, 3, 4)]
    await settle()
    assert line.calls == [[1]]
    line.may_answer.set()
    assert await asyncio.gather(first, *others) == [10, 20, 30, 40]
    assert line.calls == [[1], [2, 3, 4]]


async def test_a_call_carries_only_so_many(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "MAXIMUM_AT_ONCE", 2)
    line.may_answer.set()
    asker = Together(line)
    assert await asyncio.gather(*(asker.ask(n) for n in range(5))) == [0, 10, 20, 30, 40]
    assert line.calls == [[0, 1], [2, 3], [4]]


async def test_a_failure_is_that_of_all_who_went_and_of_nobody_else(line: Line) -> None:
    asker = Together(line)
    asked = [asyncio.create_task(asker.ask(number)) for number in (1, 2)]
    await settle()
    line.error = ConnectionError("gone")
    line.may_answer.set()
    for task in asked:
        with pytest.raises(ConnectionError):
            await task
    line.error = None
    assert await asker.ask(3) == 30


async def test_who_leaves_takes_nobody_along_and_is_not_asked_for(line: Line) -> None:
    asker = Together(line)
    first = asyncio.create_task(asker.ask(1))
    await settle()
    gone, stays = (asyncio.create_task(asker.ask(number)) for number in (2, 3))
    await settle()
    first.cancel()
    gone.cancel()
    line.may_answer.set()
    assert await stays == 30
    assert line.calls == [[1], [3]]


async def test_a_loop_that_ends_leaves_nobody_waiting(line: Line) -> None:
    asker = Together(line)
    asked = [asyncio.create_task(asker.ask(1))]
    await settle()
    asked.append(asyncio.create_task(asker.ask(2)))
    await settle()
    assert asker._calling is not None
    asker._calling.cancel()
    await asyncio.wait(asked)
    assert all(task.cancelled() for task in asked)


# --- The same question ------------------------------------------------------------------------
class Well:
    """What is found in it changes with each time that somebody looks."""

    def __init__(self) -> None:
        self.looks = 0
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.looks += 1
        found = self.looks
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return found


@pytest.fixture
def well() -> Well:
    return Well()


async def test_who_asks_while_it_is_being_answered_gets_the_next_answer(well: Well) -> None:
    rounds = Rounds[str, int]()
    first = asyncio.create_task(rounds.ask("depth", well))
    await settle()
    others = [asyncio.create_task(rounds.ask("depth", well)) for _ in range(3)]
    another = asyncio.create_task(rounds.ask("width", well))
    await settle()
    assert well.looks == 2  # the first one's, and the one for another question
    well.may_answer.set()
    assert await asyncio.gather(first, *others) == [1, 3, 3, 3]
    assert await another == 2
    assert await rounds.ask("depth", well) == 4
    assert rounds._late == {}


async def test_a_failure_is_that_of_its_round(well: Well) -> None:
    rounds = Rounds[str, int]()
    first = asyncio.create_task(rounds.ask("depth", well))
    await settle()
    others = [asyncio.create_task(rounds.ask("depth", well)) for _ in range(2)]
    await settle()
    well.error = ConnectionError("gone")
    well.may_answer.set()
    outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionError] * 3
    assert well.looks == 2
    well.error = None
    assert await rounds.ask("depth", well) == 3


@pytest.mark.parametrize("leaves", ["before its turn", "when it is its turn", "in its turn"])
async def test_who_leaves_does_not_keep_the_others_waiting(well: Well, leaves: str) -> None:
    rounds = Rounds[str, int]()
    others: list[asyncio.Task[int]] = []

    async def find_while_others_come() -> int:
        others.extend(asyncio.create_task(rounds.ask("depth", well)) for _ in range(2))
        await settle()
        return 0

    assert await rounds.ask("depth", find_while_others_come) == 0
    # Now the second has been told that it is its turn, and has not begun.
    second, third = others
    if leaves == "when it is its turn":
        second.cancel()
    await settle()
    if leaves == "in its turn":
        second.cancel()
    if leaves == "before its turn":
        fourth = asyncio.create_task(rounds.ask("depth", well))
        fifth = asyncio.create_task(rounds.ask("depth", well))
        await settle()
        fourth.cancel()
        well.may_answer.set()
        assert await asyncio.gather(second, third, fifth) == [1, 1, 2]
    else:
        well.may_answer.set()
        assert await third == (1 if leaves == "when it is its turn" else 2)
        with pytest.raises(asyncio.CancelledError):
            await second
    assert rounds._late == {}
