"""Invitations and feeds as calendars read them: two parsers, and the time-zone database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from io import StringIO
from typing import Any
from unicodedata import category
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import vobject
from dateutil.tz import tzical
from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar import Calendar, Timezone

from app.bookings.calendar_entry import (
    Method,
    Person,
    customers_entry,
    feed,
    invitation,
    providers_entry,
    published,
)
from app.bookings.schemas import BookingOut
from app.bookings.zone_definition import zone_definition

ORGANIZER = Person("desk@example.com", "Oneslot")
ADA = Person("ada@example.com", "Ada Lovelace")
HOUR = timedelta(hours=1)
# One that springs by an hour, one by half an hour, one whose law follows the moon, one in the
# other hemisphere; around and inside their changes.
ZONES = {
    "Europe/Paris": ("2026-03-29T00:30Z", "2026-10-25T00:30Z", "2026-10-25T01:00Z"),
    "America/New_York": ("2026-03-08T06:59Z", "2026-11-01T05:00Z", "2026-11-01T06:30Z"),
    "Australia/Lord_Howe": ("2026-04-04T14:50Z", "2026-04-04T15:10Z", "2026-10-03T15:29Z"),
    "Africa/Casablanca": ("2027-02-07T01:00Z", "2027-02-07T02:30Z", "2027-03-14T01:45Z"),
}
HOSTILE = '=cmd|"x"!A1;, C:\\New \r\nBEGIN:VEVENT\u2028END:VCALENDAR\x85\x0b\U0001f486' + "é" * 80


def booking(
    start: str = "2026-03-30T07:00Z", zone: str = "Europe/Paris", **fields: Any
) -> BookingOut:
    """As `views.booking_out` makes them."""
    begins = datetime.fromisoformat(start).astimezone(ZoneInfo(zone))
    ends = (begins.astimezone(UTC) + HOUR).astimezone(ZoneInfo(zone))
    provider = {"id": UUID(int=3), "display_name": "Grace Hopper"}
    given = {
        "id": UUID("0199f0c0-0000-7000-8000-000000000001"),
        "reference": "7KQ2M9XR4B",
        "status": "confirmed",
        "service": {"id": UUID(int=2), "name": "Massage"},
        "provider": provider,
        "providers": [provider],
        "location": {"id": UUID(int=4), "name": "Room 1"},
        "resources": [],
        "start": begins,
        "end": ends,
        "time_zone": zone,
        "duration_minutes": 60,
        "seats": 1,
        "customer": {"id": None, "name": "Ada", "email": "ada@example.com", "phone": None},
        "answers": {},
        "notes": "",
        "price": None,
        "policy": {"cancel_until_minutes": 0},
        "source": "guest",
        "assignment": None,
        "sequence": 0,
        "version": 1,
        "series_id": None,
        "allowed_actions": [],
        "cancelled": None,
        "created_at": datetime(2026, 3, 1, tzinfo=UTC),
        "updated_at": datetime(2026, 3, 1, tzinfo=UTC),
    }
    return BookingOut(**(given | fields))


def message(method: Method, about: BookingOut, **fields: Any) -> bytes:
    entry = customers_entry(about, project="Oneslot")
    return invitation(method, entry, organizer=ORGANIZER, attendee=ADA, **fields)


def read(zone: Timezone) -> tzinfo:
    """What a calendar says of a zone; nothing else is known of it."""
    told = tzical(StringIO(zone.to_ical().decode())).get()
    assert told is not None
    return told


def instant(time: datetime) -> datetime:
    """In UTC: Python takes a local time that there is twice for equal to no other zone's."""
    return time.astimezone(UTC)


def event(text: bytes) -> Any:
    """The one event, as both parsers agree on it; the lines are as RFC 5545 wants them."""
    assert text.endswith(b"\r\n")
    assert b"\n" not in text.replace(b"\r\n", b"")
    for line in text.split(b"\r\n"):
        assert len(line) <= 75
        line.decode()  # no character is in two lines
    calendar = Calendar.from_ical(text)
    (found,) = calendar.walk("VEVENT")
    for zone in calendar.walk("VTIMEZONE"):
        vobject.icalendar.registerTzid(str(zone["tzid"]), read(zone))
    (other,) = vobject.readOne(text.decode()).vevent_list
    for name in ("uid", "summary", "description", "status", "sequence"):
        assert str(other.contents[name][0].value) == str(found[name])
    assert instant(other.dtstart.value) == instant(found.decoded("dtstart"))
    assert instant(other.dtend.value) == instant(found.decoded("dtend"))
    return found


