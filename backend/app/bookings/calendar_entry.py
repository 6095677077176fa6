"""Bookings as iCalendar objects (RFC 5545): to be downloaded, subscribed to, or sent by mail.

Messages follow RFC 5546 (iTIP): a REQUEST adds or changes an entry, a CANCEL removes it. Folding
and what needs no care are the `icalendar` library's.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import quote
from uuid import UUID

from icalendar import Alarm, Calendar, Event, vCalAddress, vDatetime, vText

from app.bookings.rules import OCCUPYING, RELEASED, Status
from app.bookings.schemas import BookingOut
from app.bookings.zone_definition import zone_definition

MEDIA_TYPE: Final = "text/calendar; charset=utf-8"
PRODUCT: Final = "-//Oneslot//Bookings//EN"
HOUR_BEFORE: Final = timedelta(hours=1)
_ESCAPES: Final = str.maketrans({"\\": r"\\", ";": r"\;", ",": r"\,", "\n": r"\n"})
_REFRESH: Final = timedelta(hours=1)


class Method(StrEnum):
    """What the receiver of a calendar is to do with it (RFC 5546, 1.4)."""

    PUBLISH = "PUBLISH"
    REQUEST = "REQUEST"
    CANCEL = "CANCEL"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody by their address.

    Leave the name out where nobody has shown that the address is theirs: who booked typed it, and
    could have anything told to anybody by it.
    """

    email: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What a calendar is told of a booking."""

    booking: BookingOut
    title: str
    paragraphs: Sequence[str]
    link: str | None = None
    """Where its reader manages it. A guest's is a secret, and stands in the guest's entry only."""


def customers_entry(booking: BookingOut, *, project: str, link: str | None = None) -> Entry:
    """A booking as its customer's calendar shows it.

    Nothing in it was typed by who books: a stranger could send it to anybody in our name.
    """
    who = ", ".join(provider.display_name for provider in booking.providers)
    title = f"{booking.service.name}, {who}"
    return Entry(booking, title, [f"{project}: {booking.reference}"], link)


def providers_entry(booking: BookingOut, *, project: str, link: str | None = None) -> Entry:
    """A booking as the calendar of who gives it shows it: whose it is, and what they wrote."""
    customer = booking.customer
    title = f"{booking.service.name}, {customer.name}" if customer else booking.service.name
    if booking.seats > 1:
        title += f" ({booking.seats})"
    paragraphs = [f"{project}: {booking.reference}"]
    if customer is not None:
        known = (customer.name, customer.email, customer.phone)
        paragraphs.append("\n".join(text for text in known if text))
    if booking.answers:
        paragraphs.append("\n".join(f"{key}: {_said(v)}" for key, v in booking.answers.items()))
    if booking.notes:
        paragraphs.append(booking.notes)
    return Entry(booking, title, paragraphs, link)


def invitation(
    method: Method,
    entry: Entry,
    *,
    organizer: Person,
    attendee: Person,
    alarms: Sequence[timedelta] = (HOUR_BEFORE,),
) -> bytes:
    """The `text/calendar` part of a mail to one person; the same booking gives the same bytes.

    The UID stays for life and SEQUENCE is the booking's own, so that a later message replaces an
    earlier one (RFC 5546, 2.1.4). Nobody is asked to reply: who booked comes, and says otherwise
    where they booked.

    Args:
        method: REQUEST for what is new, moved or changed; CANCEL for what is called off, or given
            by somebody else from now on.
        entry: see `customers_entry` and `providers_entry`.
        organizer: the business, by the address that the mail comes from.
        attendee: to whom it is sent.
        alarms: how long before the start its reader is reminded; a CANCEL has none.
    """
    if method is Method.PUBLISH:
        raise ValueError("what is sent to somebody is no publication")
    event = _event(entry, organizer, is_cancelled=method is Method.CANCEL)
    event.add("attendee", _attendee(attendee, entry.booking.status))
    if method is Method.REQUEST:
        _add_alarms(event, entry, alarms)
    return _written(_calendar(method), [(entry, event)])


def published(entry: Entry, *, organizer: Person) -> bytes:
    """One booking, to be opened by a calendar."""
    event = _event(entry, organizer)
    _add_alarms(event, entry, (HOUR_BEFORE,))
    return _written(_calendar(Method.PUBLISH), [(entry, event)])


def feed(entries: Iterable[Entry], *, organizer: Person, name: str) -> bytes:
    """Many bookings, for calendars that come back for them every hour.

    Without alarms: who has hundreds of entries did not ask to be woken by each.
    """
    calendar = _calendar(Method.PUBLISH)
    calendar.add("name", _line(name))  # RFC 7986
    calendar.add("x-wr-calname", _line(name))
    calendar.add("refresh-interval", _REFRESH, parameters={"VALUE": "DURATION"})
    calendar.add("x-published-ttl", "PT1H")
    return _written(calendar, ((entry, _event(entry, organizer)) for entry in entries))


def _calendar(method: Method) -> Calendar:
    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("calscale", "GREGORIAN")
    calendar.add("method", method.value)
    return calendar


def _written(calendar: Calendar, entries: Iterable[tuple[Entry, Event]]) -> bytes:
    """The calendar with these events, and the zones that they refer to.

    Each event is written before the next one is made: were a thousand of them there at once, the
    garbage collector would look through all that the process has, while everybody waits.
    """
    events: list[bytes] = []
    years = defaultdict(set)
    for entry, event in entries:
        events.append(event.to_ical())
        for time in _times(entry.booking):
            if time.tzinfo is not UTC:
                years[entry.booking.time_zone].add(time.year)
    for zone, needed in sorted(years.items()):
        calendar.add_component(zone_definition(zone, min(needed), max(needed)))
    begin, end, _ = calendar.to_ical().partition(b"END:VCALENDAR\r\n")
    return b"".join((begin, *events, end))


def _event(entry: Entry, organizer: Person, *, is_cancelled: bool = False) -> Event:
    booking = entry.booking
    status = "CANCELLED" if is_cancelled else _status(booking.status)
    start, end = _times(booking)
    event = Event()
    event.add("uid", uid(booking.id))
    event.add("sequence", booking.sequence)
    # Of two with the same SEQUENCE the later DTSTAMP counts: the booking's last change is both.
    event.add("dtstamp", booking.updated_at.astimezone(UTC))
    event.add("created", booking.created_at.astimezone(UTC))
    event.add("last-modified", booking.updated_at.astimezone(UTC))
    event.add("dtstart", start)
    event.add("dtend", end)
    event.add("summary", _line(entry.title))
    event.add("description", _text("\n\n".join(entry.paragraphs)))
    if booking.location is not None:
        place = (booking.location.name, *booking.location.address.splitlines())
        event.add("location", _line(", ".join(filter(None, map(str.strip, place)))))
    if entry.link is not None:
        event.add("url", entry.link)
    event.add("status", status)
    is_busy = not is_cancelled and booking.status in OCCUPYING
    event.add("transp", "OPAQUE" if is_busy else "TRANSPARENT")
    event.add("organizer", _address(organizer))
    return event


def uid(booking_id: UUID) -> str:
    """The name of a booking's entry in every calendar, for life."""
    return f"{booking_id}@oneslot"


