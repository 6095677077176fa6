"""The offer: services, the places where they are given, and the things they need."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
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
        CheckConstraint("reschedule_until_minutes >= 0", name="reschedule_until_not_negative"),
        CheckConstraint("max_reschedules >= 0", name="max_reschedules_not_negative"),
        CheckConstraint("0 < ALL (reminder_minutes)", name="reminders_before_start"),
        CheckConstraint("capacity > 0", name="capacity_positive"),
        CheckConstraint("approval IN ('automatic', 'required')", name="approval_known"),
        CheckConstraint(
            "assignment IN ('any', 'round_robin', 'least_busy', 'collective')",
            name="assignment_known",
        ),
        CheckConstraint(
            "limit_per_day > 0 AND limit_per_week > 0"
            " AND limit_per_customer_per_day > 0 AND limit_per_customer_active > 0",
            name="limits_positive",
        ),
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
    reschedule_until_minutes: Mapped[int] = mapped_column(Integer(), server_default="0")
    max_reschedules: Mapped[int | None] = mapped_column(Integer())
    capacity: Mapped[int] = mapped_column(Integer(), server_default="1")
    approval: Mapped[str] = mapped_column(server_default="automatic")
    assignment: Mapped[str] = mapped_column(server_default="any")
    allow_guests: Mapped[bool] = mapped_column(server_default="false")
    limit_per_day: Mapped[int | None] = mapped_column(Integer())
    limit_per_week: Mapped[int | None] = mapped_column(Integer())
    limit_per_customer_per_day: Mapped[int | None] = mapped_column(Integer())
    limit_per_customer_active: Mapped[int | None] = mapped_column(Integer())
    questions: Mapped[list[dict[str, Any]]] = mapped_column(JSONB(), server_default="[]")
    location_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()), server_default="{}")
    resource_requirements: Mapped[list[dict[str, Any]]] = mapped_column(
        JSONB(), server_default="[]"
    )
    reminder_minutes: Mapped[list[int] | None] = mapped_column(ARRAY(Integer()))
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


class Resource(Versioned, Base):
    """A room or a device that a service needs, held together with the provider.

    Its calendar is in `allocations`, like a provider's; its `kind` is what services ask for.
    """

    __tablename__ = "resources"
    __table_args__ = (Index(None, "kind"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    kind: Mapped[str]
    location_id: Mapped[UUID | None] = mapped_column(ForeignKey("locations.id"))
    is_active: Mapped[bool] = mapped_column(server_default="true")


class Offer(Base):
    """The version of all that is offered, by whom and when: one row.

    Another one with each change of services, locations, resources, providers, what they give and
    their working hours: the database sees to that itself, in the transaction of the change
    (revision 0008). Versions are drawn at random: none returns, also where a database is restored.
    """

    __tablename__ = "offer"

    version: Mapped[UUID] = mapped_column(
        primary_key=True, server_default=text("gen_random_uuid()")
    )
    changed_by: Mapped[int] = mapped_column(
        server_default=text("(pg_current_xact_id()::text)::bigint")
    )
    """The transaction that drew the version, so that it draws but one."""
