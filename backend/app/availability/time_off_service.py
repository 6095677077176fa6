"""Time off: when a provider is away, whatever the schedule says."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.principal import Principal
from app.availability import repository as calendars
from app.availability import time_off_repository as repository
from app.availability.models import TimeOff
from app.availability.time_off_schemas import TimeOffCreate, TimeOffCreated, TimeOffOut
from app.core.clock import Clock
from app.core.errors import NotFound, ValidationFailed
from app.core.events import record
from app.core.pagination import Page, PageRequest
from app.core.preconditions import IfMatch
from app.schedules.service import ScheduleService, raise_calendar_versions


class TimeOffService:
    def __init__(self, session: AsyncSession, schedules: ScheduleService, clock: Clock) -> None:
        self._session = session
        self._schedules = schedules
        self._clock = clock

    async def add(
        self, provider_id: UUID, wanted: TimeOffCreate, principal: Principal
    ) -> TimeOffCreated:
        """Take a time off. Bookings made before stay, and are told; nobody can add to them.

        Some eight round trips, under the lock of the provider's calendar.

        Raises:
            NotFound: no such provider.
            Forbidden: neither one's own calendar nor the permission to change anyone's.
        """
        await self._schedules.check_may_change(provider_id, principal)
        during = Range(wanted.start, wanted.end)
        time_off = TimeOff(provider_id=provider_id, during=during, reason=wanted.reason)
        self._session.add(time_off)
        await self._session.flush()
        await calendars.lock_subjects(self._session, [provider_id])
        await repository.drop_expired_holds(self._session, provider_id, during, self._clock())
        await repository.refill(self._session, provider_id, during)
        await raise_calendar_versions(self._session, [provider_id])
        await record(
            self._session,
            "time_off.created",
            subject_id=time_off.id,
            actor=principal.actor,
            after=_described(time_off),
        )
        booked = await self._schedules.booked_during(provider_id, wanted.start, wanted.end)
        return TimeOffCreated(**_out(time_off).model_dump(), bookings_outside=booked)

    async def remove(
        self, provider_id: UUID, time_off_id: UUID, seen: IfMatch, principal: Principal
    ) -> None:
        """Give time off back, except where other time off still covers it.

        Raises:
            NotFound, VersionMismatch.
            Forbidden: neither one's own calendar nor the permission to change anyone's.
        """
        await self._schedules.check_may_change(provider_id, principal)
        time_off = await repository.time_off(self._session, provider_id, time_off_id)
        if time_off is None:
            raise NotFound
        seen.check(time_off.version)
        await self._session.delete(time_off)
        await self._session.flush()
        await calendars.lock_subjects(self._session, [provider_id])
        emptied = await repository.empty(self._session, provider_id, time_off.during)
        if emptied is not None:  # the pieces may have been those of several
            await repository.refill(self._session, provider_id, emptied)
        await raise_calendar_versions(self._session, [provider_id])
        await record(
            self._session,
            "time_off.deleted",
            subject_id=time_off_id,
            actor=principal.actor,
            before=_described(time_off),
        )

    async def list_time_off(
        self,
        provider_id: UUID,
        page: PageRequest,
        *,
        sort: str,
        start: datetime | None,
        end: datetime | None,
        principal: Principal,
    ) -> Page[TimeOffOut]:
        """A provider's time off, for those who may change it: the reasons are nobody else's.

        Raises:
            NotFound, Forbidden: as for `add`.
            ValidationFailed: the range ends before it starts.
        """
        await self._schedules.check_may_change(provider_id, principal)
        if start is not None and end is not None and start >= end:
            raise ValidationFailed.at("#/end", "the range ends after it starts")
        return await repository.TIME_OFF.page(
            self._session,
            repository.time_off_of(provider_id, start=start, end=end),
            page,
            sort=sort,
            build=lambda row: _out(row[0]),
        )


async def lock_subjects(session: AsyncSession, ids: Iterable[UUID]) -> None:
    """For the rooms above: nobody else decides about the time of these subjects until commit."""
    await calendars.lock_subjects(session, ids)


async def refill(session: AsyncSession, subject_id: UUID, during: Range[datetime]) -> None:
    """For the rooms above, under the lock: what is free of `during` is off again, if it should."""
    await repository.refill(session, subject_id, during)


async def forget_subject(session: AsyncSession, subject_id: UUID) -> None:
    """For the rooms above: nothing is left of the time of a subject that is no more."""
    await repository.forget_subject(session, subject_id)


def _bounds(time_off: TimeOff) -> tuple[datetime, datetime]:
    during = time_off.during
    if during.lower is None or during.upper is None:
        raise ValueError("Time off has a beginning and an end.")
    return during.lower.astimezone(UTC), during.upper.astimezone(UTC)


def _described(time_off: TimeOff) -> dict[str, str]:
    """Time off for the log: when, and not why."""
    start, end = _bounds(time_off)
    return {
        "provider_id": str(time_off.provider_id),
        "start": start.isoformat(),
        "end": end.isoformat(),
    }


def _out(time_off: TimeOff) -> TimeOffOut:
    start, end = _bounds(time_off)
    return TimeOffOut(
        id=time_off.id,
        provider_id=time_off.provider_id,
        start=start,
        end=end,
        reason=time_off.reason,
        version=time_off.version,
        created_at=time_off.created_at,
        updated_at=time_off.updated_at,
    )
