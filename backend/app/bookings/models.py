"""Bookings, and the series they may be part of."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    TIMESTAMP,
    CheckConstraint,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.bookings.rules import OCCUPYING, Status
from app.bookings.series_models import BookingSeries
from app.core.ids import new_id
from app.database import Base, Versioned


def _sql_list(statuses: frozenset[Status]) -> str:
    return ", ".join(f"'{status}'" for status in sorted(statuses))


class Booking(Versioned, Base):
    """An agreement about a time.

    It is kept twice: as instants, and as the wall time and zone that the people agreed on, so that
    a change of the time-zone database can be applied to what lies ahead. While its status occupies
    the calendar it owns an allocation, which is always one of its own provider's: its own, with
    the same id, or seats of a group session's. While it waits for approval it owns that only until
    `expires_at`: who finds it in the way after that takes its time, whether or not anybody has
    noted yet that it has expired. Once it is agreed the allocation must be there, which is what
    `owned_allocation_id` is for. `provider_ids` are all who take part, the first among them being
    `provider_id`, and `resource_ids` the rooms and devices.

    It is a customer's, who has an account, or a guest's, who gave an address and has a manage
    token; both, once the account whose address that is has been found (`joined_at`).

    `provider_id` comes first in the key, so that the table can be sharded by it.
    """

    __tablename__ = "bookings"
    __table_args__ = (
        PrimaryKeyConstraint("provider_id", "id"),
        ForeignKeyConstraint(
            ["provider_id", "owned_allocation_id"],
            ["allocations.subject_id", "allocations.id"],
            # A move gives back the old time before it takes the new one.
            deferrable=True,
            initially="DEFERRED",
        ),
        Index(None, "id"),
        Index("uq_bookings_reference", "reference", unique=True),
        Index(None, "customer_id", "starts_at"),
        Index(None, "provider_id", "starts_at"),
        Index(None, "provider_id", "owned_allocation_id"),
        Index(None, "service_id", "starts_at"),
        # Most are given by one provider alone, who is found above.
        Index(
            None,
            "provider_ids",
            postgresql_using="gin",
            postgresql_where="cardinality(provider_ids) > 1",
        ),
        Index(None, "starts_at", "id"),
        Index(None, "series_id", postgresql_where="series_id IS NOT NULL"),
        Index(None, "guest_email", postgresql_where="guest_email IS NOT NULL"),
        Index(
            None,
            "ends_at",
            postgresql_where="guest_email IS NOT NULL AND customer_id IS NULL",
        ),
        Index("uq_bookings_manage_digest", "manage_digest", unique=True),
        CheckConstraint(f"status IN ({_sql_list(frozenset(Status))})", name="status_known"),
        CheckConstraint(
            f"(status IN ({_sql_list(OCCUPYING)})) = (allocation_id IS NOT NULL)",
            name="occupying_owns_allocation",
        ),
        CheckConstraint(
            "ends_at = starts_at + make_interval(mins => duration_minutes)", name="ends_at_exact"
        ),
        CheckConstraint("duration_minutes > 0 AND seats > 0", name="not_empty"),
        CheckConstraint("(guest_name IS NULL) = (guest_email IS NULL)", name="guest_complete"),
        CheckConstraint("(price_amount IS NULL) = (price_currency IS NULL)", name="price_complete"),
    )

    id: Mapped[UUID] = mapped_column(default=new_id)
    provider_id: Mapped[UUID] = mapped_column(ForeignKey("providers.id"))
    service_id: Mapped[UUID] = mapped_column(ForeignKey("services.id"))
    allocation_id: Mapped[UUID | None]
    owned_allocation_id: Mapped[UUID | None] = mapped_column(
        Computed("CASE WHEN status <> 'pending' THEN allocation_id END", persisted=True)
    )
    customer_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    series_id: Mapped[UUID | None] = mapped_column(ForeignKey(BookingSeries.id))
    location_id: Mapped[UUID | None] = mapped_column(ForeignKey("locations.id"))
    provider_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()))
    resource_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()), server_default="{}")
    guest_name: Mapped[str | None]
    guest_email: Mapped[str | None]
    guest_phone: Mapped[str | None]
    guest_time_zone: Mapped[str | None]
    manage_digest: Mapped[bytes | None] = mapped_column(LargeBinary())
    manage_salt: Mapped[bytes | None] = mapped_column(LargeBinary())
    joined_at: Mapped[datetime | None]
    reference: Mapped[str]
    status: Mapped[str]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    time_zone: Mapped[str]
    wall_start: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=False))
    duration_minutes: Mapped[int] = mapped_column(Integer())
    seats: Mapped[int] = mapped_column(Integer(), server_default="1")
    notes: Mapped[str] = mapped_column(server_default="")
    answers: Mapped[dict[str, Any]] = mapped_column(JSONB(), server_default="{}")
    price_amount: Mapped[int | None]
    price_currency: Mapped[str | None]
    policy: Mapped[dict[str, Any]] = mapped_column(JSONB())
    source: Mapped[str]
    assigned: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    expires_at: Mapped[datetime | None]
    reschedules: Mapped[int] = mapped_column(Integer(), server_default="0")
    sequence: Mapped[int] = mapped_column(Integer(), server_default="0")
    cancelled_by: Mapped[str | None]
    cancelled_reason: Mapped[str | None]
    cancelled_at: Mapped[datetime | None]
