"""What Postgres said of a session or a key, believed for less than a second."""

from collections.abc import Callable, Hashable
from time import monotonic
from typing import Generic, TypeVar

from cachetools import LRUCache

REMEMBERED_SECONDS = 0.9
_ENTRIES = 10_000

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class ShortMemory(Generic[KeyT, ValueT]):
    """Answers, each believed for so many seconds from the moment of its question.

    Not from the moment of the answer: one that was asked before a revocation and came long after
    it, on a busy machine, must not be believed any longer for that.
    """

    def __init__(
        self, *, seconds: float = REMEMBERED_SECONDS, timer: Callable[[], float] = monotonic
    ) -> None:
        self.seconds = seconds
        self.timer = timer
        self._answers: LRUCache[KeyT, tuple[float, ValueT]] = LRUCache(_ENTRIES)

    def get(self, key: KeyT) -> ValueT | None:
        asked_at, value = self._answers.get(key, (None, None))
        if asked_at is None or self.timer() - asked_at >= self.seconds:
            return None
        return value

    def keep(self, key: KeyT, value: ValueT, *, asked_at: float) -> None:
        """Remember an answer to what was asked then, by the `timer`."""
        self._answers[key] = (asked_at, value)

    def clear(self) -> None:
        self._answers.clear()
