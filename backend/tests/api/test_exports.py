"""Exports: bookings as rows for a spreadsheet."""

import csv
import io
from datetime import datetime

import httpx
import pytest

from app.admin import export_repository
from tests.business import ADMIN_EMAIL, ADMIN_PASSWORD, Business, Caller, Hands, ok, problem

WEEK = {"start": "2026-03-02", "end": "2026-03-08", "time_zone": "Europe/Paris"}
NINE = "2026-03-03T09:00:00+01:00"


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


async def export(admin: Caller, **query: str) -> list[dict[str, str]]:
    return rows(await admin.get("/admin/exports/bookings", params=WEEK | query))


def rows(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_a_booking_is_a_row_with_who_comes_and_what_they_said(
    business: Business, admin: Caller
) -> None:
    question = {"key": "level", "label": "Your level", "type": "text", "required": True}
    service = await business.service(
        name="Yoga",
        price={"amount": 4500, "currency": "EUR"},
        allow_guests=True,
        questions=[question],
    )
    provider = await business.provider(service)
    wish = {"service_id": service["id"], "start": NINE, "answers": {"level": "=1+1"}}
    wish |= {"guest": {"name": '@Ann "A."', "email": "ann@example.com"}, "notes": "two\nlines"}
    booked = ok(await business.client.post("/api/v1/bookings", json=wish))

    (row,) = await export(admin)

    created_at = datetime.fromisoformat(row.pop("created_at"))
    assert created_at == datetime.fromisoformat(booked["created_at"])
    assert row == {
        "reference": booked["reference"],
        "status": "confirmed",
        "service": "Yoga",
        "provider": provider["display_name"],
        "location": "",
        "start": NINE,
        "end": "2026-03-03T09:30:00+01:00",
        "duration_minutes": "30",
        "seats": "1",
        "customer": '\'@Ann "A."',
        "email": "ann@example.com",
        "phone": "",
        "price_amount": "4500",
        "price_currency": "EUR",
        "source": booked["source"],
        "notes": "two\nlines",
        "answers": '{"level": "=1+1"}',
        "cancelled_by": "",
        "cancelled_reason": "",
        "cancelled_at": "",
    }


async def test_it_has_what_begins_on_these_days_in_this_zone_and_what_became_of_it(
    business: Business, admin: Caller
) -> None:
    service = await business.service()
    await business.provider(service)
    late = await business.booking(service, "2026-03-03T10:00:00+01:00")
    early = await business.booking(service, NINE)
    wednesday = await business.booking(service, "2026-03-04T09:00:00+01:00")
    ok(await admin.post(f"/bookings/{early['id']}/cancel", {"reason": "-ill"}))
    tuesday = {"start": "2026-03-03", "end": "2026-03-03"}

    first, second = await export(admin, **tuesday)

    assert [first["reference"], second["reference"]] == [early["reference"], late["reference"]]
    assert [first["status"], second["status"]] == ["cancelled", "confirmed"]
    assert (first["cancelled_by"], first["cancelled_reason"]) == ("staff", "'-ill")
    (there,) = await export(admin, **tuesday | {"time_zone": "Pacific/Pago_Pago"})
    assert (there["reference"], there["start"]) == (
        wednesday["reference"],
        "2026-03-03T21:00:00-11:00",
    )
    assert (await export(admin, start="2027-01-01", end="2027-01-01")) == []


async def test_it_is_sent_in_parts_with_nothing_lost_between_them(
    business: Business, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_repository, "_ROWS_AT_ONCE", 2)
    service = await business.service()
    await business.provider(service)
    starts = [f"2026-03-03T{hour:02}:00:00+01:00" for hour in range(9, 14)]
    for start in starts:
        await business.booking(service, start)
    assert [row["start"] for row in await export(admin)] == starts


async def test_a_request_that_nobody_approved_in_time_is_expired(
    business: Business, admin: Caller, clock: Hands
) -> None:
    service = await business.service(approval="required")
    await business.provider(service)
    await business.booking(service, NINE)
    clock.advance(days=7)
    (row,) = await export(await business.log_in(ADMIN_EMAIL, ADMIN_PASSWORD))
    assert row["status"] == "expired"


async def test_who_exported_what_is_in_the_audit_log(business: Business, admin: Caller) -> None:
    await export(admin)
    (entry,) = ok(await admin.get("/admin/audit-log", params={"type": "export.created"}))["items"]
    assert entry["actor_id"] == admin.user["id"]
    assert entry["after"] == {"of": "bookings", "start": WEEK["start"], "end": WEEK["end"]}


@pytest.mark.parametrize(
    "query",
    [{"start": "2026-03-09"}, {"end": "2027-03-09"}, {"start": "x"}, {"time_zone": "Mars/Here"}],
)
async def test_what_cannot_be_exported_is_refused(admin: Caller, query: dict[str, str]) -> None:
    answer = await admin.get("/admin/exports/bookings", params=WEEK | query)
    problem(answer, 422, "validation_failed")
