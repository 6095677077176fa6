"""The SQL of webhooks and their deliveries."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.cleaning import remove_some
from app.core.events import Event
from app.core.pagination import Keyset
from app.database import AnyRow, table
from app.webhooks.models import Delivery, Webhook

WEBHOOKS = Keyset(Webhook.id, {"created_at": Webhook.created_at})
DELIVERIES = Keyset(Delivery.id, {"created_at": Delivery.created_at})


def webhooks() -> Select[Any]:
    return select(Webhook)


async def webhook(session: AsyncSession, webhook_id: UUID) -> Webhook | None:
    return await session.get(Webhook, webhook_id)


async def count(session: AsyncSession) -> int:
    return await session.scalar(select(func.count()).select_from(Webhook)) or 0


async def listening(session: AsyncSession) -> Sequence[AnyRow]:
    """Each active webhook's id and what it asks for; none of them can be deleted meanwhile."""
    rows = await session.execute(
        select(Webhook.id, Webhook.events)
        .where(Webhook.is_active)
        .order_by(Webhook.id)
        .with_for_update(read=True, key_share=True)
    )
    return rows.all()


async def add_deliveries(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    await session.execute(insert(table(Delivery)), rows)


def deliveries(webhook_id: UUID, *, state: str | None) -> Select[*tuple[Any, ...]]:
    """A webhook's deliveries, each with its event."""
    statement: Select[*tuple[Any, ...]] = (
        select(Delivery, Event)
        .join(Event, Event.id == Delivery.event_id)
        .where(Delivery.webhook_id == webhook_id)
    )
    return statement if state is None else statement.where(Delivery.state == state)


async def delivery(session: AsyncSession, delivery_id: UUID) -> AnyRow | None:
    """A delivery with its event and its webhook."""
    return (
        await session.execute(
            select(Delivery, Event, Webhook)
            .join(Event, Event.id == Delivery.event_id)
            .join(Webhook, Webhook.id == Delivery.webhook_id)
            .where(Delivery.id == delivery_id)
        )
    ).one_or_none()


async def due(session: AsyncSession, attempt_id: UUID) -> AnyRow | None:
    """What this try is about: the delivery, its event and its webhook; None: it has been made."""
    return (
        await session.execute(
            select(Delivery, Event, Webhook)
            .join(Event, Event.id == Delivery.event_id)
            .join(Webhook, Webhook.id == Delivery.webhook_id)
            .where(Delivery.attempt_id == attempt_id)
        )
    ).one_or_none()


async def lock_due(session: AsyncSession, attempt_id: UUID, webhook_id: UUID) -> Delivery | None:
    """The delivery, for whoever concludes this try first; the webhook stays until then."""
    stays = select(Webhook.id).where(Webhook.id == webhook_id)
    await session.execute(stays.with_for_update(read=True, key_share=True))
    return await session.scalar(
        select(Delivery).where(Delivery.attempt_id == attempt_id).with_for_update()
    )


async def rest(session: AsyncSession, webhook_id: UUID, until: datetime) -> None:
    """Leave a webhook alone for a while; to its owner that is no change."""
    columns = table(Webhook).c
    await session.execute(
        update(table(Webhook))
        .where(columns.id == webhook_id)
        .values(rests_until=until, updated_at=columns.updated_at)
    )


async def forget_before(session: AsyncSession, instant: datetime, most: int) -> int:
    """Delete what was concluded and is older than that; returns how much."""
    is_old = (Delivery.created_at < instant) & (Delivery.state != "pending")
    return await remove_some(session, Delivery, is_old, most)
