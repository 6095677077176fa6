"""The SQL of what counts: for the calendar, and for how much a customer may have."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    TIMESTAMP,
    ColumnElement,
    Integer,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    column,
    func,
    literal_column,
    not_,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.bookings.models import Booking
from app.bookings.rules import OCCUPYING, RELEASED, Status
from app.core.prepared import Prepared, Readers


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

    @property
    def parameters(self) -> dict[str, Any]:
        return {f"limits_{name}": value for name, value in asdict(self).items()}


_CUSTOMER_ID = bindparam("limits_customer_id", type_=Uuid())
_WITHOUT = bindparam("limits_without", type_=Uuid())


def _literals(statuses: Collection[Status]) -> list[ColumnElement[str]]:
    """Statuses as part of a statement: lists of parameters are built anew each time."""
    return [literal_column(f"'{status}'") for status in sorted(statuses)]


def keeps_time(now: ColumnElement[datetime] | datetime) -> ColumnElement[bool]:
    """Whether a booking occupies the calendar: what has expired does not, noted or not."""
    return and_(Booking.status.in_(_literals(OCCUPYING)), not_(has_waited(now)))


def counts(now: ColumnElement[datetime] | datetime) -> ColumnElement[bool]:
    """Whether a booking takes place, or has done so."""
    return and_(Booking.status.not_in(_literals(RELEASED)), not_(has_waited(now)))


def was_booked_by_account() -> ColumnElement[bool]:
    """What somebody booked as a guest uses up no customer's limits: it may have been anybody."""
    return Booking.guest_email.is_(None)


def has_waited(now: ColumnElement[datetime] | datetime) -> ColumnElement[bool]:
    """As `rules.status_at` has it: a request that nobody approved in time."""
    is_pending = Booking.status == literal_column(f"'{Status.PENDING}'")
    return and_(is_pending, Booking.expires_at <= now)


def _instant(name: str) -> ColumnElement[datetime]:
    return bindparam(f"limits_{name}", type_=TIMESTAMP(timezone=True))


def within_customers_limits(
    begins: ColumnElement[datetime] = _instant("day_start"),
    ends: ColumnElement[datetime] = _instant("day_end"),
) -> ColumnElement[bool]:
    """Whether the customer may have one more of the service that day; nobody's limits are NULL."""
    mine = select(func.count()).where(
        Booking.customer_id == _CUSTOMER_ID,
        was_booked_by_account(),
        Booking.service_id == bindparam("limits_service_id", type_=Uuid()),
        Booking.id.is_distinct_from(_WITHOUT),
    )
    now = _instant("now")
    active = mine.where(keeps_time(now), Booking.ends_at > now).scalar_subquery()
    that_day = mine.where(
        counts(now), Booking.starts_at >= begins, Booking.starts_at < ends
    ).scalar_subquery()
    most_active, most_a_day = (
        bindparam(f"limits_{name}", type_=Integer()) for name in ("active", "per_day")
    )
    return and_(
        or_(most_active.is_(None), active < most_active),
        or_(most_a_day.is_(None), that_day < most_a_day),
    )


def _enough() -> Select[Any]:
    day = (
        func.unnest(
            bindparam("limits_zones", type_=ARRAY(Text())),
            bindparam("limits_begins", type_=ARRAY(TIMESTAMP(timezone=True))),
            bindparam("limits_ends", type_=ARRAY(TIMESTAMP(timezone=True))),
        )
        .table_valued(
            column("zone", Text()),
            column("begins", TIMESTAMP(timezone=True)),
            column("ends", TIMESTAMP(timezone=True)),
        )
        .render_derived(name="day")
    )
    theirs = select(Booking.id).where(Booking.id == _WITHOUT, Booking.customer_id == _CUSTOMER_ID)
    return select(day.c.zone).where(
        not_(within_customers_limits(day.c.begins, day.c.ends)),
        # Who moves another person's booking is not bound by limits of their own.
        or_(_WITHOUT.is_(None), theirs.exists()),
    )


_ENOUGH = Prepared(_enough())


async def zones_with_enough(
    where: AsyncSession | Readers,
    limits: CustomersLimits,
    days: Mapping[str, tuple[datetime, datetime]],
) -> set[str]:
    """In which of these zones the customer may have no more on the day there. One round trip."""
    parameters = limits.parameters | {
        "limits_zones": list(days),
        "limits_begins": [begins for begins, _ in days.values()],
        "limits_ends": [ends for _, ends in days.values()],
    }
    return {row.zone for row in await _ENOUGH.all(where, parameters)}
