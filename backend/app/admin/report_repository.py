"""The SQL of reports: bookings counted where they are."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import TextClause, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.admin.reports import PERIODS, GroupBy
from app.catalog.models import Service
from app.database import AnyRow
from app.providers.models import Provider, ServiceProvider

# What a row is about: its key, its name, and where they are found.
_GROUPS: Final = {
    **{p: (f"date_trunc('{p}', timezone(:zone, b.starts_at))::date", "''", "") for p in PERIODS},
    GroupBy.SERVICE: ("s.id", "s.name", "JOIN services s ON s.id = b.service_id"),
    # What several give together counts for each of them.
    GroupBy.PROVIDER: (
        "p.id",
        "p.display_name",
        "JOIN providers p ON p.id = ANY (b.provider_ids)",
    ),
}


def _tallying(by: GroupBy) -> TextClause:
    key, name, join = _GROUPS[by]
    return text(
        f"""
        SELECT {key} AS key, {name} AS name, b.price_currency AS currency,
            CASE WHEN b.status = 'pending' AND b.expires_at <= :now THEN 'expired'
                ELSE b.status END AS status,
            b.ends_at <= :now AS is_over,
            count(*) AS bookings, sum(b.seats) AS seats, sum(b.duration_minutes) AS minutes,
            sum(b.price_amount)::bigint AS amount
        FROM bookings b {join}
        WHERE b.starts_at >= :start AND b.starts_at < :end
        GROUP BY 1, 2, 3, 4, 5
        ORDER BY 2, 1, 3"""  # noqa: S608 - made of constants
    )


_TALLIES: Final = {by: _tallying(by) for by in GroupBy}

# A booking lasts a week at most; the bound lets the index on its start be used.
_BOOKED: Final = text(
    """
    SELECT p.id AS provider_id, b.service_id,
        array_agg((extract(epoch FROM greatest(b.starts_at, :start)) / 60)::int) AS starts,
        array_agg((extract(epoch FROM least(b.ends_at, :end)) / 60)::int) AS ends
    FROM bookings b JOIN providers p ON p.id = ANY (b.provider_ids) AND p.is_active
    WHERE b.starts_at >= CAST(:start AS timestamptz) - interval '8 days'
        AND b.starts_at < :end AND b.ends_at > :start
        AND b.status IN ('confirmed', 'checked_in', 'completed', 'no_show')
    GROUP BY 1, 2"""
)


async def tallies(
    session: AsyncSession, by: GroupBy, start: datetime, end: datetime, *, zone: str, now: datetime
) -> Sequence[AnyRow]:
    """Bookings that begin in `[start, end)`, by group, currency, status and whether they are over.

    Periods are those of local time in `zone`. One round trip.
    """
    parameters: dict[str, object] = {"start": start, "end": end, "now": now}
    if by in PERIODS:
        parameters["zone"] = zone
    rows: Sequence[AnyRow] = (await session.execute(_TALLIES[by], parameters)).all()
    return rows


async def booked_time(session: AsyncSession, start: datetime, end: datetime) -> Sequence[AnyRow]:
    """What is booked of active providers' time between two instants, by provider and service.

    `starts` and `ends` are minutes since the epoch, cut to the range. One round trip.
    """
    found = await session.execute(_BOOKED, {"start": start, "end": end})
    rows: Sequence[AnyRow] = found.all()
    return rows


async def names(session: AsyncSession, by: GroupBy) -> Sequence[AnyRow]:
    """Active services with who gives them, or active providers with themselves. One round trip."""
    if by is GroupBy.SERVICE:
        statement = (
            select(Service.id, Service.name, ServiceProvider.provider_id)
            .join(ServiceProvider, ServiceProvider.service_id == Service.id)
            .where(Service.is_active)
            .order_by(Service.name, Service.id)
        )
    else:
        statement = (
            select(
                Provider.id, Provider.display_name.label("name"), Provider.id.label("provider_id")
            )
            .where(Provider.is_active)
            .order_by(Provider.display_name, Provider.id)
        )
    rows: Sequence[AnyRow] = (await session.execute(statement)).all()
    return rows
