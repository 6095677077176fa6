"""The people (or rooms with a person's name) who give services."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Integer, Uuid, func
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.database import Base, Versioned


class Provider(Versioned, Base):
    """Someone with a calendar. `user_id` is the account that owns it, if one does."""

    __tablename__ = "providers"
    __table_args__ = (Index("uq_providers_user_id", "user_id", unique=True),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    display_name: Mapped[str]
    bio: Mapped[str] = mapped_column(server_default="")
    time_zone: Mapped[str]
    location_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()), server_default="{}")
    is_active: Mapped[bool] = mapped_column(server_default="true")


class ServiceProvider(Base):
    """Who gives a service. `weight` and `priority` guide the choice among several.

    `since` is when they joined: in turns, a newcomer owes nothing for the time before.
    """

    __tablename__ = "service_providers"
    __table_args__ = (
        CheckConstraint("weight > 0", name="weight_positive"),
        Index(None, "provider_id"),
    )

    service_id: Mapped[UUID] = mapped_column(
        ForeignKey("services.id", ondelete="CASCADE"), primary_key=True
    )
    provider_id: Mapped[UUID] = mapped_column(
        ForeignKey("providers.id", ondelete="CASCADE"), primary_key=True
    )
    weight: Mapped[int] = mapped_column(Integer(), server_default="1")
    priority: Mapped[int] = mapped_column(Integer(), server_default="0")
    since: Mapped[datetime] = mapped_column(server_default=func.now())
