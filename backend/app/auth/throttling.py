"""How often anybody may try to log in, sign up and the like.

Three limits hold at once: per client address, per account, and over all. An account that does not
exist is limited like one that does, before anything is looked up, so limits tell nobody which is
which.

A guess is counted before it is judged: a hundred guesses at once are a hundred guesses. A success
gives its own count back, so failures alone count. It makes up for earlier failures at the same
place only, and never for what strangers did elsewhere: who guesses gains nothing when the owner
logs in (NIST SP 800-63B-3, 5.2.2).

Strangers must not lock the owner out. A place (account and network) is known once a login, or a
password reset by a mailed link, has succeeded from it. It has a count of its own and is exempt from
the limit over all: what strangers do elsewhere does not matter there, however long they go on.
Anywhere else a lock opens within 15 minutes, unless they go on; then the owner gets in by a reset,
which makes the new place known. Guessing cannot close that way: asking for a link is counted for
each network by itself, and for the account as a whole only in that no second link is mailed for a
while, about which nobody is told (`LinkService.send_reset`).

The price: a stranger in the owner's own network could learn, by locking the account from outside,
that it is used there. And hundreds of networks at once can use up what all share: that is an attack
on the service, which ends a minute after they do.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from fastapi import Depends, Request, Response

from app.auth.errors import AccountDisabled, MfaRequired
from app.core.errors import Unavailable, ValidationFailed
from app.core.rate_limit import Policy, RateLimiter, Standing, network_of

Action = Literal[
    "login",
    "signup",
    "refresh",
    "password_check",
    "password_forgot",
    "password_reset",
    "email_verify",
    "email_resend",
]

MINUTE, QUARTER, HOUR = 60, 900, 3600
PLACE_SECONDS = 30 * 24 * HOUR
"""How long a place is known after a login or a reset."""


NOT_GUESSES = (AccountDisabled, MfaRequired, Unavailable, ValidationFailed)
"""Endings that say nothing about a password's being wrong. All others count, foreseen or not."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The policies of one action; `account` only where a request names one.

    Where places are `apart`, the account is counted for each network by itself, known or not: for
    what is no guess, and what strangers must not use up.
    """

    address: Policy
    overall: Policy
    account: Policy | None = None
    apart: bool = False


LIMITS: Final[dict[Action, Limits]] = {
    "login": Limits(
        account=Policy("login", 10, QUARTER),
        address=Policy("login-address", 30, MINUTE),
        overall=Policy("login-overall", 600, MINUTE),
    ),
    "signup": Limits(
        address=Policy("signup", 30, HOUR),
        account=Policy("signup-account", 10, HOUR),
        overall=Policy("signup-overall", 300, MINUTE),
    ),
    # A token of 256 bits is not guessed, and whose it is stands in Postgres only: no account.
    "refresh": Limits(
        address=Policy("refresh", 60, MINUTE),
        overall=Policy("refresh-overall", 6000, MINUTE),
    ),
    # The password asked for again by someone who is logged in, maybe with a stolen token.
    "password_check": Limits(
        account=Policy("password-check", 10, QUARTER),
        address=Policy("password-check-address", 30, MINUTE),
        overall=Policy("password-check-overall", 600, MINUTE),
    ),
    "password_forgot": Limits(
        account=Policy("password-forgot", 5, HOUR),
        apart=True,
        address=Policy("password-forgot-address", 20, HOUR),
        overall=Policy("password-forgot-overall", 300, MINUTE),
    ),
    "password_reset": Limits(
        address=Policy("password-reset", 30, QUARTER),
        overall=Policy("password-reset-overall", 600, MINUTE),
    ),
    "email_verify": Limits(
        address=Policy("email-verify", 30, QUARTER),
        overall=Policy("email-verify-overall", 600, MINUTE),
    ),
    "email_resend": Limits(
        account=Policy("email-resend", 5, HOUR),
        address=Policy("email-resend-address", 20, HOUR),
        overall=Policy("email-resend-overall", 300, MINUTE),
    ),
}


@dataclass(frozen=True, slots=True)
class Count:
    """What was counted for an account: everywhere, or at one place."""

    limiter: RateLimiter
    policy: Policy
    account: str
    network: str
    is_at_known_place: bool
    is_apart: bool

    @property
    def who(self) -> tuple[str, ...]:
        return (self.account, self.network) if self.is_apart else (self.account,)

    async def take(self) -> Standing:
        return await self.limiter.take(self.policy, *self.who)

    async def give_back(self) -> Standing:
        return await self.limiter.give_back(self.policy, *self.who)

    async def settle(self) -> Standing:
        """Make up for it after a success, and for the failures of a known place before it."""
        if self.is_at_known_place:
            return await self.limiter.reset(self.policy, *self.who)
        await _make_known(self.limiter, self.account, self.network)
        return await self.give_back()


class Throttle:
    """The limits of one request; nothing is counted without a limiter."""

    def __init__(
        self, limiter: RateLimiter | None, limits: Limits, network: str, response: Response
    ) -> None:
        self._limiter = limiter
        self._limits = limits
        self._network = network
        self._response = response
        self._shown: dict[str, Standing] = {}

    async def enter(self) -> None:
        """Count the request for its address, and over all unless an account is going to be named.

        The address comes first: one that is refused must not use up what all others share.

        Raises:
            RateLimited: too many came from there, or from everywhere.
        """
        if self._limiter is None:
            return
        self._show(_admitted(await self._limiter.take(self._limits.address, self._network)))
        if self._limits.account is None:
            # Shown to nobody: how much others do is not the caller's business.
            _admitted(await self._limiter.take(self._limits.overall))

    async def admit(self, account: str) -> None:
        """Count the request for this account, whether it exists or not.

        Raises:
            RateLimited: it, or all accounts together, had too many.
        """
        await self._count(account)

    @asynccontextmanager
    async def attempt(self, account: str) -> AsyncIterator[None]:
        """Count the block as a failure for this account from before it runs until it ends well.

        Raises:
            RateLimited: there were too many failures already; the block does not run.
        """
        count = await self._count(account)
        try:
            yield
        except NOT_GUESSES:
            if count is not None:
                self._show(await count.give_back())
            raise
        if count is not None:
            self._show(await count.settle())

    async def proved(self, account: str) -> None:
        """Make this place known: its owner is here, as a mailed link has proved.

        Failed logins at this place are made up for, where it was known before, and none elsewhere.
        """
        login = LIMITS["login"].account
        if self._limiter is None or login is None:
            return
        await _make_known(self._limiter, account, self._network)
        await self._limiter.reset(login, account, self._network)

    async def _count(self, account: str) -> Count | None:
        policy = self._limits.account
        if policy is None:
            raise ValueError(f"{self._limits.address.name} has no limit per account")
        if self._limiter is None:
            return None
        known = await self._limiter.remembers("place", account, self._network)
        if not known:
            _admitted(await self._limiter.take(self._limits.overall))
        count = Count(
            self._limiter,
            policy,
            account,
            self._network,
            is_at_known_place=known,
            is_apart=known or self._limits.apart,
        )
        self._show(_admitted(await count.take()))
        return count

    def _show(self, standing: Standing) -> None:
        """Name the tightest policy in the headers of the answer, if it is a success.

        A refusal that is no 429 keeps silent: how often others failed is told to nobody who has
        not proved to be the owner.
        """
        self._shown[standing.policy.name] = standing
        tightest = min(self._shown.values(), key=lambda shown: (shown.remaining, -shown.seconds))
        self._response.headers.update(tightest.headers)


async def _make_known(limiter: RateLimiter, account: str, network: str) -> None:
    await limiter.remember("place", account, network, seconds=PLACE_SECONDS)


def _admitted(standing: Standing) -> Standing:
    if not standing.is_admitted:
        raise standing.refusal()
    return standing


def throttled(action: Action | Limits) -> Any:  # noqa: ANN401 - FastAPI's own type of Depends()
    """A dependency that admits or refuses the client's address, and gives the route a Throttle.

    Rooms above bring limits of their own.

    An action with a limit per account needs more: its route must call `admit(account)`, or
    `attempt(account)` where a secret is being guessed. Elsewhere the dependency is all:
    `dependencies=[throttled("password_reset")]`. It belongs before `Idempotent`.
    """

    async def throttle(request: Request, response: Response) -> Throttle:
        limits = action if isinstance(action, Limits) else LIMITS[action]
        host = request.client.host if request.client else ""
        limiter = request.app.state.rate_limiter
        throttle = Throttle(limiter, limits, network_of(host), response)
        await throttle.enter()
        return throttle

    return Depends(throttle)
