"""Accounts: signing up, logging in, and what people change about their own."""

import asyncio
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import repository, role_repository
from app.auth.account import Account
from app.auth.errors import AccountDisabled, EmailDomainNotAllowed, InvalidCredentials
from app.auth.link_service import LinkService
from app.auth.models import Purpose, User
from app.auth.permissions import CUSTOMER
from app.auth.principal import Principal
from app.auth.rules import email_domain_allowed, password_problem
from app.auth.schemas import Device, PasswordChange, ProfilePatch, Signup, Tokens, UserOut
from app.auth.second_factor import SecondFactor
from app.auth.session_service import SessionService
from app.config import Settings
from app.core.errors import AlreadyExists, Unauthenticated, ValidationFailed
from app.core.events import Actor, record, record_change
from app.core.preconditions import IfMatch
from app.core.schemas import patched
from app.core.security import PasswordHasher
from app.core.unit_of_work import TransactionConflict


class AccountService:
    def __init__(
        self,
        session: AsyncSession,
        passwords: PasswordHasher,
        sessions: SessionService,
        second_factor: SecondFactor,
        settings: Settings,
        links: LinkService,
    ) -> None:
        self._session = session
        self._passwords = passwords
        self._sessions = sessions
        self._second_factor = second_factor
        self._settings = settings
        self._links = links

    async def sign_up(self, signup: Signup) -> UserOut:
        """Create a customer's account. Seven round trips, after a quarter second of bcrypt.

        Raises:
            ValidationFailed: the password is too weak.
            EmailDomainNotAllowed: this business admits other domains only.
            AlreadyExists: the address has an account.
        """
        user_id = await self._register(signup)
        if user_id is None:
            raise AlreadyExists("This address has an account already.")
        return await self.profile(user_id)

    async def sign_up_discreetly(self, signup: Signup) -> None:
        """The same, but only a mail to the address tells whether it had an account already.

        Six round trips for a new address and five for a known one, after the same bcrypt.

        Raises:
            ValidationFailed, EmailDomainNotAllowed: as above.
        """
        if await self._register(signup) is None:
            owner = await repository.user_id_of(self._session, signup.email)
            if owner is None:
                raise TransactionConflict  # deleted this very moment
            await self._links.tell_owner(owner)

    async def _register(self, signup: Signup) -> UUID | None:
        """Store a customer and have the address verified; None if it has an account already."""
        password = signup.password.get_secret_value()
        self.check_domain(signup.email)
        await self.check_password(password, email=signup.email, name=signup.name, field="password")
        hashed = await self.hash_password(password)
        user_id = await repository.add_user(
            self._session,
            email=signup.email,
            name=signup.name,
            hashed_password=hashed,
            role_ids=await role_repository.ids_named(self._session, [CUSTOMER]),
        )
        if user_id is None:
            return None
        await record(
            self._session, "user.created", subject_id=user_id, actor=Actor("user", user_id)
        )
        await self.send_verification(user_id, signup.email)
        return user_id

    async def send_verification(self, user_id: UUID, email: str) -> None:
        """Mail a link that verifies the address; the one before it is dead."""
        await self._links.send_verification(user_id, email)

    async def address_changed(self, user_id: UUID, email: str) -> None:
        """Have the new address verified; a link that was mailed to the old one is dead."""
        await self._links.end(user_id, Purpose.RESET_PASSWORD)
        await self.send_verification(user_id, email)

    async def log_in(
        self, email: str, password: str, device: Device, *, code: str | None = None
    ) -> Tokens:
        """Exchange address and password for a session, with equal work for unknown addresses.

        An account with a second factor needs its code as well; others may send one for nothing.

        Raises:
            InvalidCredentials: no such address, or not its password.
            AccountDisabled: the password is right, but the account was disabled.
            MfaRequired, InvalidCode, CodesLocked: the password is right; the second factor.
        """
        user = await repository.user_with_password(self._session, email)
        # bcrypt takes a quarter of a second: hold no connection meanwhile.
        await self._session.close()
        if not await self._passwords.verify(password, user.hashed_password if user else None):
            raise InvalidCredentials
        if user is None or not user.is_active:
            raise AccountDisabled
        renewed = None
        if self._passwords.is_outdated(user.hashed_password):
            renewed = await self._passwords.hash(password)
        await self._lock_unchanged(user)
        if renewed is not None:
            await repository.replace_hash(self._session, user.id, user.hashed_password, renewed)
        await self._second_factor.check_login(user.id, code)
        # Who knows the password has no use for a link that replaces it, and a thief has.
        await self._links.end(user.id, Purpose.RESET_PASSWORD)
        return await self._sessions.open(user.id, device)

    async def _lock_unchanged(self, user: User) -> None:
        """Hold on to the account as it was when its password was verified, a while ago.

        Raises:
            TransactionConflict: it has changed since; the login begins anew, with what is true now.
        """
        verified = (user.hashed_password, user.is_active)
        if await repository.lock_credentials(self._session, user.id) != verified:
            raise TransactionConflict

    async def profile(self, user_id: UUID) -> UserOut:
        return (await self._account(user_id)).out()

    async def change_profile(
        self, patch: ProfilePatch, seen: IfMatch, principal: Principal
    ) -> UserOut:
        account = await self._account(principal.user_id)
        seen.check(account.user.version)
        before = account.out().model_dump(mode="json")
        for name, value in patched(patch).items():
            setattr(account.user, name, value)
        await self._session.flush()
        out = account.out()
        await record_change(
            self._session,
            "user.changed",
            subject_id=principal.user_id,
            actor=principal.actor,
            before=before,
            after=out.model_dump(mode="json"),
        )
        return out

    async def change_password(self, change: PasswordChange, principal: Principal) -> None:
        """Set a new password and log out everywhere else.

        Raises:
            InvalidCredentials: the current password is wrong.
            ValidationFailed: the new one is too weak.
        """
        user = await repository.user_with_password_by_id(self._session, principal.user_id)
        await self._session.close()
        current = change.current_password.get_secret_value()
        if user is None or not await self._passwords.verify(current, user.hashed_password):
            raise InvalidCredentials
        new = change.new_password.get_secret_value()
        await self.check_password(new, email=user.email, name=user.name, field="new_password")
        await self.set_password(user.id, new, principal.actor, keep=principal.session_id)

    async def set_password(
        self, user_id: UUID, password: str, actor: Actor, *, keep: UUID | None = None
    ) -> None:
        """Replace the password and end all sessions but `keep`: who stole the old one is out."""
        hashed = await self._passwords.hash(password)
        await repository.set_hash(self._session, user_id, hashed)
        await record(self._session, "user.password_changed", subject_id=user_id, actor=actor)
        await self._links.end(user_id, Purpose.RESET_PASSWORD)
        await self._sessions.end_all(user_id, actor, "password_changed", but=keep)

    async def end_sessions(self, user_id: UUID, actor: Actor, reason: str) -> None:
        """Log an account out everywhere."""
        await self._sessions.end_all(user_id, actor, reason)

    async def hash_password(self, password: str) -> str:
        return await self._passwords.hash(password)

    async def check_password(self, password: str, *, email: str, name: str, field: str) -> None:
        """Raise ValidationFailed if the password is too weak."""
        minimum = self._settings.PASSWORD_MIN_LENGTH
        # To look for patterns takes up to 20 ms, which others need not wait for.
        problem = await asyncio.to_thread(
            password_problem, password, email=email, name=name, minimum_length=minimum
        )
        if problem is not None:
            raise ValidationFailed.at(f"#/{field}", problem)

    def check_domain(self, email: str) -> None:
        allowed = self._settings.ALLOWED_EMAIL_DOMAINS
        if self._settings.ENFORCE_EMAIL_DOMAIN and not email_domain_allowed(email, allowed):
            raise EmailDomainNotAllowed

    async def _account(self, user_id: UUID) -> Account:
        account = await repository.account(self._session, user_id)
        if account is None:
            raise Unauthenticated
        return account
