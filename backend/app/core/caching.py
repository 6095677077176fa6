"""Answers that many ask for: found once, kept in this process and in Redis, and never stale.

The key of an answer names all that it was made from: what was asked, whose sight it is for, and the
versions, read from Postgres with each request, of all that it says. What has changed is asked for
by another key. So nothing has to be deleted when something is written, and nothing can be deleted
too late, or not at all because Redis was away: old answers are forgotten when their time is over.

Redis is believed only what one of our processes wrote there for that very key: each answer is
sealed with the application's secret. What is damaged, forged or misplaced is as good as missing.
"""

import asyncio
import hashlib
import hmac
import math
import struct
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

from cachetools import LRUCache
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from app.config import Settings
from app.core.breaker import AwayError, Breaker
from app.core.metrics import CACHE_LOOKUPS
from app.core.together import Together

KEPT_BYTES: Final = 64 * 1024 * 1024
"""What a process keeps for itself."""
LARGEST_BYTES: Final = 1024 * 1024
"""A larger body is not given to Redis: who takes it from there would keep the others waiting."""

_SEAL_BYTES: Final = 16
_ENTRY_BYTES: Final = 500  # of an entry besides its body, by and large
_HEAD: Final = struct.Struct(">ddH")


@dataclass(frozen=True, slots=True)
class Answer:
    """A body in JSON, its entity tag, and until when time alone does not change it.

    `fresh_until` is in seconds since the epoch; None: it does not change by itself.
    """

    body: bytes
    etag: str
    fresh_until: float | None = None

    def is_fresh(self, now: float) -> bool:
        return self.fresh_until is None or now < self.fresh_until


class Found(StrEnum):
    """How an answer was come by: the value of `X-Cache`."""

    HIT = "hit"
    MISS = "miss"
    BYPASS = "bypass"
    """It was made, without having been looked for: Redis is away, or nothing is to be kept."""


def content_tag(body: bytes) -> str:
    """An entity tag that changes exactly when the body does."""
    return f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


