"""The SQL of bookings. Hot paths read rows, not entities."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    CTE,
    TIMESTAMP,
    ColumnElement,
    FromClause,
    Insert,
    Integer,
    ScalarSelect,
    Select,
    Table,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by, array
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.auth.models import User
from app.availability.plan import COLLECTIVE
from app.availability.service import How, Taking, takings
from app.bookings.allowance_repository import CustomersLimits, has_waited, within_customers_limits
from app.bookings.hold_models import Hold
from app.bookings.models import Booking
from app.bookings.rules import Status
from app.catalog.models import Location, Resource, Service
from app.core.events import EVENT_COLUMNS, Event
from app.core.jobs import NewJob, enqueued, enqueuing
from app.core.pagination import Keyset
from app.core.prepared import Prepared
from app.database import AnyRow, table
from app.providers.models import Provider
from app.schedules.service import raising_calendar_version

BOOKINGS = Keyset(Booking.id, {"start": Booking.starts_at, "created_at": Booking.created_at})


def view_of(bookings: FromClause) -> Select[Any]:
    """Bookings with the names of those concerned, as `views.booking_out` shows them."""
    several = func.cardinality(bookings.c.provider_ids) > 1
    return (
        select(
            *bookings.c,
            Service.name.label("service_name"),
            (Service.assignment == literal_column(f"'{COLLECTIVE}'")).label("is_collective"),
            Provider.display_name.label("provider_name"),
            case((several, _accounts(bookings)), else_=array([Provider.user_id])).label(
                "provider_user_ids"
            ),
            case((several, _providers(bookings))).label("providers"),
            case((func.cardinality(bookings.c.resource_ids) > 0, _resources(bookings))).label(
                "resources"
            ),
            Location.name.label("location_name"),
            Location.address.label("location_address"),
            User.name.label("customer_name"),
            User.email.label("customer_email"),
            User.phone.label("customer_phone"),
            # Postgres' greatest() passes NULLs by.
            func.greatest(
                *(of.updated_at for of in (Service, Provider, Location, User)),
                bookings.c.joined_at,
                type_=TIMESTAMP(timezone=True),
            ).label("named_at"),
        )
        .select_from(bookings)
        .join(Service, Service.id == bookings.c.service_id)
        .join(Provider, Provider.id == bookings.c.provider_id)
        .outerjoin(Location, Location.id == bookings.c.location_id)
        .outerjoin(User, User.id == bookings.c.customer_id)
    )


def _accounts(bookings: FromClause) -> ScalarSelect[Any]:
    """The accounts of all who give it; who has none counts as NULL."""
    one = aliased(Provider)
    return (
        select(func.array_agg(one.user_id, type_=ARRAY(Uuid())))
        .where(one.id == any_(bookings.c.provider_ids))
        .scalar_subquery()
    )


def _providers(bookings: FromClause) -> ScalarSelect[Any]:
    return _named(aliased(Provider), bookings.c.provider_ids, ("id", "display_name"))


def _resources(bookings: FromClause) -> ScalarSelect[Any]:
    return _named(aliased(Resource), bookings.c.resource_ids, ("id", "name", "kind"))


def _named(of: Any, ids: ColumnElement[Any], names: Sequence[str]) -> ScalarSelect[Any]:  # noqa: ANN401 - an alias
    """Those with these ids as JSON, in the order of the ids."""
    members = [part for name in names for part in (name, getattr(of, name))]
    objects = aggregate_order_by(func.jsonb_build_object(*members), func.array_position(ids, of.id))
    return (
        select(func.jsonb_agg(objects, type_=JSONB())).where(of.id == any_(ids)).scalar_subquery()
    )


_BOOKINGS = view_of(table(Booking))
_BOOKING = Prepared(_BOOKINGS.where(Booking.id == bindparam("booking_id", type_=Uuid())))


def row_if_taken(taken: CTE, into: Table, prefix: str, columns: Collection[str]) -> Insert:
    """Insert one row of parameters, named after the columns, if all subjects could be taken.

    They may be more than asked for: who joins a session shares its rooms as well.
    """
    row = select(*(bindparam(f"{prefix}{name}", type_=into.c[name].type) for name in columns))
    return insert(into).from_select(list(columns), row.where(all_taken(taken)))


def all_taken(taken: CTE) -> ColumnElement[bool]:
    """Whether all subjects could be taken: as many as the parameter says."""
    count = select(func.count()).select_from(taken).scalar_subquery()
    return count >= bindparam("taken_subjects", type_=Integer())


def _book(how: How, taken: CTE, parts: Sequence[CTE], *, with_jobs: bool) -> Select[Any]:
    bookings = table(Booking)
    if how in _FROM_HOLDS:
        parts = [*parts, *_using_hold(taken)]
    if with_jobs:
        parts = [*parts, *enqueuing(only_if=all_taken(taken))]
    booked = (
        row_if_taken(taken, bookings, "booking_", NEW_BOOKING).returning(*bookings.c).cte("booked")
    )
    logged = row_if_taken(taken, table(Event), "event_", EVENT_COLUMNS).cte("logged")
    raised = raising_calendar_version(select(taken.c.subject_id)).cte("raised")
    return view_of(booked).add_cte(*parts, logged, raised)


def _using_hold(taken: CTE) -> list[CTE]:
    """The hold is gone with the statement that takes its time over, and the log says so."""
    holds = table(Hold)
    is_taken = select(taken.c.id).exists()
    used = delete(holds).where(holds.c.id == bindparam("taken_hold_id"), is_taken).cte("used")
    logged = row_if_taken(taken, table(Event), "hold_event_", EVENT_COLUMNS).cte("hold_logged")
    return [used, logged]


_FROM_HOLDS = frozenset({How.HELD, How.HELD_SEATS})

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
    (how, with_jobs): Prepared(_book(how, *taking, with_jobs=with_jobs))
    for how, taking in takings(within_customers_limits()).items()
    for with_jobs in (False, True)
}


async def book(
    session: AsyncSession,
    *,
    taking: Taking,
    booking: dict[str, Any],
    event: dict[str, Any],
    limits: CustomersLimits,
    jobs: Sequence[NewJob] = (),
    hold_event: dict[str, Any] | None = None,
) -> AnyRow | None:
    """Take the time, write the booking, its event, jobs and the calendars' next versions.

    One statement, one round trip. None: somebody else was faster, or the customer has enough; of
    several subjects some may then have been taken. `hold_event` is for time that a hold has taken,
    and that is used up by it.
    """
    parameters = (
        taking.parameters
        | {"taken_subjects": taking.subjects}
        | prefixed("booking_", booking)
        | prefixed("event_", event)
        | limits.parameters
        | prefixed("hold_event_", hold_event or {})
        | (enqueued(jobs) if jobs else {})
    )
    row: AnyRow | None = await _BOOK[taking.how, bool(jobs)].first(session, parameters)
    return row


def prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}


async def view(session: AsyncSession, booking_id: UUID) -> AnyRow | None:
    parameters = {"booking_id": booking_id}
    row: AnyRow | None = await _BOOKING.first(session, parameters)
    return row


@dataclass(frozen=True, slots=True)
class Filter:
    """Which bookings a list shows; None shows all."""

    status: Sequence[str] | None = None
    start_from: datetime | None = None
    start_to: datetime | None = None
    service_id: UUID | None = None
    provider_id: UUID | None = None
    customer_id: UUID | None = None
    q: str | None = None


def bookings(wanted: Filter, *, visible_to: UUID | None, now: datetime) -> Select[Any]:
    """The bookings that match; with `visible_to`, only those of that customer or provider."""
    statement = _BOOKINGS
    if visible_to is not None:
        # An array, which is read first: each of the three then has its index.
        theirs = func.array(
            select(Provider.id).where(Provider.user_id == visible_to).scalar_subquery(),
            type_=ARRAY(Uuid()),
        )
        statement = statement.where(
            or_(
                Booking.customer_id == visible_to,
                Booking.provider_id == any_(theirs),
                _is_given_by(theirs),
            )
        )
    if wanted.status:
        statement = statement.where(or_(*(_has_status(status, now) for status in wanted.status)))
    if wanted.start_from is not None:
        statement = statement.where(Booking.starts_at >= wanted.start_from)
    if wanted.start_to is not None:
        statement = statement.where(Booking.starts_at < wanted.start_to)
    if wanted.provider_id is not None:
        named = wanted.provider_id
        statement = statement.where(
            or_(Booking.provider_id == named, _is_given_by(array([named], type_=Uuid())))
        )
    for column, value in (
        (Booking.service_id, wanted.service_id),
        (Booking.customer_id, wanted.customer_id),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if wanted.q:
        people = (User.name, User.email, Booking.guest_name, Booking.guest_email)
        statement = statement.where(
            or_(*(c.icontains(wanted.q, autoescape=True) for c in (Booking.reference, *people)))
        )
    return statement


def _is_given_by(provider_ids: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether one of these takes part in what several give together."""
    return and_(
        func.cardinality(Booking.provider_ids) > 1, Booking.provider_ids.overlap(provider_ids)
    )


