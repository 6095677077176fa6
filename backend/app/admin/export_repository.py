"""The SQL of exports: rows as they are read, never all of them at once."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import AnyRow

_ROWS_AT_ONCE: Final = 500

_BOOKINGS: Final = text(
    """
    SELECT b.reference,
        CASE WHEN b.status = 'pending' AND b.expires_at <= :now THEN 'expired'
            ELSE b.status END AS status,
        s.name AS service,
        (SELECT string_agg(p.display_name, '; ' ORDER BY array_position(b.provider_ids, p.id))
            FROM providers p WHERE p.id = ANY (b.provider_ids)) AS provider,
        l.name AS location,
        b.starts_at, b.ends_at, b.duration_minutes, b.seats,
        coalesce(u.name, b.guest_name) AS customer,
        coalesce(u.email, b.guest_email) AS email,
        coalesce(u.phone, b.guest_phone) AS phone,
        b.price_amount, b.price_currency, b.source, b.notes,
        nullif(b.answers, '{}')::text AS answers,
        b.cancelled_by, b.cancelled_reason, b.cancelled_at, b.created_at
    FROM bookings b
        JOIN services s ON s.id = b.service_id
        LEFT JOIN locations l ON l.id = b.location_id
        LEFT JOIN users u ON u.id = b.customer_id
    WHERE b.starts_at >= :start AND b.starts_at < :end
    ORDER BY b.starts_at, b.id"""
)


async def bookings(
    session: AsyncSession, start: datetime, end: datetime, *, now: datetime
) -> AsyncIterator[Sequence[AnyRow]]:
    """Bookings that begin in `[start, end)`, some at a time, all as they were at one moment.

    It needs a transaction, in which the cursor lives. A round trip for each 500 rows.
    """
    found = await session.stream(_BOOKINGS, {"start": start, "end": end, "now": now})
    async for some in found.partitions(_ROWS_AT_ONCE):
        yield some
