"""The SQL of roles."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Select, Text, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.models import Role, RolePermission, UserRole
from app.core.pagination import Keyset

ROLES = Keyset(Role.id, {"name": Role.name, "created_at": Role.created_at})

_GRANTS = (
    select(func.array_agg(RolePermission.permission, type_=ARRAY(Text())))
    .where(RolePermission.role_id == Role.id)
    .scalar_subquery()
)


@dataclass(frozen=True, slots=True)
class Granting:
    """A role with the permissions it grants."""

    role: Role
    permissions: list[str]


def granting(row: Any) -> Granting:  # noqa: ANN401 - a row of `roles`
    return Granting(row[0], sorted(row[1] or []))


def roles() -> Select[*tuple[Any, ...]]:
    return select(Role, _GRANTS)


async def role(session: AsyncSession, role_id: UUID) -> Granting | None:
    row = (await session.execute(roles().where(Role.id == role_id))).one_or_none()
    return granting(row) if row else None


async def roles_named(session: AsyncSession, names: list[str]) -> dict[str, Granting]:
    rows = await session.execute(roles().where(Role.name.in_(names)))
    return {row[0].name: granting(row) for row in rows}


async def ids_named(session: AsyncSession, names: list[str]) -> list[UUID]:
    return list(await session.scalars(select(Role.id).where(Role.name.in_(names))))


async def replace_grants(session: AsyncSession, role_id: UUID, permissions: list[str]) -> None:
    await session.execute(delete(RolePermission).where(RolePermission.role_id == role_id))
    if permissions:
        await session.execute(
            insert(RolePermission),
            [{"role_id": role_id, "permission": name} for name in permissions],
        )


async def is_held(session: AsyncSession, role_id: UUID) -> bool:
    held = await session.scalar(
        select(UserRole.user_id).where(UserRole.role_id == role_id).limit(1)
    )
    return held is not None


async def replace_roles(session: AsyncSession, user_id: UUID, role_ids: list[UUID]) -> None:
    await session.execute(delete(UserRole).where(UserRole.user_id == user_id))
    if role_ids:
        await session.execute(
            insert(UserRole), [{"user_id": user_id, "role_id": role_id} for role_id in role_ids]
        )
