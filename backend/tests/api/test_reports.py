"""Reports: what was booked, how full the calendars are, and who did not come."""

import csv
import io
from typing import Any

import httpx
import pytest

from tests.business import ADMIN_EMAIL, ADMIN_PASSWORD, Business, Caller, Hands, ok, problem

WEEK = {"start": "2026-03-02", "end": "2026-03-08", "time_zone": "Europe/Paris"}


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


async def report(admin: Caller, name: str, **query: str) -> Any:
    return ok(await admin.get(f"/admin/reports/{name}", params=WEEK | query))


async def act(admin: Caller, booking: dict[str, Any], action: str, **body: str) -> None:
    ok(await admin.post(f"/bookings/{booking['id']}/{action}", body or None))


async def later(business: Business, clock: Hands, **by: float) -> Caller:
    """The administrator, whose token has run out meanwhile."""
    clock.advance(**by)
    return await business.log_in(ADMIN_EMAIL, ADMIN_PASSWORD)


def rows(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_bookings_are_counted_by_day_and_what_became_of_them(
    business: Business, admin: Caller, clock: Hands
) -> None:
    price = {"amount": 4500, "currency": "EUR"}
    service = await business.service(price=price)
    await business.provider(service)
    came = await business.booking(service, "2026-03-03T09:00:00+01:00")
    missed = await business.booking(service, "2026-03-03T10:00:00+01:00")
    called_off = await business.booking(service, "2026-03-03T11:00:00+01:00")
    await business.booking(service, "2026-03-05T09:00:00+01:00")
    await business.booking(service, "2026-03-09T09:00:00+01:00")  # the week after
    await act(admin, called_off, "cancel", reason="ill")
    admin = await later(business, clock, days=1, hours=4)
    await act(admin, came, "complete")
    await act(admin, missed, "no-show")

    told = await report(admin, "bookings")

    assert (told["group_by"], told["time_zone"]) == ("day", "Europe/Paris")
    assert [row["key"] for row in told["rows"]] == [f"2026-03-{day:02}" for day in range(2, 9)]
    counts = {row["key"]: row for row in told["rows"]}
    tuesday = counts["2026-03-03"]
    assert (
        tuesday
        | {
            "bookings": 3,
            "completed": 1,
            "no_show": 1,
            "cancelled": 1,
            "seats": 1,
            "minutes": 30,
            "value": [price],
        }
        == tuesday
    )
    assert counts["2026-03-05"]["confirmed"] == 1
    assert sum(row["bookings"] for row in told["rows"]) == 4
    [week] = (await report(admin, "bookings", group_by="week"))["rows"]
    assert (week["key"], week["bookings"], week["value"][0]["amount"]) == ("2026-03-02", 4, 9000)
    [month] = (await report(admin, "bookings", group_by="month"))["rows"]
    assert (month["key"], month["bookings"]) == ("2026-03-01", 4)
    [of_service] = (await report(admin, "bookings", group_by="service"))["rows"]
    assert (of_service["key"], of_service["name"]) == (service["id"], service["name"])


async def test_a_day_is_the_local_one_of_the_zone_asked_about(
    business: Business, admin: Caller
) -> None:
    service = await business.service()
    await business.provider(service, hours={"thursday": [("00:00", "24:00")]})
    await business.booking(service, "2026-03-05T00:30:00+01:00")  # 23:30 on Wednesday in London
    here = {row["key"]: row["bookings"] for row in (await report(admin, "bookings"))["rows"]}
    assert here["2026-03-05"] == 1
    told = await report(admin, "bookings", time_zone="Europe/London")
    there = {row["key"]: row["bookings"] for row in told["rows"]}
    assert (there["2026-03-04"], there["2026-03-05"]) == (1, 0)


async def test_what_nobody_approved_in_time_counts_as_expired(
    business: Business, admin: Caller, clock: Hands
) -> None:
    service = await business.service(approval="required")
    await business.provider(service)
    await business.booking(service, "2026-03-06T09:00:00+01:00")
    [before] = (await report(admin, "bookings", group_by="month"))["rows"]
    admin = await later(business, clock, days=3)
    [after] = (await report(admin, "bookings", group_by="month"))["rows"]
    assert (before["pending"], before["expired"]) == (1, 0)
    assert (after["pending"], after["expired"]) == (0, 1)


async def test_utilisation_is_booked_of_working_time(business: Business, admin: Caller) -> None:
    service = await business.service(durations_minutes=[60], buffer_after_minutes=15)
    provider = await business.provider(service)  # 8 hours on five days
    colleague = await business.provider(hours={"monday": [("09:00", "10:00")]})
    body = {"start": "2026-03-06T09:00:00+01:00", "end": "2026-03-06T13:00:00+01:00"}
    ok(await admin.post(f"/providers/{provider['id']}/time-off", body))
    path = f"/providers/{provider['id']}/overrides/2026-03-05"
    ok(await admin.put(path, {"intervals": []}))
    await business.booking(service, "2026-03-03T09:00:00+01:00")
    called_off = await business.booking(service, "2026-03-03T11:00:00+01:00")
    await act(admin, called_off, "cancel", reason="ill")

    days = {row["key"]: row for row in (await report(admin, "utilisation"))["rows"]}

    assert {day: row["working_minutes"] for day, row in days.items()} == {
        "2026-03-02": 540,
        "2026-03-03": 480,
        "2026-03-04": 480,
        "2026-03-05": 0,
        "2026-03-06": 240,
        "2026-03-07": 0,
        "2026-03-08": 0,
    }
    tuesday = days["2026-03-03"]
    assert (tuesday["booked_minutes"], tuesday["rate"]) == (60, 0.125)
    assert days["2026-03-05"]["rate"] is None
    told = await report(admin, "utilisation", group_by="provider")
    assert {
        row["name"]: (row["working_minutes"], row["booked_minutes"]) for row in told["rows"]
    } == {
        provider["display_name"]: (1680, 60),
        colleague["display_name"]: (60, 0),
    }
    [of_service] = (await report(admin, "utilisation", group_by="service"))["rows"]
    assert (of_service["working_minutes"], of_service["booked_minutes"]) == (1680, 60)


async def test_a_group_session_takes_its_time_once(business: Business, admin: Caller) -> None:
    service = await business.service(capacity=5)
    await business.provider(service)
    for _ in range(3):
        await business.booking(service, "2026-03-03T09:00:00+01:00")
    days = {row["key"]: row for row in (await report(admin, "utilisation"))["rows"]}
    assert days["2026-03-03"]["booked_minutes"] == 30
    [told] = (await report(admin, "bookings", group_by="service"))["rows"]
    assert (told["bookings"], told["seats"]) == (3, 3)


async def test_no_shows_are_a_share_of_what_is_known(
    business: Business, admin: Caller, clock: Hands
) -> None:
    service = await business.service()
    provider = await business.provider(service)
    made = [
        await business.booking(service, f"2026-03-03T{hour}:00:00+01:00")
        for hour in ("09", "10", "11", "12", "13")
    ]
    admin = await later(business, clock, days=1, hours=9)
    for booking, action in zip(made, ("complete", "complete", "complete", "no-show"), strict=False):
        await act(admin, booking, action)
    [told] = (await report(admin, "no-shows", group_by="provider"))["rows"]
    assert told == {
        "key": provider["id"],
        "name": provider["display_name"],
        "attended": 3,
        "no_shows": 1,
        "unresolved": 1,
        "rate": 0.25,
    }


async def test_the_same_rows_come_as_csv(business: Business, admin: Caller) -> None:
    service = await business.service(
        name='=HYPERLINK("http://evil.example")', price={"amount": 100, "currency": "EUR"}
    )
    await business.provider(service)
    await business.booking(service, "2026-03-03T09:00:00+01:00")
    answer = await admin.get(
        "/admin/reports/bookings",
        params=WEEK | {"group_by": "service"},
        headers={"Accept": "text/csv"},
    )
    [row] = rows(answer)
    assert row["name"] == '\'=HYPERLINK("http://evil.example")'
    assert (row["key"], row["bookings"], row["value"]) == (service["id"], "1", "100 EUR")
    named = 'attachment; filename="bookings-2026-03-02-2026-03-08.csv"'
    assert answer.headers["content-disposition"] == named
    for name in ("utilisation", "no-shows"):
        other = await admin.get(
            f"/admin/reports/{name}", params=WEEK, headers={"Accept": "text/csv"}
        )
        assert len(rows(other)) == 7


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"start": "2026-03-09"}, "#/end"),
        ({"end": "2027-03-03"}, "#/end"),
        ({"start": "monday"}, "#/start"),
        ({"group_by": "hour"}, "#/group_by"),
        ({"time_zone": "Mars/Olympus"}, "#/time_zone"),
    ],
)
async def test_a_range_that_makes_no_sense_is_refused(
    admin: Caller, query: dict[str, str], pointer: str
) -> None:
    answer = await admin.get("/admin/reports/bookings", params=WEEK | query)
    [error] = problem(answer, 422, "validation_failed")["errors"]
    assert error["pointer"] == pointer


async def test_a_whole_leap_year_can_be_asked_about(admin: Caller) -> None:
    told = await report(admin, "utilisation", start="2028-01-01", end="2028-12-31")
    assert len(told["rows"]) == 366


async def test_a_form_nobody_can_give_is_refused(admin: Caller) -> None:
    answer = await admin.get(
        "/admin/reports/no-shows", params=WEEK, headers={"Accept": "application/pdf"}
    )
    problem(answer, 406, "not_acceptable")


async def test_reports_are_for_those_who_may_see_them(business: Business) -> None:
    customer = await business.customer()
    problem(await customer.get("/admin/reports/bookings", params=WEEK), 403, "forbidden")