@pytest.mark.parametrize("zone", ZONES)
def test_an_invitation_follows_its_booking_through_life(zone: str) -> None:
    first, second, third = ZONES[zone]
    later = datetime(2026, 3, 2, tzinfo=UTC)
    told = [
        (Method.REQUEST, booking(first, zone)),
        (Method.REQUEST, booking(second, zone, sequence=1, updated_at=later)),
        (Method.REQUEST, booking(third, zone, sequence=2, updated_at=later + HOUR)),
        (Method.CANCEL, booking(third, zone, sequence=3, status="cancelled")),
    ]
    events = []
    for method, about in told:
        text = message(method, about)
        assert Calendar.from_ical(text)["method"] == method
        found = event(text)
        assert instant(found.decoded("dtstart")) == instant(about.start)
        assert instant(found.decoded("dtend")) == instant(about.end)
        assert found.decoded("dtstamp") == found.decoded("last-modified") == about.updated_at
        events.append(found)
    assert {found["uid"] for found in events} == {"0199f0c0-0000-7000-8000-000000000001@oneslot"}
    assert [found["sequence"] for found in events] == [0, 1, 2, 3]
    assert [found["status"] for found in events] == [*["CONFIRMED"] * 3, "CANCELLED"]
    assert [len(found.walk("VALARM")) for found in events] == [1, 1, 1, 0]


GOLDEN = """\
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Oneslot//Bookings//EN
CALSCALE:GREGORIAN
METHOD:REQUEST
BEGIN:VTIMEZONE
TZID:Europe/Paris
BEGIN:DAYLIGHT
DTSTART:20250330T020000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
TZNAME:CEST
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
END:DAYLIGHT
BEGIN:STANDARD
DTSTART:20251026T030000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
TZNAME:CET
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
END:VTIMEZONE
BEGIN:VEVENT
SUMMARY:Massage\\, Grace Hopper
DTSTART;TZID=Europe/Paris:20260330T090000
DTEND;TZID=Europe/Paris:20260330T100000
DTSTAMP:20260301T000000Z
UID:0199f0c0-0000-7000-8000-000000000001@oneslot
SEQUENCE:0
ATTENDEE;CN="Ada Lovelace";CUTYPE=INDIVIDUAL;PARTSTAT=ACCEPTED;ROLE=REQ-PA
 RTICIPANT;RSVP=FALSE:mailto:ada@example.com
CREATED:20260301T000000Z
DESCRIPTION:Oneslot: 7KQ2M9XR4B
LAST-MODIFIED:20260301T000000Z
LOCATION:Room 1
ORGANIZER;CN=Oneslot:mailto:desk@example.com
STATUS:CONFIRMED
TRANSP:OPAQUE
URL:https://example.com/bookings/1
BEGIN:VALARM
ACTION:DISPLAY
DESCRIPTION:Massage\\, Grace Hopper
TRIGGER:-P1D
END:VALARM
END:VEVENT
END:VCALENDAR
"""


def test_an_invitation_is_written_as_this() -> None:
    entry = customers_entry(booking(), project="Oneslot", link="https://example.com/bookings/1")
    text = invitation(
        Method.REQUEST,
        entry,
        organizer=ORGANIZER,
        attendee=ADA,
        alarms=[timedelta(days=1)],
    )
    assert text.decode() == GOLDEN.replace("\n", "\r\n")


def test_a_place_is_told_with_the_way_there() -> None:
    place = {"id": UUID(int=4), "name": "Room 1", "address": "1, rue A\r\n\n 75001 Paris\n"}
    found = event(message(Method.REQUEST, booking(location=place)))
    assert found["location"] == "Room 1, 1, rue A, 75001 Paris"


def test_what_is_at_the_second_of_two_equal_hours_is_told_in_utc() -> None:
    text = message(Method.REQUEST, booking("2026-10-25T01:30Z"))
    assert b"DTSTART:20261025T013000Z" in text
    assert b"TZID" not in text  # no zone that nothing refers to
    assert b"DTSTART;TZID=Europe/Paris:20261025T013000" in message(
        Method.REQUEST, booking("2026-10-24T23:30Z")
    )


def test_what_waits_is_tentative_and_what_somebody_else_gives_now_is_called_off() -> None:
    waits = event(message(Method.REQUEST, booking(status="pending")))
    assert (waits["status"], waits["transp"]) == ("TENTATIVE", "OPAQUE")
    assert waits["attendee"].params["PARTSTAT"] == "TENTATIVE"
    assert waits["attendee"].params["RSVP"] == "FALSE"
    gone = event(message(Method.CANCEL, booking(sequence=1)))
    assert (gone["status"], gone["transp"]) == ("CANCELLED", "TRANSPARENT")
    assert not gone.walk("VALARM")


def test_a_message_is_for_somebody_and_a_publication_for_nobody() -> None:
    with pytest.raises(ValueError, match="no publication"):
        message(Method.PUBLISH, booking())
    found = event(published(customers_entry(booking(), project="Oneslot"), organizer=ORGANIZER))
    assert "attendee" not in found


