"""The offer: services and the places where they are given."""

from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Integer
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.database import Base, Versioned


class Service(Versioned, Base):
    """Something that can be booked. All times are whole minutes; money is in minor units."""

    __tablename__ = "services"
    __table_args__ = (
        Index("uq_services_slug", "slug", unique=True),
        CheckConstraint("cardinality(durations_minutes) > 0", name="has_duration"),
        CheckConstraint("0 < ALL (durations_minutes)", name="durations_positive"),
        CheckConstraint(
            "buffer_before_minutes >= 0 AND buffer_after_minutes >= 0", name="buffers_not_negative"
        ),
        CheckConstraint("slot_interval_minutes > 0", name="slot_interval_positive"),
        CheckConstraint("min_notice_minutes >= 0", name="min_notice_not_negative"),
        CheckConstraint("booking_window_days >= 0", name="booking_window_not_negative"),
        CheckConstraint("cancel_until_minutes >= 0", name="cancel_until_not_negative"),
        CheckConstraint(
            "price_amount >= 0 AND (price_amount IS NULL) = (price_currency IS NULL)",
            name="price_complete",
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    slug: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    durations_minutes: Mapped[list[int]] = mapped_column(ARRAY(Integer()))
    buffer_before_minutes: Mapped[int] = mapped_column(Integer(), server_default="0")
    buffer_after_minutes: Mapped[int] = mapped_column(Integer(), server_default="0")
    slot_interval_minutes: Mapped[int | None] = mapped_column(Integer())
    min_notice_minutes: Mapped[int] = mapped_column(Integer(), server_default="0")
    booking_window_days: Mapped[int | None] = mapped_column(Integer())
    cancel_until_minutes: Mapped[int] = mapped_column(Integer(), server_default="0")
    price_amount: Mapped[int | None]
    price_currency: Mapped[str | None]
    is_active: Mapped[bool] = mapped_column(server_default="true")


class Location(Versioned, Base):
    """A place with its own time zone (an IANA name)."""

    __tablename__ = "locations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    address: Mapped[str] = mapped_column(server_default="")
    time_zone: Mapped[str]
