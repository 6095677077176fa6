"""Other people's accounts, as administrators see and change them."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import repository, role_repository
from app.auth.account import Account
from app.auth.principal import Principal
from app.auth.role_repository import Granting
from app.auth.rules import may_grant, may_manage
from app.auth.schemas import UserCreate, UserOut, UserPatch
from app.auth.service import AccountService
from app.auth.session_service import SessionService
from app.core.errors import AlreadyExists, Forbidden, InUse, NotFound, ValidationFailed
from app.core.events import record, record_change
from app.core.pagination import Page, PageRequest
from app.core.preconditions import IfMatch
from app.core.schemas import patched
from app.core.unit_of_work import constraint_name


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which accounts a list shows; None shows all."""

    email: str | None = None
    role: str | None = None
    is_active: bool | None = None
    q: str | None = None


class UserService:
    def __init__(
        self, session: AsyncSession, accounts: AccountService, sessions: SessionService
    ) -> None:
        self._session = session
        self._accounts = accounts
        self._sessions = sessions

    async def create(self, new: UserCreate, principal: Principal) -> UserOut:
        """Make an account for somebody, and have its address verified by a mail.

        Raises:
            ValidationFailed: the password is too weak, or a role is unknown.
            EmailDomainNotAllowed, AlreadyExists: the address.
            Forbidden: a role grants what the caller lacks.
        """
        password = new.password.get_secret_value()
        self._accounts.check_domain(new.email)
        await self._accounts.check_password(
            password, email=new.email, name=new.name, field="password"
        )
        hashed = await self._accounts.hash_password(password)
        roles = await self._roles_to_give(new.roles, principal, held=())
        user_id = await repository.add_user(
            self._session,
            email=new.email,
            name=new.name,
            hashed_password=hashed,
            role_ids=[granting.role.id for granting in roles],
            is_active=new.is_active,
        )
        if user_id is None:
            raise AlreadyExists("This address has an account already.")
        await self._accounts.send_verification(user_id, new.email)
        out = (await self._account(user_id)).out()
        await record(
            self._session,
            "user.created",
            subject_id=user_id,
            actor=principal.actor,
            after=out.model_dump(mode="json"),
        )
        return out

    async def change(
        self, user_id: UUID, patch: UserPatch, seen: IfMatch, principal: Principal
    ) -> UserOut:
        """Change an account. What was taken away is gone within a second, everywhere.

        Raises:
            NotFound, VersionMismatch, AlreadyExists or EmailDomainNotAllowed (the address).
            Forbidden: the account may do what the caller may not, or would.
            InUse: it is the last active superuser.
        """
        account = await self.manageable(user_id, principal)
        seen.check(account.user.version)
        fields = patched(patch)
        before = account.out().model_dump(mode="json")
        if "is_superuser" in fields and not principal.is_superuser:
            raise Forbidden("Only superusers make or unmake superusers.")
        if fields.get("is_active") is False or fields.get("is_superuser") is False:
            await self.keep_a_superuser(account)
        has_moved = "email" in fields and fields["email"] != account.user.email
        if has_moved:
            self._accounts.check_domain(fields["email"])
            fields["email_verified"] = False
        await self._give(account, fields.pop("roles", account.roles), principal)
        for name, value in fields.items():
            setattr(account.user, name, value)
        await self._flush()
        if has_moved:
            await self._accounts.address_changed(user_id, fields["email"])
        if fields.get("is_active") is False:
            await self._sessions.end_all(user_id, principal.actor, "disabled")
        out = (await self._account(user_id)).out()
        await record_change(
            self._session,
            "user.changed",
            subject_id=user_id,
            actor=principal.actor,
            before=before,
            after=out.model_dump(mode="json"),
        )
        return out

    async def show(self, user_id: UUID) -> UserOut:
        return (await self._account(user_id)).out()

    async def list_users(
        self, wanted: UserFilter, page: PageRequest, *, sort: str
    ) -> Page[UserOut]:
        return await repository.USERS.page(
            self._session,
            repository.users(
                email=wanted.email, role=wanted.role, is_active=wanted.is_active, q=wanted.q
            ),
            page,
            sort=sort,
            build=lambda row: repository.account_of(row).out(),
        )

    async def manageable(self, user_id: UUID, principal: Principal) -> Account:
        """The account, for who may change it. Raises NotFound; Forbidden: it may do more."""
        account = await self._account(user_id)
        if not may_manage(
            principal, permissions=account.permissions, is_superuser=account.user.is_superuser
        ):
            raise Forbidden("This account may do more than you may.")
        return account

    async def _account(self, user_id: UUID) -> Account:
        account = await repository.account(self._session, user_id)
        if account is None:
            raise NotFound
        return account

    async def keep_a_superuser(self, account: Account) -> None:
        """Refuse to take the last active superuser away; two who try at once wait in line."""
        if not account.user.is_superuser:
            return
        others = await repository.lock_active_superusers(self._session) - {account.user.id}
        if not others:
            raise InUse("This is the last active superuser.")

    async def _give(self, account: Account, names: list[str], principal: Principal) -> None:
        if set(names) == set(account.roles):
            return
        roles = await self._roles_to_give(names, principal, held=account.roles)
        await role_repository.replace_roles(
            self._session, account.user.id, [granting.role.id for granting in roles]
        )
        account.user.touch()

    async def _roles_to_give(
        self, names: list[str], principal: Principal, *, held: Iterable[str]
    ) -> list[Granting]:
        known = await role_repository.roles_named(self._session, names)
        for position, name in enumerate(names):
            if name not in known:
                raise ValidationFailed.at(f"#/roles/{position}", "no such role")
            if name not in held and not may_grant(principal, known[name].permissions):
                raise Forbidden("Nobody grants a permission that they lack.")
        return list(known.values())

    async def _flush(self) -> None:
        try:
            await self._session.flush()
        except IntegrityError as error:
            if constraint_name(error) == "uq_users_email":
                raise AlreadyExists("Another account has this address.") from None
            raise
