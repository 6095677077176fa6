"""The SQL of mailed links."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, literal, select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.models import OneTimeToken, Purpose, User
from app.core.cleaning import remove_some
from app.core.events import ANONYMOUS, Event, recording_each
from app.database import AnyRow


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link that is about to be mailed."""

    id: UUID
    purpose: Purpose
    salt: bytes
    digest: bytes
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """A link and whom it was mailed to."""

    id: UUID
    user_id: UUID
    purpose: Purpose
    salt: bytes
    digest: bytes
    expires_at: datetime
    mailed_at: datetime | None
    used_at: datetime | None
    email: str
    name: str
    locale: str | None
    is_active: bool


_LINKS = select(OneTimeToken, User.email, User.name, User.locale, User.is_active).join(
    User, User.id == OneTimeToken.user_id
)


async def issue(session: AsyncSession, user_id: UUID, link: NewLink) -> None:
    """Store a link; the one of the same purpose that the user had is no more."""
    await session.execute(_issuing(link, select(literal(user_id, User.id.type))))


async def issue_to(
    session: AsyncSession, email: str, link: NewLink, *, unless_good_until: datetime, event: str
) -> None:
    """Store a link, and log it, if this is the address of an active account.

    A link that nobody has used yet and that is good for longer than `unless_good_until` is kept.
    One statement either way, so that its time tells little of which way it was.
    """
    owner = select(User.id).where(User.email == email, User.is_active)
    is_spent = OneTimeToken.used_at.is_not(None) | (OneTimeToken.expires_at <= unless_good_until)
    issued = _issuing(link, owner, over=is_spent).returning(OneTimeToken.user_id).cte("issued")
    await session.execute(recording_each(event, issued.c.user_id, actor=ANONYMOUS))


async def lock(session: AsyncSession, purpose: Purpose, digest: bytes) -> Link | None:
    """The link, locked: of two who use it at once, the second sees that it was used."""
    statement = _LINKS.where(OneTimeToken.digest == digest, OneTimeToken.purpose == purpose)
    return await _one(session, statement.with_for_update(of=OneTimeToken))


async def link(session: AsyncSession, link_id: UUID) -> Link | None:
    return await _one(session, _LINKS.where(OneTimeToken.id == link_id))


async def note_mailed(session: AsyncSession, link_id: UUID, now: datetime) -> None:
    await session.execute(
        update(OneTimeToken).where(OneTimeToken.id == link_id).values(mailed_at=now)
    )


async def end(session: AsyncSession, user_id: UUID, purpose: Purpose, now: datetime) -> None:
    """Make a user's link of this purpose useless."""
    await session.execute(
        update(OneTimeToken)
        .where(
            OneTimeToken.user_id == user_id,
            OneTimeToken.purpose == purpose,
            OneTimeToken.used_at.is_(None),
        )
        .values(used_at=now)
    )


async def remove_dead(session: AsyncSession, before: datetime, most: int) -> int:
    """Forget links that ran out before this instant, used or not: so many."""
    return await remove_some(session, OneTimeToken, OneTimeToken.expires_at < before, most)


async def verify_email(session: AsyncSession, user_id: UUID, email: str) -> bool:
    """Note that an address is its owner's, unless the account has another one by now."""
    verified = await session.execute(
        update(User)
        .where(User.id == user_id, User.email == email)
        .values(email_verified=True, version=User.version + 1)
        .returning(User.id)
    )
    return verified.first() is not None


async def subject_of(session: AsyncSession, event_id: UUID) -> AnyRow | None:
    """The active account that an event is about: its address, and the locale."""
    row: AnyRow | None = (
        await session.execute(
            select(User.email, User.locale)
            .join(Event, Event.subject_id == User.id)
            .where(Event.id == event_id, User.is_active)
        )
    ).one_or_none()
    return row


def _issuing(
    link: NewLink, user_ids: Select[UUID], *, over: ColumnElement[bool] | None = None
) -> Insert:
    """Store a link; one of the same purpose is replaced, if it is one that this goes `over`."""
    fresh: dict[str, Any] = {
        "id": literal(link.id, OneTimeToken.id.type),
        "salt": literal(link.salt, OneTimeToken.salt.type),
        "digest": literal(link.digest, OneTimeToken.digest.type),
        "expires_at": literal(link.expires_at, OneTimeToken.expires_at.type),
    }
    names: Sequence[str] = ["user_id", "purpose", *fresh]
    purpose = literal(link.purpose.value, OneTimeToken.purpose.type)
    rows = user_ids.add_columns(purpose, *fresh.values())
    return (
        insert(OneTimeToken)
        .from_select(names, rows, include_defaults=False)
        .on_conflict_do_update(
            index_elements=["user_id", "purpose"],
            set_=fresh | {"mailed_at": None, "used_at": None},
            where=over,
        )
    )


async def _one(session: AsyncSession, statement: Select[*tuple[Any, ...]]) -> Link | None:
    # As it is now: the session may remember it as it was before the lock.
    row = (await session.execute(statement.execution_options(populate_existing=True))).one_or_none()
    if row is None:
        return None
    token, email, name, locale, is_active = row
    return Link(
        id=token.id,
        user_id=token.user_id,
        purpose=Purpose(token.purpose),
        salt=token.salt,
        digest=token.digest,
        expires_at=token.expires_at,
        mailed_at=token.mailed_at,
        used_at=token.used_at,
        email=email,
        name=name,
        locale=locale,
        is_active=is_active,
    )
