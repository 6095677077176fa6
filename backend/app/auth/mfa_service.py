"""Setting up a second factor, and taking it away again."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import mfa_repository, repository
from app.auth.codes import TotpSecrets, new_recovery_codes, recovery_digest
from app.auth.errors import InvalidCredentials
from app.auth.mfa_schemas import MfaOut, MfaProof, RecoveryCodesOut, TotpStarted
from app.auth.models import User
from app.auth.principal import Principal
from app.auth.rules import needs_second_factor
from app.auth.second_factor import SecondFactor
from app.auth.session_service import SessionService
from app.config import Settings
from app.core.errors import AlreadyExists, InvalidTransition, Unauthenticated
from app.core.events import record
from app.core.security import PasswordHasher


class MfaService:
    def __init__(
        self,
        session: AsyncSession,
        passwords: PasswordHasher,
        sessions: SessionService,
        totp: TotpSecrets,
        second_factor: SecondFactor,
        settings: Settings,
    ) -> None:
        self._session = session
        self._passwords = passwords
        self._sessions = sessions
        self._totp = totp
        self._second_factor = second_factor
        self._settings = settings

    async def state(self, principal: Principal) -> MfaOut:
        """Whether there is a second factor, and whether there must be. Two round trips."""
        account = await repository.account(self._session, principal.user_id)
        if account is None:
            raise Unauthenticated
        # Asked of the account: the principal's own permissions may be withheld for want of it.
        required = self._settings.REQUIRE_MFA_FOR_ADMINS and needs_second_factor(
            account.permissions, is_superuser=account.user.is_superuser
        )
        return MfaOut(
            enabled=account.user.mfa_enabled,
            required=required,
            recovery_codes_left=await mfa_repository.recovery_codes_left(
                self._session, principal.user_id
            ),
        )

    async def start(self, password: str, principal: Principal) -> TotpStarted:
        """Make a secret for an authenticator app. Nothing changes until a code confirms it.

        Three round trips, and a quarter second of bcrypt.

        Raises:
            InvalidCredentials: the password is wrong.
            AlreadyExists: a second factor is active; it has to be removed first.
        """
        user = await self._prove_password(principal, password)
        if await mfa_repository.lock_account(self._session, user.id):
            raise AlreadyExists("A second factor is active already.")
        secret = self._totp.new()
        await mfa_repository.put_pending(self._session, user.id, self._totp.seal(secret, user.id))
        return TotpStarted(secret=secret, otpauth_uri=self._totp.uri(secret, user.email))

    async def confirm(self, code: str, principal: Principal) -> RecoveryCodesOut:
        """Make the second factor count, and log out everywhere else: those had the password only.

        Raises:
            AlreadyExists: it is active already.
            InvalidTransition: none was started.
            InvalidCode, CodesLocked: the code; see `SecondFactor.check`.
        """
        user_id = principal.user_id
        if await mfa_repository.lock_account(self._session, user_id):
            raise AlreadyExists("A second factor is active already.")
        if await mfa_repository.factor(self._session, user_id) is None:
            raise InvalidTransition("No second factor is being set up.")
        await self._second_factor.check(user_id, code)
        await mfa_repository.set_enabled(self._session, user_id, enabled=True)
        codes = await self._new_recovery_codes(user_id)
        await self._record("user.mfa_enabled", principal)
        await self._sessions.end_all(
            user_id, principal.actor, "mfa_enabled", but=principal.session_id
        )
        return codes

    async def renew_recovery_codes(self, proof: MfaProof, principal: Principal) -> RecoveryCodesOut:
        """Ten new recovery codes; the old ones are worth nothing any more.

        Raises:
            InvalidCredentials, InvalidCode, CodesLocked: the proof.
            InvalidTransition: there is no second factor.
        """
        await self._prove_both(proof, principal)
        codes = await self._new_recovery_codes(principal.user_id)
        await self._record("user.recovery_codes_renewed", principal)
        return codes

    async def disable(self, proof: MfaProof, principal: Principal) -> None:
        """Remove the second factor. Raises as `renew_recovery_codes`."""
        await self._prove_both(proof, principal)
        await mfa_repository.set_enabled(self._session, principal.user_id, enabled=False)
        await mfa_repository.remove(self._session, principal.user_id)
        await self._record("user.mfa_disabled", principal)

    async def _prove_password(self, principal: Principal, password: str) -> User:
        user = await repository.user_with_password_by_id(self._session, principal.user_id)
        # bcrypt takes a quarter of a second: hold no connection meanwhile.
        await self._session.close()
        if user is None or not await self._passwords.verify(password, user.hashed_password):
            raise InvalidCredentials
        return user

    async def _prove_both(self, proof: MfaProof, principal: Principal) -> None:
        await self._prove_password(principal, proof.password.get_secret_value())
        if not await mfa_repository.lock_account(self._session, principal.user_id):
            raise InvalidTransition("There is no second factor.")
        await self._second_factor.check(principal.user_id, proof.code.get_secret_value())

    async def _new_recovery_codes(self, user_id: UUID) -> RecoveryCodesOut:
        codes = new_recovery_codes()
        digests = [recovery_digest(code) for code in codes]
        await mfa_repository.replace_recovery_codes(self._session, user_id, digests)
        return RecoveryCodesOut(recovery_codes=codes)

    async def _record(self, event_type: str, principal: Principal) -> None:
        await record(self._session, event_type, subject_id=principal.user_id, actor=principal.actor)
