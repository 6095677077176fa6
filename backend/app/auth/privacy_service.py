"""What is known about a person: shown to them, or erased (ADR 9)."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import repository, session_repository
from app.auth.account import Account
from app.auth.errors import InvalidCredentials
from app.auth.principal import Principal
from app.auth.schemas import ExportedSession, PersonalExport
from app.auth.user_service import UserService
from app.core.clock import Clock
from app.core.errors import Unauthenticated
from app.core.events import Actor, record
from app.core.personal_data import PersonalData
from app.core.preconditions import IfMatch
from app.core.security import PasswordHasher
from app.core.unit_of_work import TransactionConflict


class PrivacyService:
    def __init__(
        self,
        session: AsyncSession,
        passwords: PasswordHasher,
        users: UserService,
        elsewhere: Sequence[PersonalData],
        clock: Clock,
    ) -> None:
        self._session = session
        self._passwords = passwords
        self._users = users
        self._elsewhere = elsewhere
        self._clock = clock

    async def export(self, principal: Principal) -> PersonalExport:
        """Everything about the caller, and nothing about anybody else. Some ten round trips."""
        account = await self._own_account(principal)
        sessions = await session_repository.sessions_of(self._session, principal.user_id)
        sections = {
            part.section: await part.export(self._session, principal.user_id)
            for part in self._elsewhere
        }
        return PersonalExport(
            exported_at=self._clock(),
            account=account.out(),
            sessions=[ExportedSession.model_validate(row) for row in sessions],
            **sections,
        )

    async def erase_own(self, password: str, seen: IfMatch, principal: Principal) -> None:
        """Erase the caller, who proves with the password that it is them.

        Raises:
            InvalidCredentials: the password is wrong.
            VersionMismatch.
            InUse: it is the last active superuser.
        """
        user = await repository.user_with_password_by_id(self._session, principal.user_id)
        # bcrypt takes a quarter of a second: hold no connection meanwhile.
        await self._session.close()
        if user is None or not await self._passwords.verify(password, user.hashed_password):
            raise InvalidCredentials
        await self._erase(await self._own_account(principal), seen, principal.actor)

    async def erase_other(self, user_id: UUID, seen: IfMatch, principal: Principal) -> None:
        """Erase somebody's account, on their behalf or the business's.

        Raises:
            NotFound, VersionMismatch.
            Forbidden: the account may do what the caller may not.
            InUse: it is the last active superuser.
        """
        account = await self._users.manageable(user_id, principal)
        await self._erase(account, seen, principal.actor)

    async def _erase(self, account: Account, seen: IfMatch, actor: Actor) -> None:
        """Fence the account off, forget the person everywhere, then remove the account.

        Its roles, sessions and whatever else only an account has go with it. Some ten round trips.
        """
        user = account.user
        seen.check(user.version)
        await self._users.keep_a_superuser(account)
        if not await repository.lock_version(self._session, user.id, user.version):
            # Changed since it was read, and with it perhaps who may do this: once more, as a whole.
            raise TransactionConflict
        for part in self._elsewhere:
            await part.erase(self._session, user.id, actor)
        await self._session.delete(user)
        await self._session.flush()
        await record(self._session, "user.erased", subject_id=user.id, actor=actor)

    async def _own_account(self, principal: Principal) -> Account:
        account = await repository.account(self._session, principal.user_id)
        if account is None:
            raise Unauthenticated
        return account
