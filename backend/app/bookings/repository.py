"""The SQL of bookings. Hot paths read rows, not entities."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    TIMESTAMP,
    ColumnElement,
    FromClause,
    Insert,
    Integer,
    Select,
    Table,
    Uuid,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.models import User
from app.availability.service import Taking, takings
from app.bookings.models import Booking
from app.bookings.rules import OCCUPYING, RELEASED, Status
from app.catalog.models import Service
from app.core.events import EVENT_COLUMNS, Event
from app.core.pagination import Keyset
from app.core.prepared import Prepared
from app.database import AnyRow, table
from app.providers.models import Provider
from app.schedules.service import raising_calendar_version

BOOKINGS = Keyset(Booking.id, {"start": Booking.starts_at, "created_at": Booking.created_at})


def _literals(statuses: Collection[Status]) -> list[ColumnElement[str]]:
    """Statuses as part of a statement: lists of parameters are built anew each time."""
    return [literal_column(f"'{status}'") for status in sorted(statuses)]


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
_BOOKING = Prepared(_BOOKINGS.where(Booking.id == bindparam("booking_id", type_=Uuid())))


def row_if_taken(taken: CTE, into: Table, prefix: str, columns: Collection[str]) -> Insert:
    """Insert one row of parameters, named after the columns, if all subjects could be taken."""
    row = select(*(bindparam(f"{prefix}{name}", type_=into.c[name].type) for name in columns))
    count = select(func.count()).select_from(taken).scalar_subquery()
    wanted = bindparam("taken_subjects", type_=Integer())
    return insert(into).from_select(list(columns), row.where(count == wanted))


def _within_customers_limits() -> ColumnElement[bool]:
    """Whether the customer may have one more of the service; nobody's limits are NULL."""
    mine = select(func.count()).where(
        Booking.customer_id == bindparam("limits_customer_id", type_=Uuid()),
        Booking.service_id == bindparam("limits_service_id", type_=Uuid()),
        Booking.id.is_distinct_from(bindparam("limits_without", type_=Uuid())),
    )
    now, begins, ends = (
        bindparam(f"limits_{name}", type_=TIMESTAMP(timezone=True))
        for name in ("now", "day_start", "day_end")
    )
    active = mine.where(
        Booking.status.in_(_literals(OCCUPYING)), Booking.ends_at > now
    ).scalar_subquery()
    that_day = mine.where(
        Booking.status.not_in(_literals(RELEASED)),
        Booking.starts_at >= begins,
        Booking.starts_at < ends,
    ).scalar_subquery()
    most_active, most_a_day = (
        bindparam(f"limits_{name}", type_=Integer()) for name in ("active", "per_day")
    )
    return and_(
        or_(most_active.is_(None), active < most_active),
        or_(most_a_day.is_(None), that_day < most_a_day),
    )


def _book(taken: CTE, parts: Sequence[CTE]) -> Select[Any]:
    bookings = table(Booking)
    booked = (
        row_if_taken(taken, bookings, "booking_", NEW_BOOKING).returning(*bookings.c).cte("booked")
    )
    logged = row_if_taken(taken, table(Event), "event_", EVENT_COLUMNS).cte("logged")
    raised = raising_calendar_version(select(taken.c.subject_id)).cte("raised")
    return _view(booked).add_cte(*parts, logged, raised)


NEW_BOOKING = (
    "id",
    "provider_id",
    "service_id",
    "allocation_id",
    "customer_id",
    "series_id",
    "location_id",
    "provider_ids",
    "resource_ids",
    "guest_name",
    "guest_email",
    "guest_phone",
    "guest_time_zone",
    "manage_digest",
    "manage_salt",
    "reference",
    "status",
    "starts_at",
    "ends_at",
    "time_zone",
    "wall_start",
    "duration_minutes",
    "seats",
    "notes",
    "answers",
    "price_amount",
    "price_currency",
    "policy",
    "source",
    "assigned",
    "expires_at",
)
# Built once: to build them takes longer than to run them.
_BOOK = {
    how: Prepared(_book(*taking)) for how, taking in takings(_within_customers_limits()).items()
}


@dataclass(frozen=True, slots=True)
class CustomersLimits:
    """How many bookings of a service a customer may have; `day` is the provider's local day.

    `without` is a booking that does not count, since it is being moved.
    """

    customer_id: UUID | None = None
    service_id: UUID | None = None
    active: int | None = None
    per_day: int | None = None
    now: datetime | None = None
    day_start: datetime | None = None
    day_end: datetime | None = None
    without: UUID | None = None


async def book(
    session: AsyncSession,
    *,
    taking: Taking,
    booking: dict[str, Any],
    event: dict[str, Any],
    limits: CustomersLimits,
) -> AnyRow | None:
    """Take the time, write the booking, its event and the calendars' next versions.

    One statement, one round trip. None: somebody else was faster, or the customer has enough; of
    several subjects some may then have been taken.
    """
    parameters = (
        taking.parameters
        | {"taken_subjects": taking.subjects}
        | prefixed("booking_", booking)
        | prefixed("event_", event)
        | prefixed("limits_", asdict(limits))
    )
    row: AnyRow | None = await _BOOK[taking.how].first(session, parameters)
    return row


async def are_within(session: AsyncSession, limits: CustomersLimits) -> bool:
    """Whether the customer may have one more."""
    parameters = prefixed("limits_", asdict(limits))
    allowed: bool = (
        await session.execute(select(_within_customers_limits()), parameters)
    ).scalar_one()
    return allowed


def prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}


async def view(session: AsyncSession, booking_id: UUID) -> AnyRow | None:
    parameters = {"booking_id": booking_id}
    row: AnyRow | None = await _BOOKING.first(session, parameters)
    return row


async def booking_for_update(session: AsyncSession, booking_id: UUID) -> Booking | None:
    return await session.scalar(
        select(Booking)
        .where(Booking.id == booking_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


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
