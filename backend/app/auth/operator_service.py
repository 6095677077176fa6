"""What operators do to accounts at the console, where nobody is logged in: the system does it."""

from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import mfa_repository, repository, role_repository
from app.auth.permissions import ADMIN
from app.auth.schemas import Signup, UserOut
from app.auth.service import AccountService
from app.auth.user_service import UserFilter, UserService
from app.core.errors import AlreadyExists, InvalidTransition, NotFound
from app.core.events import SYSTEM, record
from app.core.pagination import MAXIMUM_LIMIT, PageRequest


class OperatorService:
    def __init__(self, session: AsyncSession, accounts: AccountService, users: UserService) -> None:
        self._session = session
        self._accounts = accounts
        self._users = users

    async def create_superuser(self, new: Signup) -> UserOut:
        """Make an account that may do everything.

        Raises:
            ValidationFailed: the password is too weak.
            EmailDomainNotAllowed, AlreadyExists: the address.
        """
        password = new.password.get_secret_value()
        self._accounts.check_domain(new.email)
        await self._accounts.check_password(
            password, email=new.email, name=new.name, field="password"
        )
        user_id = await repository.add_user(
            self._session,
            email=new.email,
            name=new.name,
            hashed_password=await self._accounts.hash_password(password),
            role_ids=await role_repository.ids_named(self._session, [ADMIN]),
            is_superuser=True,
            # Who can run this could set it in the database as well.
            email_verified=True,
        )
        if user_id is None:
            raise AlreadyExists("This address has an account already.")
        created = await self._accounts.profile(user_id)
        await record(
            self._session,
            "user.created",
            subject_id=user_id,
            actor=SYSTEM,
            after=created.model_dump(mode="json"),
        )
        return created

    async def set_password(self, email: str, password: str) -> None:
        """Give an account another password, and log it out everywhere.

        Raises:
            NotFound: no account has this address.
            ValidationFailed: the password is too weak.
        """
        user = await repository.user_with_password(self._session, email)
        if user is None:
            raise NotFound("No account has this address.")
        await self._accounts.check_password(
            password, email=user.email, name=user.name, field="password"
        )
        await self._accounts.set_password(user.id, password, SYSTEM)

    async def remove_second_factor(self, email: str) -> None:
        """Let somebody log in without the second factor they have lost, and log them out.

        Raises:
            NotFound: no account has this address.
            InvalidTransition: it has no second factor.
        """
        user = await repository.user_with_password(self._session, email)
        if user is None:
            raise NotFound("No account has this address.")
        if not user.mfa_enabled:
            raise InvalidTransition("This account has no second factor.")
        await mfa_repository.remove(self._session, user.id)
        await mfa_repository.set_enabled(self._session, user.id, enabled=False)
        await record(self._session, "user.mfa_disabled", subject_id=user.id, actor=SYSTEM)
        await self._accounts.end_sessions(user.id, SYSTEM, "mfa_disabled")

    async def users(self, wanted: UserFilter) -> AsyncIterator[UserOut]:
        """Every account that matches, in the order of their addresses, a page at a time."""
        cursor: str | None = None
        while True:
            page = await self._users.list_users(
                wanted, PageRequest(MAXIMUM_LIMIT, cursor), sort="email"
            )
            for user in page.items:
                yield user
            if (cursor := page.next_cursor) is None:
                return
