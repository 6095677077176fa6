"""Working hours."""

from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import Select
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.core.errors import Forbidden, NotFound
from app.core.events import record, record_change
from app.core.pagination import Page, PageRequest
from app.core.preconditions import IfMatch
from app.providers.service import ProviderService
from app.schedules import repository
from app.schedules.commitments import Commitments
from app.schedules.models import Override, Schedule
from app.schedules.rules import (
    Hours,
    day_from_minutes,
    day_to_minutes,
    from_minutes,
    to_minutes,
)
from app.schedules.schemas import (
    BookingOutside,
    OverrideChanged,
    OverrideIn,
    OverrideOut,
    OverrideRemoved,
    ScheduleChanged,
    ScheduleIn,
    ScheduleOut,
    WeekdayHours,
    in_words,
    wall_times,
)


class ScheduleService:
    def __init__(
        self, session: AsyncSession, providers: ProviderService, commitments: Commitments
    ) -> None:
        self._session = session
        self._providers = providers
        self._commitments = commitments

    # --- The week ----------------------------------------------------------------------------
    async def show(self, provider_id: UUID, principal: Principal | None) -> ScheduleOut:
        """A provider's weekly hours. Raises NotFound: no such provider, or none set yet."""
        await self._providers.show(provider_id, principal)
        return _out(await self._schedule(provider_id))

    async def replace(
        self, provider_id: UUID, wanted: ScheduleIn, seen: IfMatch, principal: Principal
    ) -> ScheduleChanged:
        """Set a provider's weekly hours. Bookings made before stay, and are told if left outside.

        Raises:
            NotFound, VersionMismatch.
            Forbidden: neither one's own calendar nor the permission to change anyone's.
        """
        await self.check_may_change(provider_id, principal)
        schedule = await repository.schedule(self._session, provider_id)
        seen.check(schedule.version if schedule else None)
        before = _out(schedule).model_dump(mode="json") if schedule else {}
        weekly = to_minutes(day.hours() for day in wanted.weekly)
        if schedule is None:
            schedule = Schedule(provider_id=provider_id, weekly=weekly)
            self._session.add(schedule)
        # As words, for JSON has no tuples: the same week again is no change.
        elif from_minutes(schedule.weekly) != from_minutes(weekly):
            schedule.weekly = weekly
        schedule.time_zone = wanted.time_zone
        schedule.holiday_calendar = wanted.holiday_calendar
        await self._session.flush()
        await repository.raise_version(self._session, provider_id)
        out = _out(schedule)
        await record_change(
            self._session,
            "schedule.changed",
            subject_id=provider_id,
            actor=principal.actor,
            before=before,
            after=out.model_dump(mode="json"),
        )
        return ScheduleChanged(
            **out.model_dump(), bookings_outside=await self._left_outside(schedule)
        )

    # --- Single days -------------------------------------------------------------------------
    async def list_overrides(
        self,
        provider_id: UUID,
        page: PageRequest,
        *,
        sort: str,
        start: date | None,
        end: date | None,
        principal: Principal | None,
    ) -> Page[OverrideOut]:
        """The days on which a provider works other hours than in any week."""
        await self._providers.show(provider_id, principal)
        return await repository.OVERRIDES.page(
            self._session,
            repository.overrides(provider_id, start=start, end=end),
            page,
            sort=sort,
            build=lambda row: _override_out(row[0]),
        )

    async def override(
        self,
        provider_id: UUID,
        day: date,
        wanted: OverrideIn,
        seen: IfMatch,
        principal: Principal,
    ) -> OverrideChanged:
        """Set the hours of one day, in the schedule's zone; without a schedule there is none.

        Raises:
            NotFound: no such provider, or no schedule yet.
            VersionMismatch.
            Forbidden: neither one's own calendar nor the permission to change anyone's.
        """
        await self.check_may_change(provider_id, principal)
        schedule = await self._schedule(provider_id)
        override = await repository.override(self._session, provider_id, day)
        seen.check(override.version if override else None)
        before = _hours_of(override) if override else None
        intervals = day_to_minutes(wall_times(wanted.intervals))
        if override is None:
            override = Override(provider_id=provider_id, day=day, intervals=intervals)
            self._session.add(override)
        elif day_from_minutes(override.intervals) != day_from_minutes(intervals):
            override.intervals = intervals
        await self._session.flush()
        if before != (after := _hours_of(override)):
            await repository.raise_version(self._session, provider_id)
            await record(
                self._session,
                "schedule.override_set",
                subject_id=provider_id,
                actor=principal.actor,
                before=before,
                after=after,
            )
        return OverrideChanged(
            **_override_out(override).model_dump(),
            bookings_outside=await self._left_outside(schedule),
        )

    async def remove_override(
        self, provider_id: UUID, day: date, seen: IfMatch, principal: Principal
    ) -> OverrideRemoved:
        """Let a day have the hours of its weekday again.

        Raises:
            NotFound: no such provider, or nothing was set for that day.
            VersionMismatch.
            Forbidden: neither one's own calendar nor the permission to change anyone's.
        """
        await self.check_may_change(provider_id, principal)
        schedule = await self._schedule(provider_id)
        override = await repository.override(self._session, provider_id, day)
        if override is None:
            raise NotFound("That day has the hours of its weekday.")
        seen.check(override.version)
        before = _hours_of(override)
        await self._session.delete(override)
        await self._session.flush()
        await repository.raise_version(self._session, provider_id)
        await record(
            self._session,
            "schedule.override_removed",
            subject_id=provider_id,
            actor=principal.actor,
            before=before,
        )
        return OverrideRemoved(bookings_outside=await self._left_outside(schedule))

    # --- Who may, and what that does ---------------------------------------------------------
    async def check_may_change(self, provider_id: UUID, principal: Principal) -> None:
        """Raise NotFound without such a provider, Forbidden where the caller has no say."""
        provider = await self._providers.show(provider_id, principal)
        own = provider.user_id is not None and provider.user_id == principal.user_id
        if not principal.may(Permission.SCHEDULES_WRITE) and not (
            own and principal.may(Permission.SCHEDULES_WRITE_OWN)
        ):
            raise Forbidden

    async def booked_during(
        self, provider_id: UUID, start: datetime, end: datetime
    ) -> list[BookingOutside]:
        """The provider's bookings ahead of which a part lies between these instants."""
        promised = await self._commitments.during(self._session, provider_id, start, end)
        return [BookingOutside.model_validate(promise) for promise in promised]

    async def _left_outside(self, schedule: Schedule) -> list[BookingOutside]:
        overrides = await repository.all_overrides(self._session, schedule.provider_id)
        hours = Hours(
            time_zone=schedule.time_zone,
            weekly=schedule.weekly,
            overrides={override.day: override.intervals for override in overrides},
            holiday_calendar=schedule.holiday_calendar,
        )
        promised = await self._commitments.outside(self._session, schedule.provider_id, hours)
        return [BookingOutside.model_validate(promise) for promise in promised]

    async def _schedule(self, provider_id: UUID) -> Schedule:
        schedule = await repository.schedule(self._session, provider_id)
        if schedule is None:
            raise NotFound("This provider has no schedule yet.")
        return schedule


