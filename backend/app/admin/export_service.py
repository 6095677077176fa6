"""Taking bookings elsewhere: one row each, with the people in them."""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.admin import export_repository as repository
from app.admin.report_service import Days
from app.core.clock import Clock
from app.core.events import Actor, record
from app.core.ids import new_id
from app.database import AnyRow, Database

HEADER: Final = (
    *("reference", "status", "service", "provider", "location", "start", "end"),
    *("duration_minutes", "seats", "customer", "email", "phone", "price_amount", "price_currency"),
    *("source", "notes", "answers", "cancelled_by", "cancelled_reason", "cancelled_at"),
    "created_at",
)

Cells = Sequence[object]


class ExportService:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def bookings(self, days: Days) -> AsyncIterator[Iterator[Cells]]:
        """The bookings that begin on these days, by their beginning, some at a time.

        Instants are RFC 3339 in the days' zone. A connection is held until the last one is read.
        """
        start, end = days.instants
        zone = ZoneInfo(days.zone)
        async with self._database.transaction() as session:
            async for some in repository.bookings(session, start, end, now=self._clock()):
                yield (_cells(row, zone) for row in some)


async def record_export(session: AsyncSession, what: str, days: Days, actor: Actor) -> None:
    """That people's data left, for whom, is in the audit log before the first byte does."""
    told = {"of": what, "start": days.first.isoformat(), "end": days.last.isoformat()}
    await record(session, "export.created", subject_id=new_id(), actor=actor, after=told)


def _cells(row: AnyRow, zone: ZoneInfo) -> list[object]:
    return [
        value.astimezone(zone).isoformat() if isinstance(value, datetime) else value
        for value in row
    ]
