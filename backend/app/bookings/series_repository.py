"""The SQL of series: as many statements for fifty bookings as for one."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    TIMESTAMP,
    ColumnElement,
    FromClause,
    Integer,
    Result,
    Select,
    Table,
    Text,
    bindparam,
    column,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import flag_modified

from app.availability.service import Taking, json_value, many_takings, taken_many
from app.bookings.allowance_repository import counts, keeps_time, was_booked_by_account
from app.bookings.models import Booking
from app.bookings.repository import NEW_BOOKING, view_of
from app.bookings.rules import Status
from app.bookings.series_models import BookingSeries
from app.catalog.models import Service
from app.core.events import EVENT_COLUMNS, Event
from app.database import AnyRow, table
from app.providers.models import Provider
from app.schedules.service import raising_calendar_version

_BOOKINGS = table(Booking)


def _rows(parameter: str, of: Table, names: Sequence[str], *more: ColumnElement[Any]) -> Any:  # noqa: ANN401 - a derived table
    """The rows of a JSON parameter, with the types of a table's columns."""
    columns = [column(name, of.c[name].type) for name in names]
    return (
        func.jsonb_to_recordset(bindparam(parameter, type_=JSONB()))
        .table_valued(*columns, *more)
        .render_derived(name=parameter, with_types=True)
    )


def _logging(of: FromClause) -> Any:  # noqa: ANN401 - an INSERT
    """The events of those of the rows that have come about."""
    events = _rows("events", table(Event), EVENT_COLUMNS)
    logged = select(*(events.c[name] for name in EVENT_COLUMNS)).join(
        of, of.c.id == events.c.subject_id
    )
    return insert(table(Event)).from_select(list(EVENT_COLUMNS), logged)


def _book() -> Select[Any]:
    taken, parts = many_takings()
    new = _rows("bookings", _BOOKINGS, NEW_BOOKING, column("subjects", Integer()))
    count = (
        select(func.count())
        .select_from(taken)
        .where(taken.c.id == new.c.allocation_id)
        .scalar_subquery()
    )
    complete = select(*(new.c[name] for name in NEW_BOOKING)).where(count == new.c.subjects)
    booked = (
        insert(_BOOKINGS)
        .from_select(list(NEW_BOOKING), complete)
        .returning(*_BOOKINGS.c)
        .cte("booked")
    )
    logged = _logging(booked).cte("logged")
    raised = raising_calendar_version(select(taken.c.subject_id).distinct()).cte("raised")
    return view_of(booked).add_cte(*parts, logged, raised).order_by(booked.c.starts_at)


def _cancel() -> Select[Any]:
    called_off = _rows("called_off", _BOOKINGS, ("id", "cancelled_by"))
    changed = (
        update(_BOOKINGS)
        .where(_BOOKINGS.c.id == called_off.c.id)
        .values(
            status=Status.CANCELLED.value,
            allocation_id=None,
            cancelled_by=called_off.c.cancelled_by,
            cancelled_reason=bindparam("reason", type_=Text()),
            cancelled_at=bindparam("now", type_=TIMESTAMP(timezone=True)),
            sequence=_BOOKINGS.c.sequence + 1,
            version=_BOOKINGS.c.version + 1,
            updated_at=func.now(),
        )
        .returning(*_BOOKINGS.c)
        .cte("changed")
    )
    return view_of(changed).add_cte(_logging(changed).cte("logged")).order_by(changed.c.starts_at)


def _locked() -> Select[Any]:
    locked = (
        select(_BOOKINGS)
        .where(_BOOKINGS.c.series_id == bindparam("series_id"))
        .order_by(_BOOKINGS.c.id)
        .with_for_update()
        .cte("locked")
    )
    return view_of(locked).order_by(locked.c.starts_at)


# Built once: to build them takes longer than to run them.
_BOOK = _book()
_CANCEL = _cancel()
_LOCKED = _locked()
_OF_SERIES = (
    view_of(_BOOKINGS)
    .where(_BOOKINGS.c.series_id == bindparam("series_id"))
    .order_by(_BOOKINGS.c.starts_at)
)
_SERIES = (
    select(
        BookingSeries,
        Service.name.label("service_name"),
        Provider.display_name.label("provider_name"),
    )
    .join(Service, Service.id == BookingSeries.service_id)
    .join(Provider, Provider.id == BookingSeries.provider_id)
    .where(BookingSeries.id == bindparam("series_id"))
    .execution_options(populate_existing=True)
)


