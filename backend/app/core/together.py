"""One call for many: who asks while a call is on its way goes with the next one.

Alone, nobody waits. Under load a call carries all that came during the one before it, so that a
server is asked as often as it can answer, however many ask.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

AskedT = TypeVar("AskedT")
AnswerT = TypeVar("AnswerT")

MAXIMUM_AT_ONCE = 100
"""Questions in one call."""


class Together(Generic[AskedT, AnswerT]):
    """Gives questions to `carry`, many at a time and never two calls at once.

    A question's call always begins after it was asked: its answer knows all that was so before.

    Args:
        carry: the answers to these questions, in their order. What it raises, all of them get.
    """

    def __init__(self, carry: Callable[[Sequence[AskedT]], Awaitable[Sequence[AnswerT]]]) -> None:
        self._carry = carry
        self._waiting: list[tuple[AskedT, asyncio.Future[AnswerT]]] = []
        self._calling: asyncio.Task[None] | None = None

    async def ask(self, question: AskedT) -> AnswerT:
        answer: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._calling is None:
            # A task of nobody's: who asked first may leave, and the others still want to know.
            self._calling = asyncio.create_task(self._call())
        return await answer

    async def _call(self) -> None:
        try:
            while self._waiting:
                asked = self._waiting[:MAXIMUM_AT_ONCE]
                del self._waiting[:MAXIMUM_AT_ONCE]
                await self._answer(asked)
        finally:
            self._calling = None
            for _, answer in self._waiting:  # only if the loop is being shut down
                answer.cancel()
            self._waiting.clear()

    async def _answer(self, asked: Sequence[tuple[AskedT, "asyncio.Future[AnswerT]"]]) -> None:
        wanted = [(question, answer) for question, answer in asked if not answer.done()]
        if not wanted:
            return
        try:
            answers = await self._carry([question for question, _ in wanted])
        except asyncio.CancelledError:
            for _, answer in wanted:
                answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it is raised where somebody waits
            for _, answer in wanted:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), got in zip(wanted, answers, strict=True):
            if not answer.done():
                answer.set_result(got)
