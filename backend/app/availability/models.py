"""The one table that says what is taken, the seats of shared time, and time off."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import TSTZRANGE, ExcludeConstraint, Range
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.database import Base, Versioned

NO_OVERLAP = "ex_allocations_subject_id_during"


class Allocation(Base):
    """Time of a subject (a provider or a resource) that nobody else can have.

    `during` is the appointment with its buffers, half-open. Postgres itself refuses two that
    overlap: that, and nothing else, is why there are no double bookings.

    What takes several subjects at once (a provider and a room, several providers) has one
    allocation for each, all with the same `id`. Exclusive time has the id of the booking or hold
    that took it; a group session is one allocation with several seats, and `session_seats` says
    whose they are. `service_id`, `starts_at` and `ends_at` are the appointment itself, without
    buffers; time off has none.

    What has an `expires_at` (a hold, a booking that waits for approval) is nobody's from then on:
    no read sees it, and the next transaction that it stands in the way of removes it.

    `subject_id` comes first in the key, so that the table can be sharded by it.
    """

    __tablename__ = "allocations"
    __table_args__ = (
        PrimaryKeyConstraint("subject_id", "id"),
        Index(None, "id"),
        ExcludeConstraint(("subject_id", "="), ("during", "&&"), using="gist", name=NO_OVERLAP),
        CheckConstraint("kind IN ('booking', 'hold', 'time_off', 'external')", name="kind_known"),
        CheckConstraint(
            "NOT isempty(during) AND NOT lower_inf(during) AND NOT upper_inf(during)"
            " AND lower_inc(during) AND NOT upper_inc(during)"
            " AND isfinite(lower(during)) AND isfinite(upper(during))",
            name="during_bounded",
        ),
        CheckConstraint("seats_taken BETWEEN 0 AND capacity", name="seats_within_capacity"),
        CheckConstraint("expires_at IS NOT NULL OR kind <> 'hold'", name="holds_expire"),
        CheckConstraint("expires_at IS NULL OR kind IN ('booking', 'hold')", name="time_off_stays"),
    )

    id: Mapped[UUID] = mapped_column(default=new_id)
    subject_id: Mapped[UUID]
    during: Mapped[Range[datetime]] = mapped_column(TSTZRANGE())
    kind: Mapped[str]
    capacity: Mapped[int] = mapped_column(Integer(), server_default="1")
    seats_taken: Mapped[int] = mapped_column(Integer(), server_default="1")
    expires_at: Mapped[datetime | None]
    service_id: Mapped[UUID | None]
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SeatClaim(Base):
    """Seats of a group session that one booking or hold has; `id` is the booking's or hold's.

    What has an `expires_at` ends by itself then, as `Allocation` says. `subject_id` is the
    session's (first) provider.
    """

    __tablename__ = "session_seats"
    __table_args__ = (
        PrimaryKeyConstraint("allocation_id", "id"),
        ForeignKeyConstraint(
            ["subject_id", "allocation_id"],
            ["allocations.subject_id", "allocations.id"],
            ondelete="CASCADE",
        ),
        Index(None, "id"),
        Index(None, "subject_id", "allocation_id"),
        CheckConstraint("seats > 0", name="seats_positive"),
    )

    id: Mapped[UUID]
    subject_id: Mapped[UUID]
    allocation_id: Mapped[UUID]
    seats: Mapped[int] = mapped_column(Integer())
    expires_at: Mapped[datetime | None]


class TimeOff(Versioned, Base):
    """When a provider is away, whatever their schedule says.

    Time off that nobody has booked is taken by allocations of its kind, so that it also wins races;
    bookings made before stay, and what they give back becomes time off.
    """

    __tablename__ = "time_off"
    __table_args__ = (Index(None, "provider_id", "during", postgresql_using="gist"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    provider_id: Mapped[UUID] = mapped_column(ForeignKey("providers.id", ondelete="CASCADE"))
    during: Mapped[Range[datetime]] = mapped_column(TSTZRANGE())
    reason: Mapped[str] = mapped_column(server_default="")
