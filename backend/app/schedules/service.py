"""Working hours."""

from uuid import UUID

from sqlalchemy import Select
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.core.errors import Forbidden, NotFound
from app.core.events import record_change
from app.core.preconditions import IfMatch
from app.providers.service import ProviderService
from app.schedules import repository
from app.schedules.models import Schedule
from app.schedules.rules import from_minutes, to_minutes
from app.schedules.schemas import ScheduleIn, ScheduleOut, WeekdayHours


class ScheduleService:
    def __init__(self, session: AsyncSession, providers: ProviderService) -> None:
        self._session = session
        self._providers = providers

    async def show(self, provider_id: UUID, principal: Principal | None) -> ScheduleOut:
        """A provider's weekly hours. Raises NotFound: no such provider, or none set yet."""
        await self._providers.show(provider_id, principal)
        schedule = await repository.schedule(self._session, provider_id)
        if schedule is None:
            raise NotFound("This provider has no schedule yet.")
        return _out(schedule)

    async def replace(
        self, provider_id: UUID, wanted: ScheduleIn, seen: IfMatch, principal: Principal
    ) -> ScheduleOut:
        """Set a provider's weekly hours. Bookings made before stay as they are.

        Raises:
            NotFound, VersionMismatch.
            Forbidden: neither one's own calendar nor the permission to change anyone's.
        """
        provider = await self._providers.show(provider_id, principal)
        if not _may_change(principal, provider.user_id):
            raise Forbidden
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
        return out


def raising_calendar_version(subjects: Select[UUID]) -> Insert:
    """A statement for the rooms above: give the calendars of these subjects their next version."""
    return repository.raising_version(subjects)


def _may_change(principal: Principal, owner: UUID | None) -> bool:
    own = owner is not None and owner == principal.user_id
    return principal.may(Permission.SCHEDULES_WRITE) or (
        own and principal.may(Permission.SCHEDULES_WRITE_OWN)
    )


def _out(schedule: Schedule) -> ScheduleOut:
    return ScheduleOut(
        provider_id=schedule.provider_id,
        time_zone=schedule.time_zone,
        weekly=[WeekdayHours.of(day) for day in from_minutes(schedule.weekly)],
        version=schedule.version,
        updated_at=schedule.updated_at,
    )
