"""The SQL of bookings whose zone has other rules now."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Integer,
    Select,
    Uuid,
    any_,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import TSTZRANGE, Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.models import Allocation, SeatClaim
from app.bookings.allowance_repository import keeps_time
from app.bookings.models import Booking
from app.database import AnyRow

# No statement can move neighbours in place: Postgres refuses the first that touches the second
# before that has moved. So all of them go where nobody is, and from there to their new times.
_PARKING_HOURS = 1000 * 8766

_IDS = bindparam("ids", type_=ARRAY(Uuid()))
_SECONDS = bindparam("seconds", type_=ARRAY(Integer()))
_PARKING = bindparam("parking", type_=Integer())

_PARK = text(
    """
    UPDATE allocations SET during = tstzrange(
        lower(during) + make_interval(hours => :parking),
        upper(during) + make_interval(hours => :parking)
    )
    WHERE id = ANY (:ids)
    """
).bindparams(_IDS, _PARKING)
_PLACE = text(
    """
    UPDATE allocations SET
        during = tstzrange(
            lower(during) - make_interval(hours => :parking) + by,
            upper(during) - make_interval(hours => :parking) + by
        ),
        starts_at = starts_at + by,
        ends_at = ends_at + by
    FROM (
        SELECT id AS moved_id, make_interval(secs => seconds) AS by
        FROM unnest(:ids, :seconds) AS shift (id, seconds)
    ) AS moved
    WHERE id = moved_id
    """
).bindparams(_IDS, _SECONDS, _PARKING)
_MOVE_BOOKINGS = text(
    """
    UPDATE bookings SET
        starts_at = starts_at + by,
        ends_at = ends_at + by,
        sequence = sequence + 1,
        version = version + 1,
        updated_at = now()
    FROM (
        SELECT id AS moved_id, make_interval(secs => seconds) AS by
        FROM unnest(:ids, :seconds) AS shift (id, seconds)
    ) AS moved
    WHERE id = moved_id
    """
).bindparams(_IDS, _SECONDS)


def _ahead(now: datetime) -> Select[*tuple[Any, ...]]:
    return select(
        Booking.id,
        Booking.allocation_id,
        Booking.reference,
        Booking.provider_ids,
        Booking.resource_ids,
        Booking.starts_at,
        Booking.ends_at,
        Booking.wall_start,
        Booking.time_zone,
        Booking.seats,
        Booking.sequence,
    ).where(Booking.starts_at > now, keeps_time(now))


async def ahead(session: AsyncSession, now: datetime) -> Sequence[AnyRow]:
    """All bookings that begin after now and keep their time, in order."""
    rows: Sequence[AnyRow] = (
        await session.execute(_ahead(now).order_by(Booking.starts_at, Booking.id))
    ).all()
    return rows


async def ahead_for_update(
    session: AsyncSession, now: datetime, ids: Collection[UUID]
) -> Sequence[AnyRow]:
    """Those of these that are still such bookings; until commit nobody else changes them."""
    wanted = literal(list(ids), ARRAY(Uuid()))
    statement = _ahead(now).where(Booking.id == any_(wanted)).with_for_update()
    rows: Sequence[AnyRow] = (
        await session.execute(statement.order_by(Booking.starts_at, Booking.id))
    ).all()
    return rows


async def taken(
    session: AsyncSession, subjects: Collection[UUID], during: Range[datetime], now: datetime
) -> Sequence[AnyRow]:
    """What is taken of these subjects; `claimed` are the seats of a group session."""
    claimed = (
        select(func.coalesce(func.sum(SeatClaim.seats), 0))
        .where(
            SeatClaim.allocation_id == Allocation.id,
            or_(SeatClaim.expires_at.is_(None), SeatClaim.expires_at > now),
        )
        .scalar_subquery()
    )
    rows = await session.execute(
        select(
            Allocation.id,
            Allocation.subject_id,
            func.lower(Allocation.during).label("start"),
            func.upper(Allocation.during).label("end"),
            Allocation.capacity,
            claimed.label("claimed"),
        ).where(
            Allocation.subject_id == any_(literal(list(subjects), ARRAY(Uuid()))),
            Allocation.during.op("&&")(literal(during, TSTZRANGE())),
            or_(Allocation.expires_at.is_(None), Allocation.expires_at > now),
        )
    )
    return rows.all()


async def drop_expired_holds(
    session: AsyncSession, subjects: Collection[UUID], now: datetime
) -> None:
    """Remove the holds that are over, of these subjects."""
    await session.execute(
        delete(Allocation).where(
            Allocation.subject_id == any_(literal(list(subjects), ARRAY(Uuid()))),
            Allocation.expires_at <= now,
        )
    )


async def move_takings(session: AsyncSession, shifts: Mapping[UUID, timedelta]) -> None:
    """Move all allocations of these takings at once, whatever they swap. Two round trips."""
    await session.execute(_PARK, {"ids": list(shifts), "parking": _PARKING_HOURS})
    await session.execute(_PLACE, _by_seconds(shifts) | {"parking": _PARKING_HOURS})


async def move_bookings(session: AsyncSession, shifts: Mapping[UUID, timedelta]) -> None:
    """Give these bookings their new instants, and their next sequence and version."""
    await session.execute(_MOVE_BOOKINGS, _by_seconds(shifts))


def _by_seconds(shifts: Mapping[UUID, timedelta]) -> dict[str, Any]:
    return {"ids": list(shifts), "seconds": [int(by.total_seconds()) for by in shifts.values()]}
