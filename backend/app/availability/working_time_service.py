"""When providers work, for who looks back or ahead at it as a whole."""

from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability import working_time_repository
from app.availability.plan_repository import working_hours
from app.availability.working_time import WorkingTime
from app.database import AnyRow

_A_DAY = timedelta(days=1)  # no zone is farther from another, nor from UTC


class WorkingTimeService:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def of_everyone(self, start: datetime, end: datetime) -> dict[UUID, WorkingTime]:
        """The working time of every active provider who has a schedule. One round trip.

        It is the schedule as it is now: what the weekly hours were before they changed is not kept.
        """
        days = (start - _A_DAY).date(), (end + _A_DAY).date()
        rows = await working_time_repository.schedules(self._session, days, Range(start, end))
        return {row.id: _working_time(row, days) for row in rows}


def _working_time(row: AnyRow, days: tuple[date, date]) -> WorkingTime:
    # Begun minutes are off.
    time_off = [(int(begin // 60), int(-(-until // 60))) for begin, until in row.time_off or ()]
    return WorkingTime(working_hours(row, days), time_off)
