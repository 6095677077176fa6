"""The one table that says what is taken."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Integer, PrimaryKeyConstraint, func
from sqlalchemy.dialects.postgresql import TSTZRANGE, ExcludeConstraint, Range
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.database import Base

NO_OVERLAP = "ex_allocations_subject_id_during"


class Allocation(Base):
    """Time of a subject (a provider or a resource) that nobody else can have.

    `during` is the appointment with its buffers, half-open. Postgres itself refuses two that
    overlap: that, and nothing else, is why there are no double bookings. A group session is one
    allocation with several seats.

    `subject_id` comes first in the key, so that the table can be sharded by it.
    """

    __tablename__ = "allocations"
    __table_args__ = (
        PrimaryKeyConstraint("subject_id", "id"),
        ExcludeConstraint(("subject_id", "="), ("during", "&&"), using="gist", name=NO_OVERLAP),
        CheckConstraint("kind IN ('booking', 'hold', 'time_off', 'external')", name="kind_known"),
        CheckConstraint(
            "NOT isempty(during) AND NOT lower_inf(during) AND NOT upper_inf(during)"
            " AND lower_inc(during) AND NOT upper_inc(during)"
            " AND isfinite(lower(during)) AND isfinite(upper(during))",
            name="during_bounded",
        ),
        CheckConstraint("seats_taken BETWEEN 0 AND capacity", name="seats_within_capacity"),
        CheckConstraint("(kind = 'hold') = (expires_at IS NOT NULL)", name="only_holds_expire"),
    )

    id: Mapped[UUID] = mapped_column(default=new_id)
    subject_id: Mapped[UUID]
    during: Mapped[Range[datetime]] = mapped_column(TSTZRANGE())
    kind: Mapped[str]
    capacity: Mapped[int] = mapped_column(Integer(), server_default="1")
    seats_taken: Mapped[int] = mapped_column(Integer(), server_default="1")
    expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
