"""What integrators are told of each event, by `GET /events` and by webhooks alike."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints

from app.core.events import Event
from app.core.schemas import Output
from app.webhooks.rules import PATTERN

EventPattern = Annotated[
    str,
    StringConstraints(max_length=100, pattern=PATTERN),
    Field(examples=["booking.*"]),
]


class Who(Output):
    """A thing or a person, by kind and id."""

    type: str = Field(examples=["booking"])
    id: UUID | None


class Happened(Output):
    """What an event says; `before` and `after` hold what changed."""

    subject: Who
    actor: Who
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Envelope(Output):
    """An event, in the form that Standard Webhooks recommends."""

    id: UUID
    type: str = Field(examples=["booking.created"])
    timestamp: datetime
    data: Happened

    @classmethod
    def of(cls, event: Event) -> "Envelope":
        return cls(
            id=event.id,
            type=event.type,
            timestamp=event.occurred_at,
            data=Happened(
                subject=Who(type=event.subject_type, id=event.subject_id),
                actor=Who(type=event.actor_type, id=event.actor_id),
                before=event.before,
                after=event.after,
            ),
        )


class EventsRead(Output):
    """A stretch of the log."""

    items: list[Envelope]
    next_cursor: str = Field(description="Pass as `after`, also when nothing was left: later.")
    has_more: bool = Field(description="Whether to ask again at once.")
