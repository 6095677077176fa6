"""The SQL of accounts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Select, Text, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from app.auth.account import Account
from app.auth.models import LoginSession, Role, RolePermission, User, UserRole
from app.auth.session_repository import is_live
from app.core.pagination import Keyset

_ROLES = (
    select(func.array_agg(Role.name.distinct(), type_=ARRAY(Text())))
    .join(UserRole, UserRole.role_id == Role.id)
    .where(UserRole.user_id == User.id)
    .scalar_subquery()
)
PERMISSIONS = (
    select(func.array_agg(RolePermission.permission.distinct(), type_=ARRAY(Text())))
    .join(UserRole, UserRole.role_id == RolePermission.role_id)
    .where(UserRole.user_id == User.id)
    .scalar_subquery()
)


_ACCOUNTS = select(User, _ROLES, PERMISSIONS)
USERS = Keyset(User.id, {"created_at": User.created_at, "email": User.email, "name": User.name})


def account_of(row: Any) -> Account:  # noqa: ANN401 - a row of `users`
    return Account(row[0], sorted(row[1] or []), sorted(row[2] or []))


async def account(session: AsyncSession, user_id: UUID) -> Account | None:
    """The account and its grants, in one round trip."""
    row = (
        await session.execute(
            _ACCOUNTS.where(User.id == user_id).execution_options(populate_existing=True)
        )
    ).one_or_none()
    return account_of(row) if row else None


@dataclass(frozen=True, slots=True)
class Standing:
    """What each request must know of its user."""

    is_superuser: bool
    permissions: list[str]
    mfa_enabled: bool


async def standing(
    session: AsyncSession, user_id: UUID, session_id: UUID, now: datetime
) -> Standing | None:
    """What a request of this session may rely on; None where it admits nobody any more."""
    row = (
        await session.execute(
            select(User.is_superuser, PERMISSIONS, User.mfa_enabled)
            .join(LoginSession, LoginSession.user_id == User.id)
            .where(User.id == user_id, LoginSession.id == session_id, is_live(now))
        )
    ).one_or_none()
    return Standing(row[0], row[1] or [], row[2]) if row else None


async def user_with_password(session: AsyncSession, email: str) -> User | None:
    return await session.scalar(
        select(User).where(User.email == email).options(undefer(User.hashed_password))
    )


async def user_with_password_by_id(session: AsyncSession, user_id: UUID) -> User | None:
    return await session.scalar(
        select(User).where(User.id == user_id).options(undefer(User.hashed_password))
    )


async def user_id_of(session: AsyncSession, email: str) -> UUID | None:
    return await session.scalar(select(User.id).where(User.email == email))


async def lock_credentials(session: AsyncSession, user_id: UUID) -> tuple[str, bool] | None:
    """The hash and whether the account is active, both of which stay so in this transaction."""
    row = (
        await session.execute(
            select(User.hashed_password, User.is_active)
            .where(User.id == user_id)
            .with_for_update(key_share=True)
        )
    ).one_or_none()
    return (row[0], row[1]) if row else None


async def set_hash(session: AsyncSession, user_id: UUID, hashed: str) -> None:
    await session.execute(
        update(User)
        .where(User.id == user_id)
        .values(hashed_password=hashed, version=User.version + 1, updated_at=func.now())
    )


async def replace_hash(session: AsyncSession, user_id: UUID, old: str, new: str) -> None:
    """Upgrade a hash of the same password, unless the password was changed meanwhile."""
    await session.execute(
        update(User)
        .where(User.id == user_id, User.hashed_password == old)
        .values(hashed_password=new)
    )


async def add_user(
    session: AsyncSession,
    *,
    email: str,
    name: str,
    hashed_password: str,
    role_ids: Sequence[UUID],
    is_active: bool = True,
    is_superuser: bool = False,
    email_verified: bool = False,
) -> UUID | None:
    """Store a new user with these roles; None if the address is taken."""
    user_id = await session.scalar(
        insert(User)
        .values(
            email=email,
            name=name,
            hashed_password=hashed_password,
            is_active=is_active,
            is_superuser=is_superuser,
            email_verified=email_verified,
        )
        .on_conflict_do_nothing(index_elements=["email"])
        .returning(User.id)
    )
    if user_id is not None and role_ids:
        await session.execute(
            insert(UserRole), [{"user_id": user_id, "role_id": role_id} for role_id in role_ids]
        )
    return user_id


def users(
    *, email: str | None, role: str | None, is_active: bool | None, q: str | None
) -> Select[*tuple[Any, ...]]:
    statement = _ACCOUNTS
    if email is not None:
        statement = statement.where(User.email == email.lower())
    if is_active is not None:
        statement = statement.where(User.is_active.is_(is_active))
    if role is not None:
        holders = select(UserRole.user_id).join(Role).where(Role.name == role)
        statement = statement.where(User.id.in_(holders))
    if q is not None:
        found = func.lower(User.name).contains(q.lower(), autoescape=True)
        statement = statement.where(found | User.email.contains(q.lower(), autoescape=True))
    return statement


async def lock_version(session: AsyncSession, user_id: UUID, version: int) -> bool:
    """Lock the account if it is still at this version.

    Until the transaction ends nobody changes it, logs in to it or books for it: a row that refers
    to it waits.
    """
    locked = await session.scalar(
        select(User.id).where(User.id == user_id, User.version == version).with_for_update()
    )
    return locked is not None


async def lock_active_superusers(session: AsyncSession) -> set[UUID]:
    """The active superusers, locked in one order so that two who ask do not block each other."""
    return set(
        await session.scalars(
            select(User.id)
            .where(User.is_superuser, User.is_active)
            .order_by(User.id)
            .with_for_update()
        )
    )
