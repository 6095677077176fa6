"""The SQL of working hours and calendar versions."""

from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, literal, select
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.schedules.models import Calendar, Schedule


async def schedule(session: AsyncSession, provider_id: UUID) -> Schedule | None:
    return await session.get(Schedule, provider_id)


def raising_version(subjects: Select[UUID]) -> Insert:
    """A statement that gives the calendars of these subjects their next version."""
    return (
        insert(Calendar)
        .from_select(["subject_id"], subjects)
        .on_conflict_do_update(
            index_elements=["subject_id"],
            set_={"version": Calendar.version + 1, "changed_at": func.now()},
        )
    )


async def raise_version(session: AsyncSession, subject_id: UUID) -> None:
    subject: ColumnElement[UUID] = literal(subject_id)
    await session.execute(raising_version(select(subject)))
