"""The SQL of what has been promised, as the rooms below ask for it."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, any_, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.models import Allocation
from app.bookings.allowance_repository import keeps_time
from app.bookings.hold_models import Hold
from app.bookings.models import Booking
from app.bookings.waitlist_models import WaitlistEntry
from app.database import AnyRow
from app.providers.models import Provider

_IS_WAITING = WaitlistEntry.status.in_(("waiting", "offered"))


async def ahead(
    session: AsyncSession,
    provider_id: UUID,
    now: datetime,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Sequence[AnyRow]:
    """The bookings that begin after now and keep this provider's time, in order.

    With bounds, only those of which a part lies between them.
    """
    statement = select(
        Booking.id,
        Booking.reference,
        Booking.starts_at,
        Booking.ends_at,
        Booking.time_zone,
        Booking.duration_minutes,
    ).where(
        Booking.starts_at > now,
        keeps_time(now),
        literal(provider_id) == any_(Booking.provider_ids),
    )
    if start is not None:
        statement = statement.where(Booking.ends_at > start)
    if end is not None:
        statement = statement.where(Booking.starts_at < end)
    rows = await session.execute(statement.order_by(Booking.starts_at, Booking.id))
    return rows.all()


async def service_is_wanted(session: AsyncSession, service_id: UUID, now: datetime) -> bool:
    """Whether somebody holds a time of the service, or waits for one."""
    return await _any_of(
        session,
        select(Hold.id).where(Hold.service_id == service_id, Hold.expires_at > now),
        select(WaitlistEntry.id).where(WaitlistEntry.service_id == service_id, _IS_WAITING),
    )


async def provider_is_wanted(session: AsyncSession, provider_id: UUID, now: datetime) -> bool:
    """Whether a booking was ever with the provider, or somebody holds or waits for a time."""
    return await _any_of(
        session,
        select(Booking.id).where(literal(provider_id) == any_(Booking.provider_ids)),
        _taken(provider_id, now),
        select(WaitlistEntry.id).where(WaitlistEntry.provider_id == provider_id, _IS_WAITING),
    )


async def resource_is_wanted(session: AsyncSession, resource_id: UUID, now: datetime) -> bool:
    """Whether a booking ever had the resource, or somebody holds it."""
    return await _any_of(
        session,
        select(Booking.id).where(literal(resource_id) == any_(Booking.resource_ids)),
        _taken(resource_id, now),
    )


async def anyone_at(session: AsyncSession, location_id: UUID) -> bool:
    """Whether a provider works at the location."""
    return await _any_of(
        session, select(Provider.id).where(literal(location_id) == any_(Provider.location_ids))
    )


def _taken(subject_id: UUID, now: datetime) -> Select[UUID]:
    """Time of the subject that others have. Time off is its own."""
    is_live: ColumnElement[bool] = or_(Allocation.expires_at.is_(None), Allocation.expires_at > now)
    return select(Allocation.id).where(
        Allocation.subject_id == subject_id, Allocation.kind.in_(("booking", "hold")), is_live
    )


async def _any_of(session: AsyncSession, *found: Select[UUID]) -> bool:
    """Whether one of these finds something, in one round trip."""
    exists = or_(*(statement.exists() for statement in found))
    return bool(await session.scalar(select(exists)))
