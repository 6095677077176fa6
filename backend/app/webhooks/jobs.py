"""Webhooks' jobs, and what they follow in the log."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.config import Settings
from app.core.cleaning import in_batches
from app.core.clock import Clock
from app.core.events import Event
from app.core.followers import Follower
from app.core.jobs import Handler, Routine
from app.database import Database
from app.webhooks.delivery_service import DELIVER, SWITCHED_OFF, DeliveryService, Message
from app.webhooks.repository import forget_before
from app.webhooks.sender import Outcome, Sender
from app.webhooks.signing import WebhookSecrets, signed

log = structlog.get_logger(__name__)

KEPT = timedelta(days=30)
"""For how long the log of deliveries goes back."""
_AT_ONCE = 6
"""Tries at a time, of all runners, so that slow receivers leave room for other jobs."""


class WebhookJobs:
    def __init__(
        self, database: Database, settings: Settings, clock: Clock, sender: Sender | None = None
    ) -> None:
        self._database = database
        self._clock = clock
        self._secrets = WebhookSecrets(settings)
        self._sender = sender or Sender(settings.webhook_networks)

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return {DELIVER: self.deliver}

    @property
    def at_once(self) -> Mapping[str, int]:
        return {DELIVER: _AT_ONCE}

    @property
    def routines(self) -> Mapping[str, tuple[str, Routine]]:
        return {"webhooks.forget_deliveries": ("47 3 * * *", self.forget_deliveries)}

    @property
    def follower(self) -> Follower:
        return Follower("webhooks", ("",), self.follow)

    async def follow(self, session: AsyncSession, events: Sequence[Event]) -> None:
        await DeliveryService(session, self._clock).follow(events)

    async def deliver(self, attempt_id: UUID) -> None:
        """Make one try of a delivery; no connection is held while its receiver is spoken to.

        A runner that dies before it has written down what came of it leaves the try to another:
        the receiver gets the message again, with the same `webhook-id`.
        """
        async with self._database.reading() as session:
            message = await DeliveryService(session, self._clock).message(attempt_id)
        if message is None:
            return
        if message.webhook.is_active and message.webhook.rests_until is not None:
            async with self._database.transaction() as session:
                if await DeliveryService(session, self._clock).put_off(message):
                    return
        outcome = await self._send(message)
        log.info(
            "webhook_tried",
            webhook_id=str(message.webhook.id),
            event_id=str(message.event_id),
            status=outcome.status,
            error=outcome.error,
            ms=outcome.milliseconds,
        )
        async with self._database.transaction() as session:
            await DeliveryService(session, self._clock).conclude(message, outcome)

    async def forget_deliveries(self) -> None:
        """Forget deliveries that were concluded a month ago."""
        before = self._clock() - KEPT
        await in_batches(self._database, "webhook_deliveries", forget_before, before)

    async def _send(self, message: Message) -> Outcome:
        webhook, now = message.webhook, self._clock()
        if not webhook.is_active:
            return Outcome(None, None, SWITCHED_OFF, 0)
        sealed = [webhook.secret]
        until = webhook.previous_secret_until
        if webhook.previous_secret is not None and until is not None and now < until:
            sealed.append(webhook.previous_secret)
        opened = [self._secrets.unseal(secret, webhook.id) for secret in sealed]
        if opened[0] is None:
            # SECRET_KEY has changed since. What is not signed must not be sent.
            return Outcome(None, None, "secret_unreadable", 0)
        headers = signed(
            message.event_id,
            message.body,
            at=now,
            secrets_in_use=[secret for secret in opened if secret is not None],
        )
        return await self._sender.send(webhook.url, headers, message.body)