async def book(
    session: AsyncSession,
    *,
    takings: Sequence[Taking],
    bookings: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]],
) -> Sequence[AnyRow]:
    """Take all these times and write their bookings, events and the calendars' next versions.

    One statement, one round trip. Missing from what it returns is what somebody else was faster
    with; of several subjects some may then have been taken.
    """
    subjects = [taking.subjects for taking in takings]
    rows: Result[Any] = await session.execute(
        _BOOK,
        {
            "taken_many": taken_many(takings),
            "bookings": [
                _json(booking) | {"subjects": count}
                for booking, count in zip(bookings, subjects, strict=True)
            ],
            "events": [_json(event) for event in events],
        },
    )
    return rows.all()


async def cancel(
    session: AsyncSession,
    called_off: Mapping[UUID, str],
    *,
    reason: str,
    now: datetime,
    events: Sequence[Mapping[str, Any]],
) -> Sequence[AnyRow]:
    """Cancel bookings whose rows are locked, by whom it says, and log it. One round trip."""
    rows: Result[Any] = await session.execute(
        _CANCEL,
        {
            "called_off": [{"id": str(i), "cancelled_by": by} for i, by in called_off.items()],
            "reason": reason,
            "now": now,
            "events": [_json(event) for event in events],
        },
    )
    return rows.all()


async def series(
    session: AsyncSession, series_id: UUID, *, lock: bool = False
) -> tuple[BookingSeries, str, str] | None:
    """A series with the names of its service and provider; `lock`: nobody else cancels of it."""
    statement = _SERIES.with_for_update(of=BookingSeries) if lock else _SERIES
    row = (await session.execute(statement, {"series_id": series_id})).one_or_none()
    return None if row is None else (row[0], row[1], row[2])


async def mark_changed(session: AsyncSession, series: BookingSeries) -> None:
    """Give a series its next version: its own columns stay, what it consists of has changed."""
    flag_modified(series, "rrule")
    await session.flush()


async def bookings(
    session: AsyncSession, series_id: UUID, *, lock: bool = False
) -> Sequence[AnyRow]:
    """The bookings of a series in order; `lock`: as they are once nobody is changing them."""
    statement = _LOCKED if lock else _OF_SERIES
    rows: Result[Any] = await session.execute(statement, {"series_id": series_id})
    return rows.all()


async def starts_of_customer(
    session: AsyncSession,
    customer_id: UUID,
    service_id: UUID,
    *,
    now: datetime,
    between: tuple[datetime, datetime],
) -> tuple[int, Sequence[datetime]]:
    """How many active bookings of the service a customer has, and the starts in a span that count.

    The same bookings count as `repository.CustomersLimits` says.
    """
    is_active = keeps_time(now) & (Booking.ends_at > now)
    in_span = Booking.starts_at.between(*between)
    row = (
        await session.execute(
            select(
                func.count().filter(is_active),
                func.array_agg(Booking.starts_at).filter(in_span),
            ).where(
                Booking.customer_id == customer_id,
                Booking.service_id == service_id,
                was_booked_by_account(),
                counts(now),
                is_active | in_span,
            )
        )
    ).one()
    return row[0], row[1] or []


async def of_customer(session: AsyncSession, customer_id: UUID) -> Sequence[BookingSeries]:
    found = await session.scalars(
        select(BookingSeries)
        .where(BookingSeries.customer_id == customer_id)
        .order_by(BookingSeries.id)
    )
    return found.all()


async def make_anonymous(session: AsyncSession, customer_id: UUID) -> None:
    await session.execute(
        update(BookingSeries)
        .where(BookingSeries.customer_id == customer_id)
        .values(customer_id=None, version=BookingSeries.version + 1)
        .execution_options(synchronize_session=False)
    )


def _json(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: json_value(value) for name, value in values.items()}
