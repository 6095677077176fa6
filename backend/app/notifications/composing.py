"""A notification as the mail that it is when it is sent, if it still should be."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.bookings.manage_tokens import ManageTokens
from app.bookings.reading_service import manage_token, row_of, rows_of
from app.bookings.rules import UPCOMING, Status, status_at
from app.config import Settings
from app.core.clock import Clock
from app.core.letters import Draft, Letter, Link, set_letter
from app.core.mail import Invitation
from app.core.words import Words, words_for
from app.database import AnyRow
from app.notifications import mails, repository
from app.notifications.invitations import Invitations
from app.notifications.mails import About
from app.notifications.rules import (
    Audience,
    Kind,
    is_outdone,
    is_true,
    topic_of,
)
from app.notifications.unsubscribing import UnsubscribeTokens

_OVER: Final = frozenset({Kind.DECLINED, Kind.EXPIRED, Kind.CANCELLED})


@dataclass(frozen=True, slots=True)
class Mail:
    """What the mailer takes."""

    to: str
    letter: Letter
    invitation: Invitation | None = None
    unsubscribe: str | None = None


class Composer:
    """Looks up what a notification does not say: the address, the words, and what is true now."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._links = ManageTokens(settings)
        self._invitations = Invitations(settings)
        self._unsubscribing = UnsubscribeTokens(settings)
        # Never the request's Host, which whoever sends the request can choose.
        self._frontend = str(settings.FRONTEND_HOST).rstrip("/")
        backend = str(settings.BACKEND_HOST or settings.FRONTEND_HOST).rstrip("/")
        self._api = f"{backend}{settings.API_V1_STR}"

    async def mail(self, session: AsyncSession, told: AnyRow) -> Mail | None:
        """The mail as it should be now; None: it should not be sent. Three round trips or four."""
        topic = topic_of(Kind(told.kind), Audience(told.audience))
        if told.user_id is not None and not told.is_active:
            return None
        if topic is not None and not getattr(told, topic):
            return None
        if told.series_id is not None:
            return await self._about_series(session, told)
        if told.booking_id is not None:
            return await self._about_booking(session, told, told.booking_id)
        return await self._about_account(session, told)

    async def _about_booking(
        self, session: AsyncSession, told: AnyRow, booking_id: UUID
    ) -> Mail | None:
        kind = Kind(told.kind)
        booking = await row_of(session, booking_id)
        if booking is None or not await self._is_still_to_be_said(session, told, kind, booking):
            return None
        is_guests = told.audience == Audience.CUSTOMER and booking.guest_email is not None
        to = booking.guest_email if is_guests else told.email or _customers_address(told, booking)
        if to is None:
            return None
        unsubscribe = None
        if kind is Kind.REMINDER:
            if is_guests and await repository.is_unreminded(
                session, self._unsubscribing.digest(to)
            ):
                return None
            unsubscribe = self._unsubscribing.token(told.id)
        zone = booking.guest_time_zone if is_guests else told.time_zone
        say = self._words(told)
        about = About(
            kind=kind,
            audience=Audience(told.audience),
            booking=booking,
            link=self._link(kind, told, booking, is_guests=is_guests),
            zone=zone or booking.time_zone,
            is_guests=is_guests,
            was_at=_was_at(told),
            small=self._small(say, told, unsubscribe),
        )
        return Mail(
            to,
            self._set(mails.about_booking(say, about), say),
            self._invitations.of(about, to, self._clock()),
            unsubscribe=unsubscribe and f"{self._api}/unsubscribe/{unsubscribe}",
        )

    async def _is_still_to_be_said(
        self, session: AsyncSession, told: AnyRow, kind: Kind, booking: AnyRow
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

    async def _about_series(self, session: AsyncSession, told: AnyRow) -> Mail | None:
        kind, audience = Kind(told.kind), Audience(told.audience)
        wanted = {Status.CANCELLED} if kind is Kind.SERIES_CANCELLED else UPCOMING
        bookings = [
            booking
            for booking in await rows_of(session, await repository.booked_in_series(session, told))
            if status_at(booking, self._clock()) in wanted
            and (audience is Audience.CUSTOMER or told.user_id in booking.provider_user_ids)
        ]
        if not bookings or told.email is None:
            return None
        say, first = self._words(told), bookings[0]
        is_off = kind is Kind.SERIES_CANCELLED and audience is Audience.CUSTOMER
        about = About(
            kind=kind,
            audience=audience,
            booking=first,
            link=f"{self._frontend}/" if is_off else f"{self._frontend}/bookings",
            zone=told.time_zone or first.time_zone,
            small=self._small(say, told, None),
        )
        letter = self._set(mails.about_series(say, about, bookings), say)
        is_new = kind is Kind.SERIES_BOOKED
        invited = self._invitations.of_series(bookings, self._clock()) if is_new else None
        return Mail(told.email, letter, invited)

    async def _about_account(self, session: AsyncSession, told: AnyRow) -> Mail | None:
        kind, to, login = Kind(told.kind), told.email, None
        if kind is Kind.EMAIL_CHANGED:
            to = (told.before or {}).get("email")  # whose account it was, if it was
        if kind is Kind.NEW_LOGIN and told.after:
            login = await repository.login(session, told.after)
        if to is None or told.email is None:
            return None
        say = self._words(told)
        draft = mails.about_account(
            say,
            kind,
            project=self._settings.PROJECT_NAME,
            happened_at=told.occurred_at,
            zone=told.time_zone or self._settings.BUSINESS_TIME_ZONE,
            login=login,
            link=f"{self._frontend}/forgot-password",
        )
        return Mail(to, self._set(draft, say))

    def _words(self, told: AnyRow) -> Words:
        return words_for(told.locale, self._settings.DEFAULT_LOCALE)

    def _set(self, draft: Draft, say: Words) -> Letter:
        return set_letter(draft, say, self._settings.PROJECT_NAME)

    def _link(self, kind: Kind, told: AnyRow, booking: AnyRow, *, is_guests: bool) -> str:
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

    def _small(self, say: Words, told: AnyRow, token: str | None) -> list[Link]:
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


def _customers_address(told: AnyRow, booking: AnyRow) -> str | None:
    """A guest's booking that has become an account's has its address."""
    is_customers = told.audience == Audience.CUSTOMER
    address: str | None = booking.customer_email if is_customers else None
    return address


def _was_at(told: AnyRow) -> datetime | None:
    """When a booking would have been that was moved to another time."""
    before = told.before or {}
    moved = told.event_type == "booking.rescheduled" and "start" in before
    return datetime.fromisoformat(before["start"]) if moved else None
