"""Webhooks and the log for routes."""

from typing import Annotated

from fastapi import Depends

from app.core.unit_of_work import ReadSession
from app.webhooks.event_service import EventService


async def event_service(session: ReadSession) -> EventService:
    return EventService(session)


EventLog = Annotated[EventService, Depends(event_service)]
