"""The SQL of bookings. Hot paths read rows, not entities."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    FromClause,
    Insert,
    Select,
    Table,
    bindparam,
    case,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.models import User
from app.availability.models import Allocation
from app.availability.service import TAKING_TIME
from app.bookings.models import Booking
from app.catalog.models import Service
from app.core.events import EVENT_COLUMNS, Event
from app.core.pagination import Keyset
from app.database import AnyRow, table
from app.providers.models import Provider
from app.schedules.service import raising_calendar_version

BOOKINGS = Keyset(Booking.id, {"start": Booking.starts_at, "created_at": Booking.created_at})


def _view(bookings: FromClause) -> Select[Any]:
    """Bookings with the names of those concerned, as `schemas.BookingOut` shows them."""
    return (
        select(
            *bookings.c,
            bookings.c.policy["cancel_until_minutes"].as_integer().label("cancel_until_minutes"),
            Service.name.label("service_name"),
            Provider.display_name.label("provider_name"),
            Provider.user_id.label("provider_user_id"),
            User.name.label("customer_name"),
            User.email.label("customer_email"),
            User.phone.label("customer_phone"),
        )
        .select_from(bookings)
        .join(Service, Service.id == bookings.c.service_id)
        .join(Provider, Provider.id == bookings.c.provider_id)
        .outerjoin(User, User.id == bookings.c.customer_id)
    )


_BOOKINGS = _view(table(Booking))
_BOOKING = _BOOKINGS.where(Booking.id == bindparam("booking_id"))


def _row_if(condition: CTE, into: Table, prefix: str, columns: Collection[str]) -> Insert:
    """Insert one row of parameters, named after the columns, if the condition has a row."""
    row = select(*(bindparam(f"{prefix}{name}", type_=into.c[name].type) for name in columns))
    return insert(into).from_select(list(columns), row.select_from(condition))


def _book() -> Select[Any]:
    taken = TAKING_TIME.returning(Allocation.subject_id, Allocation.id).cte("taken")
    bookings = table(Booking)
    booked = _row_if(taken, bookings, "booking_", NEW_BOOKING).returning(*bookings.c).cte("booked")
    logged = _row_if(taken, table(Event), "event_", EVENT_COLUMNS).cte("logged")
    raised = raising_calendar_version(select(taken.c.subject_id)).cte("raised")
    return _view(booked).add_cte(logged, raised)


NEW_BOOKING = (
    "id",
    "provider_id",
    "service_id",
    "allocation_id",
    "customer_id",
    "reference",
    "status",
    "starts_at",
    "ends_at",
    "time_zone",
    "wall_start",
    "duration_minutes",
    "notes",
    "price_amount",
    "price_currency",
    "policy",
    "source",
)
_BOOK = _book()  # built once: to build it takes longer than to run it


async def book(
    session: AsyncSession,
    *,
    taking: dict[str, Any],
    booking: dict[str, Any],
    event: dict[str, Any],
) -> AnyRow | None:
    """Take the time, write the booking, its event and the calendar's next version: all or nothing.

    One statement, one round trip. None: somebody else was faster.
    """
    parameters = taking | _prefixed("booking_", booking) | _prefixed("event_", event)
    row: AnyRow | None = (await session.execute(_BOOK, parameters)).one_or_none()
    return row


def _prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}


async def view(session: AsyncSession, booking_id: UUID) -> AnyRow | None:
    parameters = {"booking_id": booking_id}
    row: AnyRow | None = (await session.execute(_BOOKING, parameters)).one_or_none()
    return row


async def booking_for_update(session: AsyncSession, booking_id: UUID) -> Booking | None:
    return await session.scalar(
        select(Booking)
        .where(Booking.id == booking_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def raise_calendar_version(session: AsyncSession, provider_id: UUID) -> None:
    await session.execute(raising_calendar_version(select(literal(provider_id))))


@dataclass(frozen=True, slots=True)
class Filter:
    """Which bookings a list shows; None shows all."""

    status: Sequence[str] | None = None
    start_from: datetime | None = None
    start_to: datetime | None = None
    service_id: UUID | None = None
    provider_id: UUID | None = None
    customer_id: UUID | None = None


def bookings(wanted: Filter, *, visible_to: UUID | None) -> Select[Any]:
    """The bookings that match; with `visible_to`, only those of that customer or provider."""
    statement = _BOOKINGS
    if visible_to is not None:
        statement = statement.where(
            or_(Booking.customer_id == visible_to, Provider.user_id == visible_to)
        )
    if wanted.status:
        statement = statement.where(Booking.status.in_(wanted.status))
    if wanted.start_from is not None:
        statement = statement.where(Booking.starts_at >= wanted.start_from)
    if wanted.start_to is not None:
        statement = statement.where(Booking.starts_at < wanted.start_to)
    for column, value in (
        (Booking.service_id, wanted.service_id),
        (Booking.provider_id, wanted.provider_id),
        (Booking.customer_id, wanted.customer_id),
    ):
        if value is not None:
            statement = statement.where(column == value)
    return statement


async def of_customer(session: AsyncSession, customer_id: UUID) -> Sequence[AnyRow]:
    """All bookings of this customer, in order."""
    statement = _BOOKINGS.where(Booking.customer_id == customer_id)
    rows: Sequence[AnyRow] = (
        await session.execute(statement.order_by(Booking.starts_at, Booking.id))
    ).all()
    return rows


async def make_anonymous(session: AsyncSession, customer_id: UUID) -> Sequence[UUID]:
    """Take the customer, and what was written in free text, out of their bookings."""
    changed = await session.scalars(
        update(Booking)
        .where(Booking.customer_id == customer_id)
        .values(
            customer_id=None,
            notes="",
            cancelled_reason=case((Booking.cancelled_reason.is_not(None), "")),
            version=Booking.version + 1,
        )
        .returning(Booking.id)
        .execution_options(synchronize_session=False)
    )
    return changed.all()
