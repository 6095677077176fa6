"""What readers' calendars are sent with a mail."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from app.bookings.calendar_entry import (
    Method,
    Person,
    customers_entry,
    feed,
    invitation,
    providers_entry,
)
from app.bookings.rules import GUEST
from app.bookings.views import booking_out
from app.config import Settings
from app.core.mail import Invitation
from app.database import AnyRow
from app.notifications.mails import About
from app.notifications.rules import Audience, Kind

_OFF: Final = frozenset({Kind.DECLINED, Kind.EXPIRED, Kind.CANCELLED, Kind.WITHDRAWN})


class Invitations:
    def __init__(self, settings: Settings) -> None:
        self._project = settings.PROJECT_NAME
        self._business = Person(
            settings.MAIL_FROM, settings.MAIL_FROM_NAME or settings.PROJECT_NAME
        )

    def of(self, about: About, to: str, now: datetime) -> Invitation | None:
        """What a mail about one booking has for the calendar; a reminder has nothing."""
        if about.kind is Kind.REMINDER:
            return None
        booking = booking_out(about.booking, GUEST, now)
        link = about.link or None
        if about.audience is Audience.PROVIDER:
            entry = providers_entry(booking, project=self._project, link=link)
            # The rest was typed by whoever booked, and may be anything.
            entry = replace(entry, paragraphs=entry.paragraphs[:1])
        else:
            entry = customers_entry(booking, project=self._project, link=link)
        method = Method.CANCEL if about.kind in _OFF else Method.REQUEST
        # Nameless: that the address is theirs, nobody may have shown.
        content = invitation(method, entry, organizer=self._business, attendee=Person(to))
        return Invitation(method.value, content)

    def of_series(self, bookings: Sequence[AnyRow], now: datetime) -> Invitation:
        """All bookings of a series as one file: a message has but one UID (RFC 5546, 3.2.2)."""
        entries = [
            customers_entry(booking_out(booking, GUEST, now), project=self._project)
            for booking in bookings
        ]
        published = feed(entries, organizer=self._business, name=self._project)
        return Invitation(Method.PUBLISH.value, published)
