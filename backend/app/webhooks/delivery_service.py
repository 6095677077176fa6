"""Deliveries: what is to be sent to whom, and what came of it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.principal import Principal
from app.core.clock import Clock
from app.core.errors import NotFound
from app.core.events import SYSTEM, Event, record
from app.core.ids import new_id
from app.core.jobs import enqueue, enqueue_all
from app.core.pagination import Page, PageRequest
from app.webhooks import repository
from app.webhooks.errors import WebhookIsOff
from app.webhooks.event_schemas import Envelope
from app.webhooks.models import Delivery, Webhook
from app.webhooks.rules import (
    REST,
    TEST,
    is_gone,
    is_taken,
    is_wanted,
    must_rest,
    pause_after,
)
from app.webhooks.schemas import DeliveryOut, DeliveryState, Try
from app.webhooks.sender import EXCERPT_BYTES, Outcome

DELIVER = "webhooks.deliver"
SWITCHED_OFF = "switched_off"


@dataclass(frozen=True, slots=True)
class Message:
    """What one try sends."""

    attempt_id: UUID
    event_id: UUID
    webhook: Webhook
    body: bytes


class DeliveryService:
    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def follow(self, events: Sequence[Event]) -> None:
        """Have each event delivered to all who asked for it. At most three round trips."""
        webhooks = await repository.listening(self._session)
        rows = [
            self._new(webhook.id, event.id, event.type)
            for event in events
            for webhook in webhooks
            if event.type != TEST and is_wanted(event.type, webhook.events)
        ]
        if rows:
            await repository.add_deliveries(self._session, rows)
            jobs = {row["attempt_id"]: timedelta() for row in rows}
            await enqueue_all(self._session, DELIVER, jobs)

    async def message(self, attempt_id: UUID) -> Message | None:
        """What this try is to send; None: it has been made, or its webhook is no more."""
        found = await repository.due(self._session, attempt_id)
        if found is None:
            return None
        return Message(attempt_id, found.Event.id, found.Webhook, _body(found.Event))

    async def conclude(self, message: Message, outcome: Outcome) -> None:
        """Write down what came of a try, and what follows from it.

        Who says that it is gone, and who took nothing for three days, is switched off.
        """
        delivery = await repository.lock_due(self._session, message.attempt_id, message.webhook.id)
        if delivery is None:
            return  # another runner was faster
        now = self._clock()
        delivery.tries = [*delivery.tries, _try(outcome, now)]
        delivery.attempts += 1
        if is_taken(outcome.status):
            _end(delivery, "succeeded")
            return
        is_test, is_over = delivery.event_type == TEST, outcome.error == SWITCHED_OFF
        chance = random.random()  # noqa: S311 - it hides nothing
        pause = pause_after(delivery.attempts, delivery.event_type, chance)
        if pause is None or is_over or is_gone(outcome.status):
            _end(delivery, "failed")
            if not is_test and not is_over:
                await self._switch_off(message.webhook.id, gone=is_gone(outcome.status))
            return
        if must_rest(outcome.error):
            await repository.rest(self._session, message.webhook.id, now + REST)
        await self._try_after(delivery, pause)

    async def put_off(self, message: Message) -> bool:
        """Let a message wait whose webhook rests; whether it does. It does not count as a try."""
        until, now = message.webhook.rests_until, self._clock()
        if until is None or until <= now:
            return False
        delivery = await repository.lock_due(self._session, message.attempt_id, message.webhook.id)
        if delivery is not None:
            chance = random.random()  # noqa: S311 - it hides nothing
            await self._try_after(delivery, until - now + REST * chance)
        return True

    async def test(self, webhook_id: UUID, principal: Principal) -> DeliveryOut:
        """Send an event that says nothing, once.

        Raises:
            NotFound.
            WebhookIsOff.
        """
        webhook = await repository.webhook(self._session, webhook_id)
        if webhook is None:
            raise NotFound
        event_id = await record(self._session, TEST, subject_id=webhook.id, actor=principal.actor)
        return await self._deliver(webhook, event_id, TEST)

    async def replay(self, delivery_id: UUID, principal: Principal) -> DeliveryOut:
        """Deliver an event again, as if for the first time; receivers know it by its id.

        Raises:
            NotFound.
            WebhookIsOff.
        """
        found = await repository.delivery(self._session, delivery_id)
        if found is None:
            raise NotFound
        replayed = await self._deliver(found.Webhook, found.Event.id, found.Event.type)
        await record(
            self._session,
            "webhook.replayed",
            subject_id=found.Webhook.id,
            actor=principal.actor,
            after={"event_id": str(found.Event.id)},
        )
        return replayed

    async def list_deliveries(
        self, webhook_id: UUID, page: PageRequest, *, sort: str, state: DeliveryState | None
    ) -> Page[DeliveryOut]:
        """A webhook's deliveries. Raises NotFound."""
        if await repository.webhook(self._session, webhook_id) is None:
            raise NotFound
        return await repository.DELIVERIES.page(
            self._session,
            repository.deliveries(webhook_id, state=state),
            page,
            sort=sort,
            build=lambda row: _out(row.Delivery, row.Event),
        )

    async def _deliver(self, webhook: Webhook, event_id: UUID, event_type: str) -> DeliveryOut:
        if not webhook.is_active:
            raise WebhookIsOff
        row = self._new(webhook.id, event_id, event_type)
        await repository.add_deliveries(self._session, [row])
        await enqueue(self._session, DELIVER, row["attempt_id"])
        found = await repository.delivery(self._session, row["id"])
        if found is None:
            raise NotFound
        return _out(found.Delivery, found.Event)

    async def _try_after(self, delivery: Delivery, pause: timedelta) -> None:
        delivery.next_try_at = self._clock() + pause
        delivery.attempt_id = new_id()
        await enqueue(self._session, DELIVER, delivery.attempt_id, after=pause)

    def _new(self, webhook_id: UUID, event_id: UUID, event_type: str) -> dict[str, Any]:
        return {
            "id": new_id(),
            "webhook_id": webhook_id,
            "event_id": event_id,
            "event_type": event_type,
            "attempt_id": new_id(),
            "next_try_at": self._clock(),
        }

    async def _switch_off(self, webhook_id: UUID, *, gone: bool) -> None:
        webhook = await repository.webhook(self._session, webhook_id)
        if webhook is None or not webhook.is_active:
            return
        webhook.is_active = False
        webhook.disabled_reason = "gone" if gone else "failing"
        await self._session.flush()
        await record(
            self._session,
            "webhook.disabled",
            subject_id=webhook_id,
            actor=SYSTEM,
            after={"is_active": False, "disabled_reason": webhook.disabled_reason},
        )


def _body(event: Event) -> bytes:
    return Envelope.of(event).model_dump_json().encode()


def _end(delivery: Delivery, state: DeliveryState) -> None:
    delivery.state, delivery.attempt_id, delivery.next_try_at = state, None, None


def _try(outcome: Outcome, now: datetime) -> dict[str, Any]:
    made = Try(
        at=now,
        milliseconds=outcome.milliseconds,
        status=outcome.status,
        error=outcome.error,
        response=outcome.excerpt,
    )
    return made.model_dump(mode="json")


def _out(delivery: Delivery, event: Event) -> DeliveryOut:
    return DeliveryOut(
        id=delivery.id,
        webhook_id=delivery.webhook_id,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        state=delivery.state,
        next_try_at=delivery.next_try_at,
        tries=[Try.model_validate(made) for made in delivery.tries],
        request=_body(event)[:EXCERPT_BYTES].decode(errors="ignore"),
        created_at=delivery.created_at,
    )
