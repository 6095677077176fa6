"""What has been promised, told to the rooms below through the ports in their `commitments.py`."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.plan import Plan
from app.availability.rules import SlotRules, WorkingHours, judge
from app.availability.time_off_service import forget_subject, lock_subjects
from app.bookings import commitment_repository as repository
from app.bookings.allowance_service import zones_with_enough
from app.core.clock import Clock
from app.core.prepared import Readers
from app.database import AnyRow
from app.schedules import holidays
from app.schedules.commitments import Promise
from app.schedules.rules import Hours
from app.schedules.service import forget_calendar, raise_calendar_versions


class BookingCommitments:
    """Answers for catalog, providers and schedules. Each is a round trip or two."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    # --- Of the offer ------------------------------------------------------------------------
    async def need_service(self, session: AsyncSession, service_id: UUID) -> bool:
        return await repository.service_is_wanted(session, service_id, self._clock())

    async def need_location(self, session: AsyncSession, location_id: UUID) -> bool:
        return await repository.anyone_at(session, location_id)

    async def need_resource(self, session: AsyncSession, resource_id: UUID) -> bool:
        await lock_subjects(session, [resource_id])
        return await repository.resource_is_wanted(session, resource_id, self._clock())

    async def resource_changed(self, session: AsyncSession, resource_id: UUID) -> None:
        await raise_calendar_versions(session, [resource_id])

    async def resource_removed(self, session: AsyncSession, resource_id: UUID) -> None:
        await _forget(session, resource_id)

    # --- Of providers ------------------------------------------------------------------------
    async def need_provider(self, session: AsyncSession, provider_id: UUID) -> bool:
        await lock_subjects(session, [provider_id])
        return await repository.provider_is_wanted(session, provider_id, self._clock())

    async def provider_removed(self, session: AsyncSession, provider_id: UUID) -> None:
        await _forget(session, provider_id)

    # --- Of their time -----------------------------------------------------------------------
    async def outside(
        self, session: AsyncSession, provider_id: UUID, hours: Hours
    ) -> Sequence[Promise]:
        """Judged by the engine that offers the times, so that the two cannot disagree."""
        rows = await repository.ahead(session, provider_id, self._clock())
        if not rows:
            return []
        working = _working_hours(hours, rows[0].starts_at, max(row.ends_at for row in rows))
        return [_promise(row) for row in rows if not _is_within(working, row)]

    async def during(
        self, session: AsyncSession, provider_id: UUID, start: datetime, end: datetime
    ) -> Sequence[Promise]:
        rows = await repository.ahead(session, provider_id, self._clock(), start=start, end=end)
        return [_promise(row) for row in rows]

    # --- Of customers ------------------------------------------------------------------------
    async def zones_with_enough(
        self,
        where: AsyncSession | Readers,
        plan: Plan,
        start: datetime,
        zones: Collection[str],
        customer_id: UUID,
        *,
        without: UUID | None,
    ) -> Collection[str]:
        return await zones_with_enough(
            where, plan, start, zones, customer_id, self._clock(), without=without
        )


async def _forget(session: AsyncSession, subject_id: UUID) -> None:
    await forget_subject(session, subject_id)
    await forget_calendar(session, subject_id)


def _working_hours(hours: Hours, first: datetime, last: datetime) -> WorkingHours:
    """The hours as the engine reads them, with the holidays between these instants."""
    zone, day = ZoneInfo(hours.time_zone), timedelta(days=1)
    closed = (
        holidays.between(
            hours.holiday_calendar,
            first.astimezone(zone).date() - day,
            last.astimezone(zone).date() + day,
        )
        if hours.holiday_calendar
        else frozenset()
    )
    return WorkingHours(
        zone=hours.time_zone,
        weekly=tuple(tuple((start, end) for start, end in day) for day in hours.weekly),
        overrides={
            day: tuple((start, end) for start, end in intervals)
            for day, intervals in hours.overrides.items()
        },
        holidays=closed,
    )


def _is_within(hours: WorkingHours, row: AnyRow) -> bool:
    """Whether the appointment lies in working time; on which minute it starts is of no matter."""
    start = int(row.starts_at.timestamp()) // 60
    rules = SlotRules(duration=row.duration_minutes, interval=1)
    return judge(rules, hours, busy=(), time_off=(), now=start * 60, start=start) is None


def _promise(row: AnyRow) -> Promise:
    zone = ZoneInfo(row.time_zone)
    return Promise(
        row.id, row.reference, row.starts_at.astimezone(zone), row.ends_at.astimezone(zone)
    )
