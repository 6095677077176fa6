"""The SQL of accounts."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ARRAY, Text, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from app.auth.models import Role, RolePermission, User, UserRole


@dataclass(frozen=True, slots=True)
class Account:
    """A user with the names of the roles held and the permissions these grant."""

    user: User
    roles: list[str]
    permissions: list[str]


_ROLES = (
    select(func.array_agg(Role.name.distinct(), type_=ARRAY(Text())))
    .join(UserRole, UserRole.role_id == Role.id)
    .where(UserRole.user_id == User.id)
    .scalar_subquery()
)
_PERMISSIONS = (
    select(func.array_agg(RolePermission.permission.distinct(), type_=ARRAY(Text())))
    .join(UserRole, UserRole.role_id == RolePermission.role_id)
    .where(UserRole.user_id == User.id)
    .scalar_subquery()
)


async def account(session: AsyncSession, user_id: UUID) -> Account | None:
    """The account and its grants, in one round trip."""
    row = (
        await session.execute(select(User, _ROLES, _PERMISSIONS).where(User.id == user_id))
    ).one_or_none()
    return Account(row[0], sorted(row[1] or []), sorted(row[2] or [])) if row else None


@dataclass(frozen=True, slots=True)
class Standing:
    """What each request must know of its user."""

    token_version: int
    is_active: bool
    is_superuser: bool
    permissions: list[str]


async def standing(session: AsyncSession, user_id: UUID) -> Standing | None:
    row = (
        await session.execute(
            select(User.token_version, User.is_active, User.is_superuser, _PERMISSIONS).where(
                User.id == user_id
            )
        )
    ).one_or_none()
    return Standing(row[0], row[1], row[2], row[3] or []) if row else None


async def user_with_password(session: AsyncSession, email: str) -> User | None:
    return await session.scalar(
        select(User).where(User.email == email).options(undefer(User.hashed_password))
    )


async def add_user(
    session: AsyncSession,
    *,
    email: str,
    name: str,
    hashed_password: str,
    role: str,
    is_superuser: bool = False,
    email_verified: bool = False,
) -> UUID | None:
    """Store a new user in one role; None if the address is taken."""
    user_id = await session.scalar(
        insert(User)
        .values(
            email=email,
            name=name,
            hashed_password=hashed_password,
            is_superuser=is_superuser,
            email_verified=email_verified,
        )
        .on_conflict_do_nothing(index_elements=["email"])
        .returning(User.id)
    )
    if user_id is not None:
        await session.execute(
            insert(UserRole).from_select(
                ["user_id", "role_id"],
                select(literal(user_id), Role.id).where(Role.name == role),
            )
        )
    return user_id