class AnswerCache:
    """The answers of a process, the last used first; and behind them those of all, in Redis.

    Args:
        shared: where answers are shared; None: nowhere.
        ttl: seconds that an answer is kept; 0: none is.
        clock: seconds since the epoch, for `ttl`.
    """

    def __init__(
        self,
        shared: "SharedAnswers | None",
        *,
        ttl: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._shared = shared
        self._ttl = ttl
        self._clock = clock
        self._kept: LRUCache[Hashable, tuple[Answer, float]] = LRUCache(
            KEPT_BYTES, getsizeof=lambda kept: len(kept[0].body) + _ENTRY_BYTES
        )
        self._flights: dict[Hashable, asyncio.Future[Answer | None]] = {}

    @classmethod
    def from_settings(cls, settings: Settings, redis: Redis) -> "AnswerCache":
        secret = settings.SECRET_KEY.get_secret_value()
        shared = SharedAnswers(redis, prefix=settings.CACHE_PREFIX, secret=secret)
        return cls(shared, ttl=settings.CACHE_TTL)

    async def get(
        self, of: str, key: Hashable, now: float, make: Callable[[], Awaitable[Answer]]
    ) -> tuple[Answer, Found]:
        """The answer kept under this key; else the one that `make` makes, which is then kept.

        Of those who miss the same answer at once one makes it, and the others wait for that. What
        `make` raises, all of them get. At most one call to Redis, and none where the process has
        the answer itself.

        Args:
            of: what the answer is about, in metrics.
            key: all that the answer depends on but time; its `repr` says the same in all processes.
            now: seconds since the epoch, for the answers' freshness.
            make: makes the answer. It must not know less than the versions in the key.
        """
        answer, found = await self._get((of, key), now, make)
        CACHE_LOOKUPS.labels(of, found.value).inc()
        return answer, found

    async def _get(
        self, key: Hashable, now: float, make: Callable[[], Awaitable[Answer]]
    ) -> tuple[Answer, Found]:
        if not self._ttl:
            return await make(), Found.BYPASS
        while True:
            kept = self._kept.get(key)
            if kept is not None and kept[1] > self._clock() and kept[0].is_fresh(now):
                return kept[0], Found.HIT
            flight = self._flights.get(key)
            if flight is None:
                return await self._lead(key, now, make)
            # Shielded: who stops waiting does not stop the others.
            answer = await asyncio.shield(flight)
            if answer is not None and answer.is_fresh(now):
                return answer, Found.HIT

    async def _lead(
        self, key: Hashable, now: float, make: Callable[[], Awaitable[Answer]]
    ) -> tuple[Answer, Found]:
        flight: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        try:
            answer, found = await self._find(key, now, make)
        except Exception as error:
            flight.set_exception(error)
            flight.exception()  # it has been seen, also where nobody else waits
            raise
        else:
            flight.set_result(answer)
            return answer, found
        finally:
            del self._flights[key]
            if not flight.done():  # this one left: somebody else begins anew
                flight.set_result(None)

    async def _find(
        self, key: Hashable, now: float, make: Callable[[], Awaitable[Answer]]
    ) -> tuple[Answer, Found]:
        found = Found.MISS
        if self._shared is not None:
            try:
                kept = await self._shared.get(key)
            except AwayError:
                found = Found.BYPASS
            else:
                if kept is not None and kept[1] > self._clock() and kept[0].is_fresh(now):
                    self._keep(key, kept)
                    return kept[0], Found.HIT
        answer = await make()
        kept = (answer, self._clock() + self._ttl)
        self._keep(key, kept)
        if self._shared is not None and found is Found.MISS:
            self._shared.put(key, kept, self._seconds(answer, now))
        return answer, found

    def _keep(self, key: Hashable, kept: tuple[Answer, float]) -> None:
        if len(kept[0].body) + _ENTRY_BYTES <= self._kept.maxsize:
            self._kept[key] = kept

    def _seconds(self, answer: Answer, now: float) -> int:
        if answer.fresh_until is None:
            return self._ttl
        return max(1, min(self._ttl, math.ceil(answer.fresh_until - now)))


_Command: TypeAlias = tuple[str | bytes | int, ...]


class SharedAnswers:
    """Answers in Redis, for all processes. Calls are made for many requests together.

    Args:
        redis: its timeouts bound every request's wait.
        prefix: the first part of every key.
        secret: that of the seals.
        clock: seconds, for deciding when to ask a Redis again that did not answer.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        prefix: str,
        secret: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._prefix = f"{prefix}:answer:".encode()
        # What other code makes of the same versions is another answer.
        self._secret = hmac.digest(secret.encode(), b"cached answers" + _code(), hashlib.sha256)
        self._breaker = Breaker(
            "cache", gone="cache_bypassed", back="cache_used_again", clock=clock
        )
        self._commands = Together(self._carry_out)
        self._connection: AbstractConnection | None = None

    async def get(self, key: Hashable) -> tuple[Answer, float] | None:
        """An answer, and until when it may be kept, in seconds since the epoch.

        Raises:
            AwayError: Redis was not to be had.
        """
        name = self._name(key)
        value = await self._commands.ask(("GET", name))
        return self._unseal(name, value) if isinstance(value, bytes) else None

    def put(self, key: Hashable, kept: tuple[Answer, float], seconds: int) -> None:
        """Have an answer kept. Nobody waits for that."""
        if len(kept[0].body) <= LARGEST_BYTES:
            name = self._name(key)
            self._commands.tell(("SET", name, self._seal(name, kept), "EX", seconds))

    async def _carry_out(self, commands: Sequence[_Command]) -> Sequence[object]:
        return await self._breaker.ask(lambda: self._send(commands))

    async def _send(self, commands: Sequence[_Command]) -> Sequence[object]:
        """The replies. There is but one call at a time, so one connection does, and it is kept.

        A pipeline of the client, which takes one from the pool for each call, costs twice as much.
        """
        if self._connection is None:
            pool = self._redis.connection_pool
            self._connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        connection = self._connection
        was_open = connection.is_connected
        try:
            return await _replies(connection, commands)
        except RedisConnectionError:
            if not was_open:
                raise
        # It was closed since it was used last: that says nothing about Redis now.
        return await _replies(connection, commands)

    def _name(self, key: Hashable) -> bytes:
        digest = hashlib.blake2b(repr(key).encode(), key=self._secret, digest_size=16)
        return self._prefix + digest.hexdigest().encode()

    def _seal(self, name: bytes, kept: tuple[Answer, float]) -> bytes:
        answer, until = kept
        tag = answer.etag.encode()
        fresh_until = math.inf if answer.fresh_until is None else answer.fresh_until
        value = _HEAD.pack(until, fresh_until, len(tag)) + tag + answer.body
        return self._seal_of(name, value) + value

    def _unseal(self, name: bytes, sealed: bytes) -> tuple[Answer, float] | None:
        seal, value = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal_of(name, value)):
            return None
        until, fresh_until, length = _HEAD.unpack_from(value)
        tag_end = _HEAD.size + length
        tag = value[_HEAD.size : tag_end].decode()
        fresh = None if fresh_until == math.inf else fresh_until
        return Answer(value[tag_end:], tag, fresh), until

    def _seal_of(self, name: bytes, value: bytes) -> bytes:
        seal = hashlib.blake2b(name, key=self._secret, digest_size=_SEAL_BYTES)
        seal.update(value)
        return seal.digest()


@cache
def _code() -> bytes:
    """A digest of the application's sources."""
    digest = hashlib.blake2b()
    for source in sorted(Path(__file__).resolve().parents[1].rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.digest()


async def _replies(
    connection: AbstractConnection, commands: Sequence[_Command]
) -> Sequence[object]:
    try:
        await connection.send_packed_command(connection.pack_commands(commands))
        return [await _reply(connection) for _ in commands]
    except BaseException:
        await connection.disconnect(nowait=True)  # it connects again when it is used
        raise


async def _reply(connection: AbstractConnection) -> object:
    """What Redis says to a command; None where it refuses it.

    That concerns this one alone: another kind of value has its name, or there is no room left.
    """
    try:
        return await connection.read_response()
    except ResponseError:
        return None
