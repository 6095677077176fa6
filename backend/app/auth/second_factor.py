"""Checking a second factor: each code once, and few wrong ones."""

from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import mfa_repository as repository
from app.auth.codes import TotpSecrets, is_totp, matching_step, recovery_digest, typed
from app.auth.errors import CodesLocked, InvalidCode, MfaRequired
from app.auth.mfa_repository import Factor
from app.auth.rules import LOCKED_FOR, WRONG_CODES, after_wrong_code
from app.core.clock import Clock
from app.core.events import Actor, record

log = structlog.get_logger(__name__)


class SecondFactor:
    def __init__(self, session: AsyncSession, totp: TotpSecrets, clock: Clock) -> None:
        self._session = session
        self._totp = totp
        self._clock = clock

    async def check_login(self, user_id: UUID, code: str | None) -> None:
        """Let a login with the right password pass. One round trip without a second factor.

        The account stays locked until the session that follows is stored. So a login that began
        before the second factor was set up either asks for it, or is ended by it.

        Raises:
            MfaRequired: the account has a second factor, and no code was sent.
            InvalidCode, CodesLocked: see `check`.
        """
        if not await repository.lock_account(self._session, user_id):
            return
        if code is None:
            raise MfaRequired
        await self.check(user_id, code)

    async def check(self, user_id: UUID, code: str) -> None:
        """Accept a code, for good: it is spent. The caller has locked the account.

        While the app's codes are locked a recovery code is still good. It cannot be guessed, and
        so a thief of the password cannot keep the owner out.

        Three round trips for the app's code, four for a recovery code.

        Raises:
            InvalidCode: wrong, spent, or of a step too far away; the failure is counted.
            CodesLocked: too many were wrong.
        """
        factor = await repository.factor(self._session, user_id)
        if factor is None:
            raise InvalidCode
        now, code = self._clock(), typed(code)
        locked_until = factor.locked_until
        wait = locked_until - now if locked_until is not None and locked_until > now else None
        if is_totp(code):
            passed = wait is None and await self._accept_totp(factor, code, now)
        else:
            passed = await self._accept_recovery_code(factor, code, now)
        if passed:
            await repository.set_failures(self._session, user_id, 0, None)
        elif wait is not None:
            raise CodesLocked(wait, attempts=WRONG_CODES, window=LOCKED_FOR)
        else:
            await self._count_failure(factor, now)
            raise InvalidCode

    async def _accept_totp(self, factor: Factor, code: str, now: datetime) -> bool:
        secret = self._totp.unseal(factor.sealed_secret, factor.user_id)
        if secret is None:
            log.error("totp_secret_unreadable", user_id=str(factor.user_id))
            return False
        step = matching_step(secret, code, now)
        return step is not None and await repository.accept_step(
            self._session, factor.user_id, step
        )

    async def _accept_recovery_code(self, factor: Factor, code: str, now: datetime) -> bool:
        user_id, digest = factor.user_id, recovery_digest(code)
        if not await repository.spend_recovery_code(self._session, user_id, digest, now):
            return False
        await self._record("user.recovery_code_used", user_id)
        return True

    async def _count_failure(self, factor: Factor, now: datetime) -> None:
        failures, locked_until = after_wrong_code(factor.failures, now)
        await repository.set_failures(self._session, factor.user_id, failures, locked_until)
        if locked_until is not None:
            await self._record("user.mfa_locked", factor.user_id)

    async def _record(self, event_type: str, user_id: UUID) -> None:
        await record(self._session, event_type, subject_id=user_id, actor=Actor("user", user_id))
