"""The SQL of free and taken time.

Reads join the tables of the rooms below, so that everything a question needs arrives in one round
trip; writes touch allocations only. Instants travel as whole minutes since the epoch.

Statements are built once, when the module is imported: to build one takes longer than to run it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    TIMESTAMP,
    ColumnElement,
    Integer,
    Select,
    Uuid,
    and_,
    any_,
    bindparam,
    cast,
    delete,
    func,
    null,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import TSTZRANGE, Range, aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.functions import array_agg
from sqlalchemy.sql.selectable import LateralFromClause

from app.availability.models import NO_OVERLAP, Allocation
from app.availability.plan import Plan, PlannedProvider
from app.availability.rules import Interval, WorkingHours
from app.catalog.models import Location, Service
from app.database import AnyRow, table
from app.providers.models import Provider, ServiceProvider
from app.schedules.models import Calendar, Schedule

UTC_MINUTE = 60


# Whole minutes that cover the allocation: rounded down where it begins, up where it ends.
_START = cast(
    func.floor(func.date_part("epoch", func.lower(Allocation.during)) / UTC_MINUTE), Integer
)
_END = cast(func.ceil(func.date_part("epoch", func.upper(Allocation.during)) / UTC_MINUTE), Integer)
_IS_TIME_OFF = Allocation.kind == "time_off"


def _in_order(value: ColumnElement[int]) -> array_agg[Any]:
    by_start = aggregate_order_by(value, func.lower(Allocation.during))
    return func.array_agg(by_start, type_=ARRAY(Integer()))


def _taken_around() -> LateralFromClause:
    """What overlaps an appointment, with the service's buffers, in each provider's calendar."""
    begins = bindparam("begins", type_=TIMESTAMP(timezone=True))
    wanted = bindparam("duration", type_=Integer())
    minutes = func.coalesce(wanted, Service.durations_minutes[1])
    during = func.tstzrange(
        begins - func.make_interval(0, 0, 0, 0, 0, Service.buffer_before_minutes),
        begins + func.make_interval(0, 0, 0, 0, 0, minutes + Service.buffer_after_minutes),
    )
    return (
        select(
            _in_order(_START).filter(~_IS_TIME_OFF).label("busy_starts"),
            _in_order(_END).filter(~_IS_TIME_OFF).label("busy_ends"),
            _in_order(_START).filter(_IS_TIME_OFF).label("off_starts"),
            _in_order(_END).filter(_IS_TIME_OFF).label("off_ends"),
        )
        .where(Allocation.subject_id == Provider.id, Allocation.during.op("&&")(during))
        .lateral("taken")
    )


def _nothing_taken() -> LateralFromClause:
    names = ("busy_starts", "busy_ends", "off_starts", "off_ends")
    return select(*(null().label(name) for name in names)).lateral("taken")


def _plan_with(taken: LateralFromClause) -> Select[*tuple[Any, ...]]:
    provider_ids = bindparam("provider_ids", type_=ARRAY(Uuid()))
    location_id = bindparam("location_id", type_=Uuid())
    # Inner joins among these three, so that a provider without a schedule is not there.
    who = (
        table(ServiceProvider)
        .join(
            Provider,
            and_(
                Provider.id == ServiceProvider.provider_id,
                Provider.is_active,
                provider_ids.is_(None) | (Provider.id == any_(provider_ids)),
                location_id.is_(None) | (location_id == any_(Provider.location_ids)),
            ),
        )
        .join(Schedule, Schedule.provider_id == Provider.id)
    )
    return (
        select(
            Service.id,
            Service.name,
            Service.version,
            Service.durations_minutes,
            Service.buffer_before_minutes,
            Service.buffer_after_minutes,
            Service.slot_interval_minutes,
            Service.min_notice_minutes,
            Service.booking_window_days,
            Service.cancel_until_minutes,
            Service.price_amount,
            Service.price_currency,
            Location.time_zone.label("location_zone"),
            Location.version.label("location_version"),
            Provider.id.label("provider_id"),
            Provider.display_name,
            Provider.version.label("provider_version"),
            Schedule.time_zone,
            Schedule.weekly,
            Schedule.version.label("schedule_version"),
            func.coalesce(Calendar.version, 0).label("calendar_version"),
            *taken.c,
        )
        .select_from(Service)
        .outerjoin(Location, Location.id == location_id)
        .outerjoin(who, ServiceProvider.service_id == Service.id)
        .outerjoin(Calendar, Calendar.subject_id == Provider.id)
        .outerjoin(taken, true())
        .where(Service.id == bindparam("service_id", type_=Uuid()), Service.is_active)
        .order_by(ServiceProvider.priority.desc(), Provider.id)
    )


_PLAN = _plan_with(_nothing_taken())
_PLAN_AROUND = _plan_with(_taken_around())

_TAKEN_TIMES = (
    select(Allocation.subject_id, _IS_TIME_OFF, _in_order(_START), _in_order(_END))
    .where(
        Allocation.subject_id == any_(bindparam("subject_ids", type_=ARRAY(Uuid()))),
        Allocation.during.op("&&")(bindparam("during", type_=TSTZRANGE())),
    )
    .group_by(Allocation.subject_id, _IS_TIME_OFF)
)

# `ON CONFLICT DO NOTHING` on the exclusion constraint decides races without deadlocks; a plain
# INSERT that lets the constraint raise would end in chains of them.
TAKING = (
    insert(table(Allocation))
    .values(
        id=bindparam("taken_id"),
        subject_id=bindparam("taken_subject_id"),
        during=bindparam("taken_during"),
        kind=bindparam("taken_kind"),
    )
    .on_conflict_do_nothing(constraint=NO_OVERLAP)
)


async def plan(
    session: AsyncSession,
    service_id: UUID,
    *,
    provider_ids: Sequence[UUID] = (),
    location_id: UUID | None = None,
    busy_around: tuple[datetime, int | None] | None = None,
) -> Plan | None:
    """An active service with its active providers who have a schedule, in one round trip.

    `busy_around` is a start and a duration in minutes (None: the service's first): the answer then
    holds what overlaps that appointment with its buffers.
    """
    parameters: dict[str, Any] = {
        "service_id": service_id,
        "provider_ids": list(provider_ids) or None,
        "location_id": location_id,
    }
    statement = _PLAN
    if busy_around is not None:
        statement = _PLAN_AROUND
        parameters |= {"begins": busy_around[0], "duration": busy_around[1]}
    rows = (await session.execute(statement, parameters)).all()
    return _plan(rows) if rows else None


def _plan(rows: Sequence[AnyRow]) -> Plan:
    first = rows[0]
    return Plan(
        service_id=first.id,
        service_name=first.name,
        version=first.version,
        durations=first.durations_minutes,
        buffer_before=first.buffer_before_minutes,
        buffer_after=first.buffer_after_minutes,
        slot_interval=first.slot_interval_minutes,
        min_notice=first.min_notice_minutes,
        window_days=first.booking_window_days,
        cancel_until_minutes=first.cancel_until_minutes,
        price_amount=first.price_amount,
        price_currency=first.price_currency,
        location_zone=first.location_zone,
        location_version=first.location_version,
        providers=[_planned_provider(row) for row in rows if row.provider_id is not None],
    )


def _planned_provider(row: AnyRow) -> PlannedProvider:
    weekly = tuple(tuple((start, end) for start, end in day) for day in row.weekly)
    return PlannedProvider(
        id=row.provider_id,
        display_name=row.display_name,
        hours=WorkingHours(row.time_zone, weekly),
        versions=(row.provider_version, row.schedule_version, row.calendar_version),
        busy=_intervals(row.busy_starts, row.busy_ends),
        time_off=_intervals(row.off_starts, row.off_ends),
    )


def _intervals(starts: list[int] | None, ends: list[int] | None) -> list[Interval]:
    return list(zip(starts or (), ends or (), strict=True))


async def taken_times(
    session: AsyncSession, subject_ids: Sequence[UUID], during: Range[datetime]
) -> dict[tuple[UUID, bool], list[Interval]]:
    """What is taken of each subject's time, by subject and whether it is time off.

    One round trip, however many subjects and days: arrays of integers, one row per subject.
    """
    rows = await session.execute(_TAKEN_TIMES, {"subject_ids": list(subject_ids), "during": during})
    return {
        (subject, off): list(zip(starts, ends, strict=True)) for subject, off, starts, ends in rows
    }


async def release(session: AsyncSession, subject_id: UUID, allocation_id: UUID) -> None:
    await session.execute(
        delete(Allocation).where(
            Allocation.subject_id == subject_id, Allocation.id == allocation_id
        )
    )
