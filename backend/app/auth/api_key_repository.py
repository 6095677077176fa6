"""The SQL of API keys."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.models import ApiKey, User
from app.auth.repository import PERMISSIONS
from app.core.pagination import Keyset

API_KEYS = Keyset(ApiKey.id, {"created_at": ApiKey.created_at})


@dataclass(frozen=True, slots=True)
class KeyStanding:
    """What each request must know of its key and the key's owner."""

    key_id: UUID
    user_id: UUID
    digest: bytes = field(repr=False)
    scope: list[str]
    expires_at: datetime | None
    last_used_at: datetime | None
    owner_permissions: list[str]
    owner_is_superuser: bool
    owner_has_mfa: bool


async def standing(session: AsyncSession, prefix: str) -> KeyStanding | None:
    """The key of this prefix; None where there is none, or its owner has been disabled."""
    row = (
        await session.execute(
            select(
                ApiKey.id,
                ApiKey.user_id,
                ApiKey.digest,
                ApiKey.permissions,
                ApiKey.expires_at,
                ApiKey.last_used_at,
                PERMISSIONS,
                User.is_superuser,
                User.mfa_enabled,
            )
            .join(User, User.id == ApiKey.user_id)
            .where(ApiKey.prefix == prefix, User.is_active)
        )
    ).one_or_none()
    if row is None:
        return None
    key_id, user_id, digest, scope, expires_at, last_used_at, granted, is_superuser, has_mfa = row
    return KeyStanding(
        key_id=key_id,
        user_id=user_id,
        digest=digest,
        scope=scope,
        expires_at=expires_at,
        last_used_at=last_used_at,
        owner_permissions=granted or [],
        owner_is_superuser=is_superuser,
        owner_has_mfa=has_mfa,
    )


async def note_use(
    session: AsyncSession, key_id: UUID, now: datetime, *, unless_since: datetime
) -> None:
    """Note that the key was used, unless that was noted since; never waits for another writer."""
    due = (
        select(ApiKey.id)
        .where(
            ApiKey.id == key_id,
            or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= unless_since),
        )
        .with_for_update(key_share=True, skip_locked=True)
        .scalar_subquery()
    )
    await session.execute(update(ApiKey).where(ApiKey.id == due).values(last_used_at=now))


async def lock_owner(session: AsyncSession, user_id: UUID) -> None:
    """Make those wait who would give the same user a key at the same time."""
    await session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))


async def count_live(session: AsyncSession, user_id: UUID, now: datetime) -> int:
    live = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now)
    counted = select(func.count()).select_from(ApiKey).where(ApiKey.user_id == user_id, live)
    return await session.scalar(counted) or 0


def keys_of(user_id: UUID) -> Select[ApiKey]:
    return select(ApiKey).where(ApiKey.user_id == user_id)


async def remove(session: AsyncSession, user_id: UUID, key_id: UUID) -> ApiKey | None:
    """Delete one of the user's keys; returns what it was."""
    return await session.scalar(
        delete(ApiKey).where(ApiKey.id == key_id, ApiKey.user_id == user_id).returning(ApiKey)
    )
