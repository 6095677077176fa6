"""Counters of sliding windows: in Redis, for all processes together, or in this process alone.

In Redis, what many requests take at the same moment is taken by one call, and what each takes from
several windows it takes from all of them or from none. `limits` needs two calls for each window of
each request: one to take, one to see what is left.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import NamedTuple, TypeAlias

from limits.aio.storage import MemoryStorage, RedisStorage
from redis.asyncio import Redis

# The two counters of a window, and when they change, are those of `limits`
# (acquire_sliding_window.lua): the current one lives twice as long as the window, once as the
# current one and once as the one before.
#
# KEYS: for each charge its window's previous and current counter. ARGV: for each request the number
# of its charges, then for each of those the quota, the window's milliseconds and the amount.
# Answer: for each charge whether it fits (if all of a request's do, they are taken), and both
# counters with the milliseconds until each ends.
_TAKE = """
local function count(key)
  local value = redis.call('get', key)
  if not value then return 0, 0 end
  return tonumber(value), math.max(redis.call('pttl', key), 0)
end

local answer, argument, key = {}, 1, 1
while argument <= #ARGV do
  local charges = tonumber(ARGV[argument])
  argument = argument + 1
  local fits = true
  local windows = {}
  for n = 1, charges do
    local before, current = KEYS[key], KEYS[key + 1]
    local quota, length, amount =
      tonumber(ARGV[argument]), tonumber(ARGV[argument + 1]), tonumber(ARGV[argument + 2])
    key, argument = key + 2, argument + 3
    local now, now_left = count(current)
    if now_left > 0 and now_left < length then
      redis.call('rename', current, before)
      redis.call('set', current, 0, 'PX', now_left + length)
      now, now_left = 0, now_left + length
    end
    local past, past_left = count(before)
    local has_room = math.floor(past * past_left / length) + now + amount <= quota
    fits = fits and has_room
    windows[n] = {has_room and 1 or 0, past, past_left, now, now_left, current, length, amount}
  end
  for _, window in ipairs(windows) do
    if fits then
      if window[5] > 0 then
        redis.call('incrby', window[6], window[8])
      else
        window[5] = 2 * window[7]
        redis.call('set', window[6], window[8], 'PX', window[5])
      end
      window[4] = window[4] + window[8]
    end
    for n = 1, 5 do answer[#answer + 1] = window[n] end
  end
end
return answer
"""

MAXIMUM_AT_ONCE = 100
"""Requests that one call counts."""

_REMEMBERED_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class Charge:
    """So much is to be taken from this window; a negative amount is given back."""

    key: str
    quota: int
    window_seconds: int
    amount: int = 1


class Window(NamedTuple):
    """Counts of the current window and of the one before, with the seconds until each is dropped.

    A window is kept twice as long as it lasts: once as the current one, once as the one before.
    """

    previous: int
    previous_seconds: float
    current: int
    current_seconds: float


class Count(NamedTuple):
    """Whether a charge fits, and what has been counted for its window, this charge included."""

    fits: bool
    window: Window


_Waiting: TypeAlias = "tuple[Sequence[Charge], asyncio.Future[list[Count]]]"


class SharedCounters:
    """Counters in Redis. All methods raise what its client raises."""

    def __init__(self, redis: Redis, *, prefix: str) -> None:
        self._storage = RedisStorage(
            "redis://",
            implementation="redispy",
            key_prefix=prefix,
            connection_pool=redis.connection_pool,  # type: ignore[arg-type]  # documented so
        )
        self.prefix = prefix
        self._take = redis.register_script(_TAKE)
        self._names = lru_cache(_REMEMBERED_NAMES)(self._make_names)
        self._waiting: list[_Waiting] = []
        self._counting: asyncio.Task[None] | None = None

    async def take(self, charges: Sequence[Charge]) -> list[Count]:
        """Take all that fit, if all of them do.

        Whoever comes while Redis is being asked waits for that answer, and goes with the others who
        came meanwhile.
        """
        counted: asyncio.Future[list[Count]] = asyncio.get_running_loop().create_future()
        self._waiting.append((charges, counted))
        if self._counting is None:
            self._counting = asyncio.create_task(self._count_waiting())
        return await counted

    async def clear(self, key: str, window_seconds: int) -> None:
        await self._storage.clear_sliding_window(key, window_seconds)

    async def mark(self, key: str, seconds: int) -> None:
        await self._storage.incr(key, seconds)

    async def is_marked(self, key: str) -> bool:
        return await self._storage.get(key) > 0

    def _make_names(self, key: str) -> tuple[str, str]:
        """The previous and the current counter, as `limits` calls them."""
        current = f"{self.prefix}:{{{key}}}"
        return f"{current}/-1", current

    async def _count_waiting(self) -> None:
        try:
            while self._waiting:
                taken = self._waiting[:MAXIMUM_AT_ONCE]
                del self._waiting[:MAXIMUM_AT_ONCE]
                await self._count(taken)
        finally:
            self._counting = None

    async def _count(self, taken: Sequence[_Waiting]) -> None:
        keys: list[str] = []
        arguments: list[int] = []
        for charges, _ in taken:
            arguments.append(len(charges))
            for charge in charges:
                keys += self._names(charge.key)
                arguments += (charge.quota, charge.window_seconds * 1000, charge.amount)
        try:
            answer = await self._take(keys, arguments)
        except asyncio.CancelledError:
            for _, counted in self._all(taken):
                counted.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it is raised where somebody waits
            for _, counted in self._all(taken):
                if not counted.done():
                    counted.set_exception(error)
            return
        counts = _counts(answer)
        for charges, counted in taken:
            mine = list(islice(counts, len(charges)))
            if not counted.done():
                counted.set_result(mine)

    def _all(self, taken: Sequence[_Waiting]) -> Sequence[_Waiting]:
        """These, and whoever came meanwhile, who would only wait for the same."""
        both = [*taken, *self._waiting]
        self._waiting.clear()
        return both


class LocalCounters:
    """Counters of this process."""

    def __init__(self) -> None:
        self._storage = MemoryStorage()

    async def take(self, charges: Sequence[Charge]) -> list[Count]:
        """Take all that fit, if all of them do."""
        fits = [await self._add(charge, charge.amount) for charge in charges]
        if not all(fits):
            for charge, fit in zip(charges, fits, strict=True):
                if fit:
                    await self._add(charge, -charge.amount)
        return [
            Count(fit, await self._window(charge))
            for charge, fit in zip(charges, fits, strict=True)
        ]

    async def clear(self, key: str, window_seconds: int) -> None:
        await self._storage.clear_sliding_window(key, window_seconds)

    async def mark(self, key: str, seconds: int) -> None:
        await self._storage.incr(key, seconds)

    async def is_marked(self, key: str) -> bool:
        return await self._storage.get(key) > 0

    async def _window(self, charge: Charge) -> Window:
        return Window(*await self._storage.get_sliding_window(charge.key, charge.window_seconds))

    async def _add(self, charge: Charge, amount: int) -> bool:
        return await self._storage.acquire_sliding_window_entry(
            charge.key, charge.quota, charge.window_seconds, amount
        )


def _counts(answer: Iterable[int]) -> Iterator[Count]:
    numbers = iter(answer)
    for fits, previous, previous_left, current, current_left in zip(*[numbers] * 5, strict=True):
        window = Window(previous, previous_left / 1000, current, current_left / 1000)
        yield Count(fits == 1, window)
