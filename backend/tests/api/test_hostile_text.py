"""What people type stays text, wherever it is written down: in calendars and in spreadsheets.

Line breaks, formulas, and characters of four bytes; in names, notes and answers. Mails have their
own tests.
"""

import csv
import io
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import vobject
from icalendar import Calendar

from tests.business import Business, Caller, ok, problem

NINE = "2026-03-03T09:00:00+01:00"
DAY = {"start": "2026-03-03", "end": "2026-03-03", "time_zone": "Europe/Paris"}
LINE = '=HYPERLINK("http://x.example","\U0001f486");, \\n C:\\New \u2028END:VEVENT \U0001d49c'
BREAKS = "\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nSUMMARY:Mine\r\n\rATTENDEE:mailto:eve@example.com\n"
TEXT = f"+1 {BREAKS}@SUM(A1)\u0085\U0001f486\t{'é' * 80}"


@dataclass
class Scene:
    """A booking of which every word was chosen with care."""

    customer: Caller
    provider: Caller
    admin: Caller
    booking: dict[str, Any]


@pytest.fixture
async def scene(business: Business) -> Scene:
    admin = await business.admin()
    place = {"name": f"@{LINE}", "address": TEXT, "time_zone": "Europe/Paris"}
    location = ok(await admin.post("/locations", place))
    kinds = (("why", "paragraph"), ("what", "text"))
    service = await business.service(
        name=f"-{LINE}",
        location_ids=[location["id"]],
        questions=[
            {"key": key, "label": LINE, "type": kind, "required": True} for key, kind in kinds
        ],
    )
    provider, customer = await business.customer(), await business.customer(LINE)
    account = {"user_id": provider.user["id"], "location_ids": [location["id"]]}
    await business.provider(service, display_name=f"+{LINE}", **account)
    said = {"notes": TEXT, "answers": {"why": TEXT, "what": LINE}}
    return Scene(
        customer, provider, admin, await business.booking(service, NINE, caller=customer, **said)
    )


def event(answer: httpx.Response) -> Any:
    """The one event that it holds, whoever reads it."""
    assert answer.status_code == 200, answer.text
    lines = answer.content.split(b"\r\n")
    assert all(len(line) <= 75 for line in lines)
    # Wherever a reader breaks lines, it finds the same properties.
    assert answer.content.decode().splitlines() == answer.content.decode().split("\r\n")[:-1]
    (found,) = Calendar.from_ical(answer.content).walk("VEVENT")
    (other,) = vobject.readOne(answer.text).vevent_list
    assert other.summary.value == found["summary"]
    assert other.description.value == found["description"]
    assert "attendee" not in found
    return found


async def feed(caller: Caller, shows: str) -> httpx.Response:
    made = ok(await caller.post("/calendar-feeds", {"shows": shows, "name": LINE}))
    return await caller.client.get(made["url"])


def one_line(text: str) -> str:
    return " ".join(text.split())


async def test_a_calendar_has_one_event_and_the_text_as_it_was_typed(scene: Scene) -> None:
    title = one_line(f"-{LINE}, +{LINE}")
    download = await scene.customer.get(f"/bookings/{scene.booking['id']}.ics")
    for answer in (download, await feed(scene.customer, "bookings")):
        found = event(answer)
        assert found["summary"] == title
        where = ", ".join(filter(None, map(str.strip, TEXT.splitlines())))
        assert found["location"] == one_line(f"@{LINE}, {where}")
        assert "eve@example.com" not in answer.text  # what was typed is not for one's own calendar
    found = event(await feed(scene.provider, "calendar"))
    assert found["summary"] == one_line(f"-{LINE}, {LINE}")
    why, what = ("\n".join(text.splitlines()) for text in (TEXT, LINE))
    assert found["description"].endswith(f"\n\nwhy: {why}\nwhat: {what}\n\n{why}")


async def test_a_spreadsheet_computes_nothing_and_loses_nothing(scene: Scene) -> None:
    answer = await scene.admin.get("/admin/exports/bookings", params=DAY)
    header, row = csv.reader(io.StringIO(answer.text, newline=""))
    assert not [cell for cell in row if cell.lstrip().startswith(("=", "+", "-", "@"))]
    cells = dict(zip(header, row, strict=True))
    assert cells["customer"] == f"'{LINE}"
    assert cells["notes"] == f"'{TEXT}"
    assert (cells["service"], cells["provider"]) == (f"'-{LINE}", f"'+{LINE}")
    report = await scene.admin.get(
        "/admin/reports/bookings",
        params=DAY | {"group_by": "provider"},
        headers={"Accept": "text/csv"},
    )
    _, row = csv.reader(io.StringIO(report.text, newline=""))
    assert f"'+{LINE}" in row


@pytest.mark.parametrize("breaking", ["\r\nBcc: eve@example.com", "\n", "\r", "\x00", "\x1b[2J"])
async def test_a_name_is_one_line(business: Business, breaking: str) -> None:
    admin, name = await business.admin(), f"Eve{breaking}Eve"
    guest = {"name": name, "email": "eve@example.com"}
    for method, path, body in (
        ("PATCH", "/auth/me", {"name": name}),
        ("POST", "/services", {"name": name, "durations_minutes": [30]}),
        ("POST", "/locations", {"name": name, "time_zone": "UTC"}),
        ("POST", "/bookings", {"service_id": admin.user["id"], "start": NINE, "guest": guest}),
        ("POST", "/calendar-feeds", {"name": name}),
    ):
        problem(await admin.request(method, path, json=body), 422, "validation_failed")
