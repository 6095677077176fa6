"""Rate limits: at most so many in a window, counted in Redis for all processes together.

Windows slide: what happened in the window before counts by the share of it that the last
`window_seconds` still cover. Redis counts in one script, by its own clock, so the numbers are exact
however many ask at once and whatever the clocks of the API's machines say. Where Redis is away or
frozen, each process counts for itself what guards a secret, does not count the rest, and asks Redis
again every few seconds.

Names and addresses are digested before they become part of a key: Redis holds none.
"""

import hashlib
import hmac
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from typing import TypeVar

from redis.asyncio import Redis

from app.config import Settings
from app.core.breaker import AwayError, Breaker
from app.core.errors import RateLimited
from app.core.rate_counters import Charge, LocalCounters, SharedCounters, Window
from app.core.redis import create_limits_redis

_IPV6_SITE_BITS = 64
_REMEMBERED = 10_000

Counters = SharedCounters | LocalCounters
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Policy:
    """At most `quota` in any `window_seconds`; clients are told the name."""

    name: str
    quota: int
    window_seconds: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of a policy's quota, just after it was asked."""

    policy: Policy
    is_admitted: bool
    remaining: int
    seconds: int
    """Until the quota grows again, if nobody else takes from it."""

    @property
    def headers(self) -> dict[str, str]:
        """`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers)."""
        policy = self.policy
        return {
            "RateLimit-Policy": f'"{policy.name}";q={policy.quota};w={policy.window_seconds}',
            "RateLimit": f'"{policy.name}";r={self.remaining};t={self.seconds}',
        }

    def refusal(self) -> RateLimited:
        return RateLimited(headers={**self.headers, "Retry-After": str(self.seconds)})


def standing(policy: Policy, window: Window, *, is_admitted: bool) -> Standing:
    length = policy.window_seconds
    fading = math.floor(window.previous * window.previous_seconds / length)
    if fading > 0:  # the next unit of the window before is about to fade
        until = window.previous_seconds - fading * length / window.previous
    elif window.current > 0:  # it begins to fade when its own window ends
        until = window.current_seconds - length
    else:
        until = length - 1
    left = policy.quota - fading - window.current
    return Standing(
        policy,
        is_admitted,
        # What was given back in the window after it was taken makes the sum negative.
        remaining=min(max(left, 0), policy.quota),
        # A whole number that lies strictly after the moment at which it grows.
        seconds=min(max(math.floor(until) + 1, 1), length),
    )


class RateLimiter:
    """Counts, in Redis where it answers.

    Whoever is counted is named by one or more texts (`who`). No method raises when Redis is away.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        prefix: str,
        secret: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to count.

        Args:
            redis: a client of its own, closed by `aclose`; its timeouts bound every request's wait.
            prefix: the first part of every key.
            secret: the key of the digests, so that nobody can test a key for a known address.
            clock: seconds, for deciding when to ask Redis again.
        """
        self._redis = redis
        self._shared = SharedCounters(redis, prefix=prefix)
        self._local = LocalCounters()
        self._secret = secret.encode()
        self._charge = lru_cache(_REMEMBERED)(self._make_charge)
        self._redis_answers = Breaker(
            "limits",
            gone="rate_limits_counted_per_process",
            back="rate_limits_counted_in_redis",
            clock=clock,
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> "RateLimiter | None":
        """The limiter, or None where RATE_LIMIT_ENABLED is off."""
        if not settings.RATE_LIMIT_ENABLED:
            return None
        secret = settings.SECRET_KEY.get_secret_value()
        redis = create_limits_redis(settings)
        return cls(redis, prefix=settings.CACHE_PREFIX, secret=secret)

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def take(self, policy: Policy, *who: str) -> Standing:
        """Take one of the quota, if one is left; a refusal takes nothing."""
        return await self._add(policy, who, 1)

    async def take_all(self, *wanted: tuple[Policy, tuple[str, ...]]) -> list[Standing] | None:
        """Take one of each quota, if one is left of all of them; None where Redis is away.

        For what need not be guarded at that price: nobody counts then.
        """
        charges = [self._charge(policy, who, 1) for policy, who in wanted]
        try:
            counts = await self._count_in_redis(lambda counters: counters.take(charges))
        except AwayError:
            return None
        return [
            standing(policy, count.window, is_admitted=count.fits)
            for (policy, _), count in zip(wanted, counts, strict=True)
        ]

    async def give_back(self, policy: Policy, *who: str) -> Standing:
        """Return one that was taken."""
        return await self._add(policy, who, -1)

    async def reset(self, policy: Policy, *who: str) -> Standing:
        """Return all that was taken."""
        key, length = self._window_key(policy, who), policy.window_seconds
        await self._count(lambda counters: counters.clear(key, length))
        return standing(policy, Window(0, 0.0, 0, 0.0), is_admitted=True)

    async def remember(self, what: str, *who: str, seconds: int) -> None:
        """Make a mark that `remembers` finds for so long."""
        key = self._key(what, who)
        await self._count(lambda counters: counters.mark(key, seconds))

    async def remembers(self, what: str, *who: str) -> bool:
        """Whether the mark was made; False is also what a Redis that is away remembers."""
        key = self._key(what, who)
        return await self._count(lambda counters: counters.is_marked(key))

    async def _add(self, policy: Policy, who: tuple[str, ...], amount: int) -> Standing:
        charge = self._charge(policy, who, amount)
        (count,) = await self._count(lambda counters: counters.take([charge]))
        return standing(policy, count.window, is_admitted=count.fits)

    async def _count(self, work: Callable[[Counters], Awaitable[ResultT]]) -> ResultT:
        try:
            return await self._count_in_redis(work)
        except AwayError:
            return await work(self._local)

    async def _count_in_redis(
        self, work: Callable[[SharedCounters], Awaitable[ResultT]]
    ) -> ResultT:
        return await self._redis_answers.ask(lambda: work(self._shared))

    def _make_charge(self, policy: Policy, who: tuple[str, ...], amount: int) -> Charge:
        return Charge(self._window_key(policy, who), policy.quota, policy.window_seconds, amount)

    def _window_key(self, policy: Policy, who: tuple[str, ...]) -> str:
        # A window of another length has other counters: those of the old one would be misread.
        return self._key(f"{policy.name}:{policy.window_seconds}", who)

    def _key(self, what: str, who: tuple[str, ...]) -> str:
        named = "\0".join(("rate-limit", what, *who)).encode()
        return f"limit:{what}:{hmac.digest(self._secret, named, hashlib.sha256)[:16].hex()}"


@lru_cache(_REMEMBERED)
def network_of(host: str) -> str:
    """Who is counted as one client: an IPv4 address, or a whole /64 of IPv6.

    A subscriber gets a /64 at least (RFC 6177), and could take another address for every request.
    What is no address (a Unix socket's peer has none) is counted as it is.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{int(address) >> _IPV6_SITE_BITS:016x}/{_IPV6_SITE_BITS}"
