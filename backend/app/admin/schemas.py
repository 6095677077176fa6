"""What administrators get."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from app.core.schemas import Output


class PermissionOut(Output):
    name: str = Field(examples=["services:write"])
    description: str


class AuditEntry(Output):
    """Something that happened, from the log."""

    id: UUID
    occurred_at: datetime
    type: str = Field(examples=["booking.cancelled"])
    subject_type: str
    subject_id: UUID
    actor_type: str
    actor_id: UUID | None
    request_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
