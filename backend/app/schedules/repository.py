"""The SQL of working hours and calendar versions."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from sqlalchemy import ARRAY, Select, Uuid, delete, func, literal, select
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.pagination import Keyset
from app.schedules.models import Calendar, Override, Schedule

# All overrides of a list are one provider's, so the day alone decides.
OVERRIDES = Keyset(Override.provider_id, {"date": Override.day})


async def schedule(session: AsyncSession, provider_id: UUID) -> Schedule | None:
    return await session.get(Schedule, provider_id)


async def override(session: AsyncSession, provider_id: UUID, day: date) -> Override | None:
    return await session.get(Override, (provider_id, day))


def overrides(provider_id: UUID, *, start: date | None, end: date | None) -> Select[Override]:
    """The overrides of a provider, from `start` through `end`."""
    statement = select(Override).where(Override.provider_id == provider_id)
    if start is not None:
        statement = statement.where(Override.day >= start)
    if end is not None:
        statement = statement.where(Override.day <= end)
    return statement


async def all_overrides(session: AsyncSession, provider_id: UUID) -> Sequence[Override]:
    return (await session.scalars(overrides(provider_id, start=None, end=None))).all()


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


async def raise_versions(session: AsyncSession, subjects: Sequence[UUID]) -> None:
    """Give these calendars their next version, always in the same order: no deadlocks."""
    ordered = literal(sorted(set(subjects)), ARRAY(Uuid()))
    await session.execute(raising_version(select(func.unnest(ordered, type_=Uuid()))))


async def raise_version(session: AsyncSession, subject_id: UUID) -> None:
    await raise_versions(session, [subject_id])


async def forget_version(session: AsyncSession, subject_id: UUID) -> None:
    await session.execute(delete(Calendar).where(Calendar.subject_id == subject_id))
