"""Signing up and logging in."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import repository
from app.auth.errors import AccountDisabled, InvalidCredentials
from app.auth.permissions import CUSTOMER
from app.auth.repository import Account
from app.auth.rules import password_problem
from app.auth.schemas import AccessToken, Signup, UserOut
from app.auth.tokens import Claims, TokenSigner
from app.core.clock import Clock
from app.core.errors import AlreadyExists, Unauthenticated, ValidationFailed
from app.core.events import Actor, record
from app.core.security import PasswordHasher


class AccountService:
    def __init__(
        self, session: AsyncSession, passwords: PasswordHasher, signer: TokenSigner, clock: Clock
    ) -> None:
        self._session = session
        self._passwords = passwords
        self._signer = signer
        self._clock = clock

    async def sign_up(self, signup: Signup) -> UserOut:
        """Create a customer's account. Three round trips, after a quarter second of bcrypt.

        Raises:
            ValidationFailed: the password is too weak.
            AlreadyExists: the address has an account.
        """
        password = signup.password.get_secret_value()
        if problem := password_problem(password, email=signup.email, name=signup.name):
            raise ValidationFailed.at("#/password", problem)
        hashed = await self._passwords.hash(password)
        user_id = await repository.add_user(
            self._session,
            email=signup.email,
            name=signup.name,
            hashed_password=hashed,
            role=CUSTOMER,
        )
        if user_id is None:
            raise AlreadyExists("This address has an account already.")
        await record(
            self._session, "user.created", subject_id=user_id, actor=Actor("user", user_id)
        )
        return await self.profile(user_id)

    async def log_in(self, email: str, password: str) -> AccessToken:
        """Exchange address and password for a token, with equal work for unknown addresses.

        Raises:
            InvalidCredentials: no such address, or not its password.
            AccountDisabled: the password is right, but the account was disabled.
        """
        user = await repository.user_with_password(self._session, email)
        # bcrypt takes a quarter of a second: hold no connection meanwhile.
        await self._session.close()
        if not await self._passwords.verify(password, user.hashed_password if user else None):
            raise InvalidCredentials
        if user is None or not user.is_active:
            raise AccountDisabled
        return self._token(Claims(user.id, user.token_version), self._clock())

    async def profile(self, user_id: UUID) -> UserOut:
        account = await repository.account(self._session, user_id)
        if account is None:
            raise Unauthenticated
        return _user_out(account)

    def _token(self, claims: Claims, now: datetime) -> AccessToken:
        return AccessToken(
            access_token=self._signer.issue(claims, now),
            expires_in=int(self._signer.lifetime.total_seconds()),
        )


def _user_out(account: Account) -> UserOut:
    user = account.user
    return UserOut(
        id=user.id,
        name=user.name,
        email=user.email,
        phone=user.phone,
        time_zone=user.time_zone,
        locale=user.locale,
        roles=account.roles,
        permissions=account.permissions,
        is_active=user.is_active,
        is_superuser=user.is_superuser,
        email_verified=user.email_verified,
        version=user.version,
        created_at=user.created_at,
        updated_at=user.updated_at,
    )
