"""The log for integrators."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.webhooks import event_cursor, event_repository
from app.webhooks.event_schemas import Envelope, EventsRead


class EventService:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def read(self, after: str | None, *, patterns: Sequence[str], limit: int) -> EventsRead:
        """What follows a cursor, each event once, however many commit meanwhile. One round trip.

        Raises:
            ValidationFailed: it is no cursor.
        """
        position = event_cursor.BEGINNING if after is None else event_cursor.decode(after)
        found = await event_repository.read(self._session, position, patterns=patterns, most=limit)
        return EventsRead(
            items=[Envelope.of(event) for event in found.events],
            next_cursor=event_cursor.encode(found.position),
            has_more=found.has_more,
        )
