"""Everything that is free of a service, for who decides about many times of it."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability import plan_repository, taken_repository
from app.availability.plan import Plan
from app.availability.service import WEEK_AROUND, dates_around
from app.core.clock import Clock


class VacancyService:
    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def offer(self, service_id: UUID) -> Plan | None:
        """An active service with those who give it. One round trip."""
        now = self._clock()
        return await plan_repository.plan(
            self._session, service_id, now=now, days=dates_around(now, now)
        )

    async def plan(self, service_id: UUID, until: datetime) -> Plan | None:
        """An active service, with what is taken of its time from now until then. Two round trips.

        Nobody is kept from taking more of it: who wants a time has to ask for it all the same.
        """
        now = self._clock()
        plan = await plan_repository.plan(
            self._session, service_id, now=now, days=dates_around(now, until)
        )
        if plan is None:
            return None
        margin = timedelta(minutes=WEEK_AROUND if plan.limits.bind_provider else 0)
        during = Range(
            now - timedelta(minutes=plan.buffer_before) - margin,
            until + timedelta(minutes=max(plan.durations) + plan.buffer_after) + margin,
        )
        return plan.with_taken(
            await taken_repository.taken_times(self._session, plan, during, now=now)
        )
