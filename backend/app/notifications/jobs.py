"""Sending notifications, and taking reminders out of the plan when it is time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.bookings.manage_tokens import ManageTokens
from app.bookings.reading_service import manage_token, row_of, rows_of
from app.bookings.rules import UPCOMING, Status, status_at
from app.config import Settings
from app.core.clock import Clock
from app.core.jobs import Handler, Routine, enqueue_all
from app.core.letters import Draft, Letter, Link, set_letter
from app.core.mail import Invitation, Mailer
from app.core.words import Words, words_for
from app.database import AnyRow, Database
from app.notifications import mails, repository
from app.notifications.following import SEND
from app.notifications.invitations import Invitations
from app.notifications.mails import About
from app.notifications.models import Notification
from app.notifications.rules import (
    Audience,
    Kind,
    is_outdone,
    is_true,
    topic_of,
)
from app.notifications.unsubscribing import UnsubscribeTokens

log = structlog.get_logger(__name__)

_AHEAD: Final = timedelta(minutes=1)
"""How far ahead reminders are taken out of the plan: as far as from one look to the next."""
_KEPT: Final = timedelta(days=90)
"""How long it is known what was sent, and how long the links in it end such mails."""
_OVER: Final = frozenset({Kind.DECLINED, Kind.EXPIRED, Kind.CANCELLED})


@dataclass(frozen=True, slots=True)
class _Mail:
    """What the mailer takes."""

    to: str
    letter: Letter
    invitation: Invitation | None = None
    unsubscribe: str | None = None


class NotificationJobs:
    def __init__(
        self, database: Database, mailer: Mailer, settings: Settings, clock: Clock
    ) -> None:
        self._database = database
        self._mailer = mailer
        self._settings = settings
        self._clock = clock
        self._links = ManageTokens(settings)
        self._invitations = Invitations(settings)
        self._unsubscribing = UnsubscribeTokens(settings)
        # Never the request's Host, which whoever sends the request can choose.
        self._frontend = str(settings.FRONTEND_HOST).rstrip("/")
        self._backend = str(settings.BACKEND_HOST or settings.FRONTEND_HOST).rstrip("/")

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
        """Forget what was sent long ago."""
        gone = 1
        while gone:
            async with self._database.transaction() as session:
                gone = await repository.forget_before(session, self._clock() - _KEPT)
            log.info("notifications_forgotten", notifications=gone)

    async def send(self, notification_id: UUID) -> None:
        """Send a mail, unless it was sent, is no longer true, or not wanted.

        No connection is held while the mail server is spoken to. A crash between its yes and our
        note of it sends the mail twice, under one Message-ID: no mail is worse than two.

        Raises:
            MailNotSent, MailRefused.
        """
        async with self._database.reading() as session:
            row = await repository.to_send(session, notification_id)
            if row is None or row.Notification.state in {"sent", "dropped"}:
                return
            mail = await self._mail(session, row)
        if mail is None:
            log.info("notification_dropped", kind=row.Notification.kind)
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

    async def _mail(self, session: AsyncSession, row: AnyRow) -> _Mail | None:
        """The mail as it should be now; None: it should not be sent."""
        told: Notification = row.Notification
        topic = topic_of(Kind(told.kind), Audience(told.audience))
        if told.user_id is not None and not row.is_active:
            return None
        if topic is not None and not getattr(row, topic):
            return None
        if told.series_id is not None:
            return await self._about_series(session, row)
        if told.booking_id is not None:
            return await self._about_booking(session, row, told.booking_id)
        return await self._about_account(session, row)

    async def _about_booking(
        self, session: AsyncSession, row: AnyRow, booking_id: UUID
    ) -> _Mail | None:
        told: Notification = row.Notification
        kind = Kind(told.kind)
        booking = await row_of(session, booking_id)
        if booking is None or not await self._is_still_to_be_said(session, told, kind, booking):
            return None
        is_guests = told.audience == Audience.CUSTOMER and booking.guest_email is not None
        to = booking.guest_email if is_guests else row.email or _customers_address(told, booking)
        if to is None:
            return None
        unsubscribe = None
        if kind is Kind.REMINDER:
            if is_guests and await repository.is_unreminded(
                session, self._unsubscribing.digest(to)
            ):
                return None
            unsubscribe = self._unsubscribing.token(told.id)
        zone = booking.guest_time_zone if is_guests else row.time_zone
        say = self._words(row)
        about = About(
            kind=kind,
            audience=Audience(told.audience),
            booking=booking,
            link=self._link(kind, told, booking, is_guests=is_guests),
            zone=zone or booking.time_zone,
            is_guests=is_guests,
            was_at=_was_at(row),
            small=self._small(say, told, unsubscribe),
        )
        return _Mail(
            to,
            self._set(mails.about_booking(say, about), say),
            self._invitations.of(about, to, self._clock()),
            unsubscribe=unsubscribe and f"{self._backend}{self._path}/unsubscribe/{unsubscribe}",
        )

    async def _is_still_to_be_said(
        self, session: AsyncSession, told: Notification, kind: Kind, booking: AnyRow
    ) -> bool:
        status = status_at(booking, self._clock())
        if not is_true(kind, status):
            return False
        if kind is not Kind.REMINDER:
            others = await repository.others(session, told)
            said = [(other.event_id, Kind(other.kind)) for other in others]
            return not is_outdone(told.event_id, said, status)
        rules = await repository.reminder_minutes(session, booking.service_id)
        minutes = self._settings.REMINDER_MINUTES if rules is None else rules
        is_ahead = booking.starts_at > self._clock()
        return is_ahead and booking.starts_at == told.starts_at and told.minutes_before in minutes

    async def _about_series(self, session: AsyncSession, row: AnyRow) -> _Mail | None:
        told: Notification = row.Notification
        kind, audience = Kind(told.kind), Audience(told.audience)
        wanted = {Status.CANCELLED} if kind is Kind.SERIES_CANCELLED else UPCOMING
        bookings = [
            booking
            for booking in await rows_of(session, await repository.booked_in_series(session, told))
            if status_at(booking, self._clock()) in wanted
            and (audience is Audience.CUSTOMER or told.user_id in booking.provider_user_ids)
        ]
        if not bookings or row.email is None:
            return None
        say, first = self._words(row), bookings[0]
        is_off = kind is Kind.SERIES_CANCELLED and audience is Audience.CUSTOMER
        about = About(
            kind=kind,
            audience=audience,
            booking=first,
            link=f"{self._frontend}/" if is_off else f"{self._frontend}/bookings",
            zone=row.time_zone or first.time_zone,
            small=self._small(say, told, None),
        )
        letter = self._set(mails.about_series(say, about, bookings), say)
        is_new = kind is Kind.SERIES_BOOKED
        invited = self._invitations.of_series(bookings, self._clock()) if is_new else None
        return _Mail(row.email, letter, invited)

    async def _about_account(self, session: AsyncSession, row: AnyRow) -> _Mail | None:
        told: Notification = row.Notification
        kind, to, login = Kind(told.kind), row.email, None
        if kind is Kind.EMAIL_CHANGED:
            to = (row.before or {}).get("email")  # whose account it was, if it was
        if kind is Kind.NEW_LOGIN and row.after:
            login = await repository.login(session, row.after)
        if to is None or row.email is None:
            return None
        say = self._words(row)
        draft = mails.about_account(
            say,
            kind,
            project=self._settings.PROJECT_NAME,
            happened_at=row.occurred_at,
            zone=row.time_zone or self._settings.BUSINESS_TIME_ZONE,
            login=login,
            link=f"{self._frontend}/forgot-password",
        )
        return _Mail(to, self._set(draft, say))

    @property
    def _path(self) -> str:
        return self._settings.API_V1_STR

    def _words(self, row: AnyRow) -> Words:
        return words_for(row.locale, self._settings.DEFAULT_LOCALE)

    def _set(self, draft: Draft, say: Words) -> Letter:
        return set_letter(draft, say, self._settings.PROJECT_NAME)

    def _link(self, kind: Kind, told: Notification, booking: AnyRow, *, is_guests: bool) -> str:
        """Where something can be done about it: a guest's has the token, while it is good."""
        if told.audience == Audience.PROVIDER:
            return "" if kind is Kind.WITHDRAWN else f"{self._frontend}/bookings/{booking.id}"
        if kind in _OVER:
            return f"{self._frontend}/"
        if not is_guests:
            return f"{self._frontend}/bookings/{booking.id}"
        token = manage_token(self._links, booking)
        # Behind the #, so that it reaches the page and no server's log, nor a Referer.
        return f"{self._frontend}/manage#token={token}" if token else ""

    def _small(self, say: Words, told: Notification, token: str | None) -> list[Link]:
        """How to have no more of these."""
        small = []
        if token is not None:
            small.append(
                Link(say("No more reminders"), f"{self._frontend}/unsubscribe#mail={token}")
            )
        if told.user_id is not None:
            settings = f"{self._frontend}/settings/notifications"
            small.append(Link(say("Choose which mails you get"), settings))
        return small


def _customers_address(told: Notification, booking: AnyRow) -> str | None:
    """A guest's booking that has become an account's has its address."""
    is_customers = told.audience == Audience.CUSTOMER
    address: str | None = booking.customer_email if is_customers else None
    return address


def _was_at(row: AnyRow) -> datetime | None:
    """When a booking would have been that was moved to another time."""
    before = row.before or {}
    moved = row.event_type == "booking.rescheduled" and "start" in before
    return datetime.fromisoformat(before["start"]) if moved else None
