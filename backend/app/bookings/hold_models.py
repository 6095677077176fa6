"""Holds: time taken for a while, so that somebody can decide."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Integer, LargeBinary, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.database import Base, Versioned


class Hold(Versioned, Base):
    """A time that is kept for one caller until `expires_at`, when it is free by itself.

    Its allocation has its id and the same expiry, or it has seats of a group session's. `caller`
    is whose holds are counted together: an account, or a guest's network. A guest uses it with
    its secret. `assigned` is why it is this provider's, for the booking to keep.
    """

    __tablename__ = "holds"
    __table_args__ = (Index(None, "caller", "expires_at"), Index(None, "expires_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    service_id: Mapped[UUID] = mapped_column(ForeignKey("services.id", ondelete="CASCADE"))
    provider_id: Mapped[UUID] = mapped_column(ForeignKey("providers.id", ondelete="CASCADE"))
    allocation_id: Mapped[UUID]
    location_id: Mapped[UUID | None] = mapped_column(ForeignKey("locations.id"))
    provider_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()))
    resource_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()), server_default="{}")
    customer_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    caller: Mapped[str]
    secret_digest: Mapped[bytes] = mapped_column(LargeBinary())
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    time_zone: Mapped[str]
    duration_minutes: Mapped[int] = mapped_column(Integer())
    seats: Mapped[int] = mapped_column(Integer(), server_default="1")
    assigned: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    expires_at: Mapped[datetime]
    is_extended: Mapped[bool] = mapped_column(server_default="false")