def raising_calendar_version(subjects: Select[UUID]) -> Insert:
    """A statement for the rooms above: give the calendars of these subjects their next version."""
    return repository.raising_version(subjects)


async def raise_calendar_versions(session: AsyncSession, subjects: Sequence[UUID]) -> None:
    """The same, carried out: the rooms above have changed what is free of these subjects' time."""
    await repository.raise_versions(session, subjects)


async def forget_calendar(session: AsyncSession, subject_id: UUID) -> None:
    """Remove the version of a calendar whose subject is no more."""
    await repository.forget_version(session, subject_id)


def _out(schedule: Schedule) -> ScheduleOut:
    return ScheduleOut(
        provider_id=schedule.provider_id,
        time_zone=schedule.time_zone,
        weekly=[WeekdayHours.of(day) for day in from_minutes(schedule.weekly)],
        holiday_calendar=schedule.holiday_calendar,
        version=schedule.version,
        updated_at=schedule.updated_at,
    )


def _override_out(override: Override) -> OverrideOut:
    return OverrideOut(
        date=override.day,
        intervals=in_words(day_from_minutes(override.intervals)),
        version=override.version,
        created_at=override.created_at,
        updated_at=override.updated_at,
    )


def _hours_of(override: Override) -> dict[str, object]:
    """An override for the log."""
    return _override_out(override).model_dump(mode="json", include={"date", "intervals"})