def test_whatever_was_typed_stays_in_its_place() -> None:
    about = booking(
        service={"id": UUID(int=2), "name": HOSTILE},
        location={"id": UUID(int=4), "name": HOSTILE},
        customer={"id": None, "name": HOSTILE, "email": "a?b&c%@example.com", "phone": None},
        notes=HOSTILE,
        answers={"why": HOSTILE, "which": [HOSTILE, "b"], "often": True, "times": 3},
        seats=2,
    )
    entry = providers_entry(about, project=HOSTILE)
    to = Person("a?b&c%@example.com", HOSTILE)
    text = invitation(
        Method.REQUEST, entry, organizer=Person("desk@example.com", HOSTILE), attendee=to
    )
    found = event(text)
    typed = '=cmd|"x"!A1;, C:\\New \nBEGIN:VEVENT\nEND:VCALENDAR\n\n\U0001f486' + "é" * 80
    line = " ".join(typed.split())
    assert found["summary"] == f"{line}, {line} (2)"
    assert found["location"] == line
    assert found["attendee"].params["CN"] == line.replace('"', "'")
    assert found["attendee"] == "mailto:a%3Fb%26c%25@example.com"
    said = f"why: {typed}\nwhich: {typed}, b\noften: yes\ntimes: 3"
    assert found["description"].endswith(f"\n\n{said}\n\n{typed}")
    # A reader that breaks lines at whatever Unicode calls a break sees the same lines.
    assert text.decode().splitlines() == text.decode().rstrip("\r\n").split("\r\n")


@given(st.text(), st.text())
@settings(max_examples=60, deadline=None)
def test_no_text_leaves_its_place(line: str, text: str) -> None:
    customer = {"id": None, "name": line, "email": "eve@example.com", "phone": None}
    about = booking(notes=text, customer=customer)
    entry = providers_entry(about, project="Oneslot")
    to = Person("eve@example.com", line)
    written = invitation(Method.REQUEST, entry, organizer=ORGANIZER, attendee=to)
    found = event(written)
    assert len(written.decode().splitlines()) == written.count(b"\r\n")
    assert found["summary"].removeprefix("Massage,").strip() == " ".join(
        " ".join(visible(line)).split()
    )
    assert "\n".join(visible(text)) in found["description"]


def visible(text: str) -> list[str]:
    """The lines of a text, without what cannot be seen."""
    return [
        "".join(c for c in line if c == "\t" or category(c) != "Cc") for line in text.splitlines()
    ]


def test_a_stranger_has_nothing_told_by_an_invitation() -> None:
    about = booking(
        customer={"id": None, "name": HOSTILE, "email": "eve@example.com", "phone": "+33123456789"},
        notes="Buy now!",
        answers={"why": "Buy now!"},
    )
    entry = customers_entry(about, project="Oneslot")
    text = invitation(
        Method.REQUEST, entry, organizer=ORGANIZER, attendee=Person("eve@example.com")
    )
    assert b"Buy now" not in text
    assert b"cmd" not in text
    assert "CN" not in event(text)["attendee"].params


def test_a_feed_has_every_booking_and_each_zone_once() -> None:
    several = [booking(start, zone) for zone, starts in ZONES.items() for start in starts]
    entries = [providers_entry(about, project="Oneslot") for about in several]
    text = feed(entries, organizer=ORGANIZER, name=HOSTILE)
    calendar = Calendar.from_ical(text)
    assert calendar["method"] == "PUBLISH"
    assert [zone["tzid"] for zone in calendar.walk("VTIMEZONE")] == sorted(ZONES)
    starts = [instant(found.decoded("dtstart")) for found in calendar.walk("VEVENT")]
    assert starts == [instant(about.start) for about in several]
    assert not calendar.walk("VALARM")
    assert len(vobject.readOne(text.decode()).vevent_list) == len(several)


def test_a_feed_may_be_empty() -> None:
    calendar = Calendar.from_ical(feed([], organizer=ORGANIZER, name="Oneslot"))
    assert not calendar.walk("VEVENT")
    assert calendar["refresh-interval"].dt == HOUR


# --- Zones -----------------------------------------------------------------------------------
def moments(first_year: int, last_year: int) -> Iterator[datetime]:
    """Each hour of these years."""
    moment = datetime(first_year, 1, 1, 0, 15, tzinfo=UTC)
    while moment.year <= last_year:
        yield moment
        moment += HOUR


@pytest.mark.parametrize(
    ("name", "years"),
    [
        *((name, (2027, 2027)) for name in ZONES),
        ("Europe/Dublin", (2026, 2026)),  # whose law calls winter the special time
        ("Asia/Jerusalem", (2026, 2026)),  # the Friday before the last Sunday
        ("Africa/Cairo", (2023, 2023)),  # changes at midnight; took up summer time that year
        ("America/Asuncion", (2022, 2025)),  # gave it up in 2024
        ("Asia/Kathmandu", (2026, 2026)),
    ],
)
def test_a_zone_is_told_as_the_database_has_it(name: str, years: tuple[int, int]) -> None:
    told, known = read(zone_definition(name, *years)), ZoneInfo(name)
    # dateutil cannot tell the second of two equal hours: so the local time is asked for its offset.
    for moment in moments(*years):
        local = moment.astimezone(known)
        if not local.fold:
            assert local.replace(tzinfo=told).utcoffset() == local.utcoffset(), moment


def test_yearly_rules_are_told_as_such() -> None:
    for name, count in (("Europe/Paris", 2), ("Australia/Lord_Howe", 2), ("Asia/Tokyo", 0)):
        definition = zone_definition(name, 2026, 2027)
        assert definition.to_ical().count(b"RRULE") == count
        assert len(definition.subcomponents) == max(count, 1)
