"""Webhooks and the log for routes."""

from typing import Annotated

from fastapi import Depends

from app.core.dependencies import AppClock, AppSettings
from app.core.unit_of_work import ReadSession, Session
from app.webhooks.delivery_service import DeliveryService
from app.webhooks.event_service import EventService
from app.webhooks.service import WebhookService


async def event_service(session: ReadSession) -> EventService:
    return EventService(session)


async def webhooks(session: Session, clock: AppClock, settings: AppSettings) -> WebhookService:
    return WebhookService(session, clock, settings)


async def webhooks_reader(
    session: ReadSession, clock: AppClock, settings: AppSettings
) -> WebhookService:
    return WebhookService(session, clock, settings)


async def deliveries(session: Session, clock: AppClock) -> DeliveryService:
    return DeliveryService(session, clock)


async def deliveries_reader(session: ReadSession, clock: AppClock) -> DeliveryService:
    return DeliveryService(session, clock)


EventLog = Annotated[EventService, Depends(event_service)]
Webhooks = Annotated[WebhookService, Depends(webhooks)]
WebhooksReader = Annotated[WebhookService, Depends(webhooks_reader)]
Deliveries = Annotated[DeliveryService, Depends(deliveries)]
DeliveriesReader = Annotated[DeliveryService, Depends(deliveries_reader)]
