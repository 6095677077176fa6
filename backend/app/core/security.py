"""Passwords: hashed with bcrypt, off the event loop, by few threads.

bcrypt reads 72 bytes and stops at NUL; `bcrypt_sha256` digests the password first, so every byte of
any length counts. What looks the same is the same password, whichever code points a keyboard makes
of it: it is hashed in Unicode's form NFC (RFC 8265, 4.2).

One hash costs about a quarter of a second of one core. It releases the GIL, so as many threads as
cores keep the loop free; more only make everybody slower.
"""

import asyncio
import contextlib
import os
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from passlib.context import CryptContext

from app.core.errors import Unavailable

MAXIMUM_PASSWORD_BYTES = 4096
_QUEUE_PER_THREAD = 32
_NICENESS = 10

ResultT = TypeVar("ResultT")


def normalised(password: str) -> str:
    """The form in which a password is measured and hashed; it may be longer than what was typed."""
    return unicodedata.normalize("NFC", password)


class PasswordHasher:
    """Hashes and verifies; refuses work rather than queueing without end.

    Raises:
        Unavailable: so many are waiting that this one would wait for many seconds.
    """

    def __init__(self, *, rounds: int = 12, threads: int | None = None) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._waiting = 0
        self._pool = ThreadPoolExecutor(self._threads, "bcrypt", initializer=_yield_to_the_loop)
        self._context = CryptContext(
            # One cost and no other: a hash of another one is renewed when its password is seen.
            ["bcrypt_sha256"],
            bcrypt_sha256__min_rounds=rounds,
            bcrypt_sha256__max_rounds=rounds,
        )
        # Verified in place of a hash that does not exist, so that both take equally long.
        self._nobody = self._pool.submit(self._context.hash, "nobody")

    async def hash(self, password: str) -> str:
        return await self._run(partial(self._context.hash, normalised(password)))

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Whether it matches; for an unknown user (`None`) never, after the same work."""
        matches = await self._run(partial(self._matches, password, hashed))
        return matches and hashed is not None

    def _matches(self, password: str, hashed: str | None) -> bool:
        # As it was typed, too: so it was hashed before passwords were normalised.
        forms = dict.fromkeys((normalised(password), password))
        return any(self._is_hashed(form, hashed) for form in forms)

    def _is_hashed(self, password: str, hashed: str | None) -> bool:
        try:
            return bool(self._context.verify(password, hashed or self._nobody.result()))
        except ValueError:  # longer than passlib reads, or with a NUL: nobody's password
            return False

    def is_outdated(self, hashed: str) -> bool:
        """Whether the scheme or the cost has changed since this hash was made."""
        return bool(self._context.needs_update(hashed))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: "partial[ResultT]") -> ResultT:
        if self._waiting >= self._threads * _QUEUE_PER_THREAD:
            raise Unavailable("Too many logins are waiting.", retry_after_seconds=5)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1


def _yield_to_the_loop() -> None:
    """Lower this thread's priority; Linux schedules threads, so only this one is slower."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
