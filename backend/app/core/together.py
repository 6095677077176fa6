"""One call for many: who asks while a call is on its way goes with the next one.

Alone, nobody waits. Under load a call carries all that came during the one before it, so that a
server is asked as often as it can answer, however many ask.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

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
        return await self._add(question)

    def tell(self, question: AskedT) -> None:
        """Have it carried, whatever becomes of that."""
        self._add(question).add_done_callback(_see)

    def _add(self, question: AskedT) -> "asyncio.Future[AnswerT]":
        answer: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._calling is None:
            # A task of nobody's: who asked first may leave, and the others still want to know.
            self._calling = asyncio.create_task(self._call())
        return answer

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


def _see(answer: "asyncio.Future[AnswerT]") -> None:
    """Take note of a failure, of which asyncio would else complain that nobody did."""
    if not answer.cancelled():
        answer.exception()


class Rounds(Generic[AskedT, AnswerT]):
    """Answers a question once for all who ask the same before that begins.

    Nobody is given an answer that was begun before they asked: it knows all that was so before.
    """

    def __init__(self) -> None:
        # For each question that is being answered, those who came too late for this round.
        self._late: dict[AskedT, list[asyncio.Future[_Turn[AnswerT]]]] = {}

    async def ask(self, question: AskedT, find: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """What `find` finds, for this asker or for another one. What it raises, all of them get."""
        others: Sequence[asyncio.Future[_Turn[AnswerT]]] = ()
        late = self._late.get(question)
        if late is None:
            self._late[question] = []
        else:
            turn = await self._wait(question, late)
            if not isinstance(turn, _Lead):
                return turn
            others = turn.others
        try:
            answer = await find()
        except asyncio.CancelledError:
            self._begin(question, others)  # it was this asker who left, and not the others
            raise
        except Exception as error:
            for other in others:
                if not other.done():
                    other.set_exception(error)
            self._begin(question)
            raise
        for other in others:
            if not other.done():
                other.set_result(answer)
        self._begin(question)
        return answer

    async def _wait(
        self, question: AskedT, late: list["asyncio.Future[_Turn[AnswerT]]"]
    ) -> "_Turn[AnswerT]":
        turn: asyncio.Future[_Turn[AnswerT]] = asyncio.get_running_loop().create_future()
        late.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and isinstance(lead := turn.result(), _Lead):
                self._begin(question, lead.others)
            raise

    def _begin(
        self, question: AskedT, left: Sequence["asyncio.Future[_Turn[AnswerT]]"] = ()
    ) -> None:
        """Have one of those who still want to know find the answer for all of them."""
        waiting = [turn for turn in (*left, *self._late[question]) if not turn.done()]
        if not waiting:
            del self._late[question]
            return
        self._late[question] = []
        waiting[0].set_result(_Lead(waiting[1:]))


class _Lead(Generic[AnswerT]):
    """It is this asker's turn to find the answer, for these others too."""

    def __init__(self, others: Sequence["asyncio.Future[_Turn[AnswerT]]"]) -> None:
        self.others = others


_Turn: TypeAlias = AnswerT | _Lead[AnswerT]
