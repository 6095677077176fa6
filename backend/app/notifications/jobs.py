"""Sending notifications, and taking reminders out of the plan when it is time."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from app.config import Settings
from app.core.cleaning import in_batches
from app.core.clock import Clock
from app.core.jobs import Handler, Routine, enqueue_all
from app.core.mail import Mailer
from app.database import Database
from app.notifications import repository
from app.notifications.composing import Composer
from app.notifications.following import SEND

log = structlog.get_logger(__name__)

_AHEAD: Final = timedelta(minutes=1)
"""How far ahead reminders are taken out of the plan: as far as from one look to the next."""
_KEPT: Final = timedelta(days=90)
"""How long it is known what was sent, and how long the links in it end such mails."""


class NotificationJobs:
    def __init__(
        self, database: Database, mailer: Mailer, settings: Settings, clock: Clock
    ) -> None:
        self._database = database
        self._mailer = mailer
        self._clock = clock
        self._composer = Composer(settings, clock)

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return {SEND: self.send}

    @property
    def routines(self) -> Mapping[str, tuple[str, Routine]]:
        return {
            "notifications.remind": ("* * * * *", self.remind),
            "notifications.forget": ("47 3 * * *", self.forget),
        }

    async def remind(self) -> None:
        """Have those reminders sent that are due within the minute, each when it is.

        They wait in their table and not in the queue, in which some would wait for months.
        """
        taken = True
        while taken:
            async with self._database.transaction() as session:
                now = self._clock()
                due = await repository.queue_due(session, now, _AHEAD)
                await enqueue_all(session, SEND, {row.id: row.due_at - now for row in due})
                taken = bool(due)

    async def forget(self) -> None:
        """Forget what was sent, or was not, long ago."""
        before = self._clock() - _KEPT
        await in_batches(self._database, "notifications", repository.forget_before, before)

    async def send(self, notification_id: UUID) -> None:
        """Send a mail, unless it was sent, is no longer true, or not wanted.

        No connection is held while the mail server is spoken to. A crash between its yes and our
        note of it sends the mail twice, under one Message-ID: no mail is worse than two.

        Raises:
            MailNotSent, MailRefused.
        """
        async with self._database.reading() as session:
            row = await repository.to_send(session, notification_id)
            if row is None or row.state in {"sent", "dropped"}:
                return
            mail = await self._composer.mail(session, row)
        if mail is None:
            log.info("notification_dropped", kind=row.kind)
            async with self._database.transaction() as session:
                await repository.settle(session, notification_id, "dropped")
            return
        await self._mailer.send(
            mail.letter,
            to=mail.to,
            reference=f"notification.{notification_id}",
            invitation=mail.invitation,
            unsubscribe=mail.unsubscribe,
        )
        async with self._database.transaction() as session:
            await repository.settle(session, notification_id, "sent", sent_at=self._clock())