def _has_status(status: str, now: datetime) -> ColumnElement[bool]:
    """What has expired is not pending, even if no one has noticed."""
    if status == Status.EXPIRED:
        return or_(Booking.status == status, has_waited(now))
    if status == Status.PENDING:
        return and_(Booking.status == status, Booking.expires_at > now)
    return Booking.status == status


async def of_customer(session: AsyncSession, customer_id: UUID) -> Sequence[AnyRow]:
    """All bookings of this customer, in order."""
    statement = _BOOKINGS.where(Booking.customer_id == customer_id)
    rows: Sequence[AnyRow] = (
        await session.execute(statement.order_by(Booking.starts_at, Booking.id))
    ).all()
    return rows


NO_GUEST: Final[Mapping[str, Any]] = dict.fromkeys(
    (
        *("guest_name", "guest_email", "guest_phone", "guest_time_zone"),
        *("manage_digest", "manage_salt"),
    )
)
"""A booking without what a guest said of themselves, and without their link."""
NOTHING_SAID: Final[Mapping[str, Any]] = {
    "answers": {},
    "notes": "",
    "cancelled_reason": case((Booking.cancelled_reason.is_not(None), "")),
}
"""A booking without what was written in free text."""


async def make_anonymous(session: AsyncSession, customer_id: UUID) -> Sequence[UUID]:
    """Take the customer, and what was written in free text, out of their bookings."""
    changed = await session.scalars(
        update(Booking)
        .where(Booking.customer_id == customer_id)
        .values(customer_id=None, version=Booking.version + 1, **NO_GUEST, **NOTHING_SAID)
        .returning(Booking.id)
        .execution_options(synchronize_session=False)
    )
    return changed.all()
