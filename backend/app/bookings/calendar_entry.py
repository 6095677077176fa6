"""A booking as an iCalendar object (RFC 5545), for calendars that are asked to keep it.

Escaping, folding and time zones are the `icalendar` library's.
"""

from datetime import UTC, datetime
from typing import Final

from icalendar import Calendar, Event, vCalAddress, vText

from app.bookings.rules import RELEASED, Status
from app.bookings.schemas import BookingOut

_PRODUCT: Final = "-//Oneslot//Bookings//EN"


def calendar_entry(booking: BookingOut, *, organizer: str, project: str) -> bytes:
    """The booking as a published calendar: one event, and the zone that it is in.

    `organizer` is an e-mail address. The UID stays for life and SEQUENCE is the booking's own, so
    that a later entry replaces an earlier one (RFC 5546, 3.2.1).
    """
    event = Event()
    event.add("uid", f"{booking.id}@oneslot")
    event.add("sequence", booking.sequence)
    event.add("dtstamp", _utc(booking.updated_at))
    event.add("created", _utc(booking.created_at))
    event.add("last-modified", _utc(booking.updated_at))
    event.add("dtstart", booking.start)
    event.add("dtend", booking.end)
    event.add("summary", f"{booking.service.name}, {booking.provider.display_name}")
    event.add("description", f"{project}: {booking.reference}")
    if booking.location is not None:
        event.add("location", booking.location.name)
    event.add("status", _status(booking.status))
    sender = vCalAddress(f"MAILTO:{organizer}")
    sender.params["CN"] = vText(project)
    event["organizer"] = sender

    calendar = Calendar()
    calendar.add("prodid", _PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add_component(event)
    calendar.add_missing_timezones()
    entry: bytes = calendar.to_ical()
    return entry


def _status(status: Status) -> str:
    if status in RELEASED:
        return "CANCELLED"
    return "TENTATIVE" if status is Status.PENDING else "CONFIRMED"


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
