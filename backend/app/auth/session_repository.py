"""The SQL of sessions and refresh tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.models import LoginSession, RefreshToken, User
from app.core.cleaning import remove_some


async def open_session(
    session: AsyncSession,
    *,
    user_id: UUID,
    device: str,
    address: str,
    now: datetime,
    expires_at: datetime,
) -> UUID:
    opened = LoginSession(
        user_id=user_id,
        device=device,
        address=address,
        created_at=now,
        last_used_at=now,
        expires_at=expires_at,
    )
    session.add(opened)
    await session.flush()
    return opened.id


async def add_token(session: AsyncSession, session_id: UUID, digest: bytes) -> None:
    await session.execute(insert(RefreshToken).values(digest=digest, session_id=session_id))


@dataclass(frozen=True, slots=True)
class PresentedToken:
    """A refresh token that was issued once, and its session."""

    session_id: UUID
    user_id: UUID
    spent_at: datetime | None
    is_live: bool


async def lock_token(session: AsyncSession, digest: bytes, now: datetime) -> PresentedToken | None:
    """The token, its session locked: of those who present it at once, one after the other sees it.

    The lock is taken first and the token read after it, so that a wait ends with fresh facts.
    """
    owner = select(RefreshToken.session_id).where(RefreshToken.digest == digest).scalar_subquery()
    locked = await session.scalar(
        select(LoginSession.id).where(LoginSession.id == owner).with_for_update()
    )
    if locked is None:
        return None
    row = (
        await session.execute(
            select(LoginSession.user_id, RefreshToken.spent_at, is_live(now))
            .join(LoginSession, LoginSession.id == RefreshToken.session_id)
            .join(User, User.id == LoginSession.user_id)
            .where(RefreshToken.digest == digest)
        )
    ).one()
    return PresentedToken(locked, row[0], row[1], row[2])


def is_live(now: datetime) -> ColumnElement[bool]:
    """Whether a session still admits its user."""
    return User.is_active & LoginSession.revoked_at.is_(None) & (LoginSession.expires_at > now)


async def spend(
    session: AsyncSession,
    session_id: UUID,
    *,
    digest: bytes,
    successor: bytes,
    now: datetime,
    expires_at: datetime,
) -> None:
    await session.execute(
        update(RefreshToken).where(RefreshToken.digest == digest).values(spent_at=now)
    )
    await add_token(session, session_id, successor)
    await session.execute(
        update(LoginSession)
        .where(LoginSession.id == session_id)
        .values(last_used_at=now, expires_at=expires_at)
    )


def live_sessions(user_id: UUID, now: datetime) -> Select[LoginSession]:
    return (
        select(LoginSession)
        .join(User, User.id == LoginSession.user_id)
        .where(LoginSession.user_id == user_id, is_live(now))
        .order_by(LoginSession.last_used_at.desc(), LoginSession.id)
        .limit(200)
    )


async def sessions_of(session: AsyncSession, user_id: UUID) -> Sequence[LoginSession]:
    """Every session of the user that is remembered, those that have ended too."""
    found = await session.scalars(
        select(LoginSession).where(LoginSession.user_id == user_id).order_by(LoginSession.id)
    )
    return found.all()


async def revoke(
    session: AsyncSession,
    user_id: UUID,
    now: datetime,
    *,
    only: UUID | None = None,
    but: UUID | None = None,
) -> list[UUID]:
    """End a user's sessions: all, `only` one, or all `but` one. Returns those that ended."""
    statement = update(LoginSession).where(
        LoginSession.user_id == user_id, LoginSession.revoked_at.is_(None)
    )
    if only is not None:
        statement = statement.where(LoginSession.id == only)
    if but is not None:
        statement = statement.where(LoginSession.id != but)
    ended = await session.scalars(statement.values(revoked_at=now).returning(LoginSession.id))
    return list(ended)


async def remove_dead(session: AsyncSession, before: datetime, most: int) -> int:
    """Forget sessions that ended or ran out before this instant, and their tokens: so many."""
    is_dead = (LoginSession.expires_at < before) | (LoginSession.revoked_at < before)
    return await remove_some(session, LoginSession, is_dead, most)