def _times(booking: BookingOut) -> tuple[datetime, datetime]:
    """Start and end as local times, which go on being right should the zone's law change.

    A local time that there is twice means the first of both (RFC 5545, 3.3.5): what is at the
    second one is told in UTC.
    """
    if booking.start.fold or booking.end.fold or vDatetime(booking.start).is_utc():
        return booking.start.astimezone(UTC), booking.end.astimezone(UTC)
    return booking.start, booking.end


def _status(status: Status) -> str:
    if status in RELEASED:
        return "CANCELLED"
    return "TENTATIVE" if status is Status.PENDING else "CONFIRMED"


def _attendee(person: Person, status: Status) -> vCalAddress:
    address = _address(person)
    address.params["CUTYPE"] = "INDIVIDUAL"
    address.params["ROLE"] = "REQ-PARTICIPANT"
    # Who booked has accepted; what waits for approval is not agreed yet.
    address.params["PARTSTAT"] = "TENTATIVE" if status is Status.PENDING else "ACCEPTED"
    address.params["RSVP"] = "FALSE"
    return address


def _address(person: Person) -> vCalAddress:
    # Percent-encoded (RFC 6068, 2): in an address, «?» and «&» may stand for themselves.
    address = vCalAddress("mailto:" + quote(person.email, safe="@!$'*+"))
    if person.name is not None:
        # A quotation mark can be told only in a way (RFC 6868) that many calendars show as it is.
        address.params["CN"] = _line(person.name).replace('"', "'")
    return address


def _add_alarms(event: Event, entry: Entry, alarms: Sequence[timedelta]) -> None:
    if entry.booking.status not in OCCUPYING:
        return
    for before in alarms:
        alarm = Alarm()
        alarm.add("action", "DISPLAY")
        alarm.add("description", _line(entry.title))
        alarm.add("trigger", -before)
        event.add_component(alarm)


class _Text(vText):
    r"""TEXT (RFC 5545, 3.3.11). The library's own takes `C:\New` for two lines."""

    def to_ical(self) -> bytes:
        return self.translate(_ESCAPES).encode()


def _text(text: str) -> _Text:
    return _Text(_clean(text))


def _line(text: str) -> _Text:
    return _Text(" ".join(_clean(text).split()))


def _clean(text: str) -> str:
    """The text with one kind of line break, and no other control characters.

    Some programs break lines at U+0085 and U+2028 as well, before they look for properties.
    """
    return "\n".join("".join(_printable(line)) for line in text.splitlines())


def _printable(line: str) -> Iterator[str]:
    return (char for char in line if char == "\t" or unicodedata.category(char) != "Cc")


def _said(value: object) -> str:
    """An answer to a question as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
