"""A booking as a calendar reads it."""

from typing import Any

import pytest
from icalendar import Calendar

from tests.business import Business, Caller, ok, problem

NINE, TEN = "2026-03-30T09:00:00+02:00", "2026-03-30T10:00:00+02:00"
HOSTILE = "Massage; 60 min, \\n BEGIN:VEVENT \U0001f486 " + "x" * 90


async def entry(caller: Caller, booking: dict[str, Any]) -> Any:
    """The one event of the booking's calendar."""
    answer = await caller.get(f"/bookings/{booking['id']}.ics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
    assert all(len(line) <= 75 for line in answer.content.split(b"\r\n"))
    calendar = Calendar.from_ical(answer.content)
    assert calendar["method"] == "PUBLISH"
    assert [zone["tzid"] for zone in calendar.walk("VTIMEZONE")] == [booking["time_zone"]]
    (event,) = calendar.walk("VEVENT")
    return event


async def test_it_says_what_was_agreed_and_keeps_its_uid_when_that_changes(
    business: Business,
) -> None:
    service = await business.service(name=HOSTILE)
    provider = await business.provider(service)
    ada = await business.customer()
    booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))

    first = await entry(ada, booking)
    assert first["summary"] == f"{HOSTILE}, {provider['display_name']}"
    assert first.decoded("dtstart").isoformat() == NINE
    assert first.decoded("dtend").isoformat() == "2026-03-30T09:30:00+02:00"
    assert first["status"] == "CONFIRMED"

    moved = ok(await ada.post(f"/bookings/{booking['id']}/reschedule", {"start": TEN}))
    second = await entry(ada, moved)
    assert second.decoded("dtstart").isoformat() == TEN
    ok(await ada.post(f"/bookings/{booking['id']}/cancel"))
    third = await entry(ada, booking)
    assert third["status"] == "CANCELLED"
    assert {event["uid"] for event in (first, second, third)} == {first["uid"]}
    assert first["sequence"] < second["sequence"] < third["sequence"]


async def test_what_waits_for_approval_is_tentative(business: Business) -> None:
    service = await business.service(approval="required")
    await business.provider(service)
    ada = await business.customer()
    booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
    assert (await entry(ada, booking))["status"] == "TENTATIVE"


@pytest.mark.parametrize("name", ["{}.ics", "not-an-id.ics"])
async def test_another_persons_is_not_there(business: Business, name: str) -> None:
    service = await business.service()
    await business.provider(service)
    ada, bob = await business.customer(), await business.customer()
    booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
    answer = await bob.get("/bookings/" + name.format(booking["id"]))
    if "{" in name:
        problem(answer, 404, "not_found")
    else:
        problem(answer, 422, "validation_failed")
