"""The SQL of working time: schedules with what replaces and interrupts them."""

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import Text, cast, func, select
from sqlalchemy.dialects.postgresql import Range, aggregate_order_by, array
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.models import TimeOff
from app.database import AnyRow
from app.providers.models import Provider
from app.schedules.models import Override, Schedule


async def schedules(
    session: AsyncSession, days: tuple[date, date], during: Range[datetime]
) -> Sequence[AnyRow]:
    """Active providers' schedules, with the overrides of these local dates and the time off.

    Weekly hours and overrides are JSON; time off is `[start, end]` in seconds since the epoch, in
    order. One round trip.
    """
    overrides = (
        select(func.jsonb_object_agg(Override.day, Override.intervals))
        .where(Override.provider_id == Provider.id, Override.day.between(*days))
        .scalar_subquery()
    )
    begins = func.lower(TimeOff.during)
    bounds = array(
        [func.extract("epoch", begins), func.extract("epoch", func.upper(TimeOff.during))]
    )
    time_off = (
        select(func.jsonb_agg(aggregate_order_by(func.to_jsonb(bounds), begins)))
        .where(TimeOff.provider_id == Provider.id, TimeOff.during.overlaps(during))
        .scalar_subquery()
    )
    found = await session.execute(
        select(
            Provider.id,
            Schedule.time_zone,
            cast(Schedule.weekly, Text()).label("weekly"),
            Schedule.holiday_calendar,
            cast(overrides, Text()).label("overrides"),
            time_off.label("time_off"),
        )
        .join(Schedule, Schedule.provider_id == Provider.id)
        .where(Provider.is_active)
        .order_by(Provider.id)
    )
    rows: Sequence[AnyRow] = found.all()
    return rows
