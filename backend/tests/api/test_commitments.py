"""A change of hours breaks no booking: the answer lists those that it leaves outside."""

from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI

from tests.business import (
    ADMIN_EMAIL,
    ADMIN_PASSWORD,
    WEEKDAYS,
    Business,
    Caller,
    Hands,
    execute,
    ok,
    problem,
)

TUESDAY = "2026-03-03"


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    return await business.service(durations_minutes=[60], buffer_after_minutes=15)


@pytest.fixture
async def provider(business: Business, service: dict[str, Any]) -> dict[str, Any]:
    """From 09:00 to 17:00 on weekdays, in Paris."""
    return await business.provider(service)


def week(*intervals: tuple[str, str], **more: Any) -> dict[str, Any]:
    hours = [{"start": start, "end": end} for start, end in intervals]
    weekly = [{"weekday": day, "intervals": hours} for day in WEEKDAYS]
    return {"time_zone": "Europe/Paris", "weekly": weekly} | more


def told(booking: dict[str, Any]) -> dict[str, Any]:
    return {name: booking[name] for name in ("id", "reference", "start", "end")}


@pytest.fixture
async def bookings(
    business: Business, service: dict[str, Any], provider: dict[str, Any]
) -> list[dict[str, Any]]:
    """At nine, twelve and four on Tuesday."""
    starts = [f"{TUESDAY}T{hour:02}:00:00+01:00" for hour in (9, 12, 16)]
    return [await business.booking(service, start) for start in starts]


def schedule(provider: dict[str, Any]) -> str:
    return f"/providers/{provider['id']}/schedule"


async def outside(admin: Caller, provider: dict[str, Any], wanted: dict[str, Any]) -> Any:
    return ok(await admin.put(schedule(provider), wanted))["bookings_outside"]


async def test_shorter_hours_leave_bookings_outside_and_as_they_are(
    admin: Caller, provider: dict[str, Any], bookings: list[dict[str, Any]]
) -> None:
    nine, noon, four = bookings
    assert await outside(admin, provider, week(("09:00", "17:00"))) == []
    assert await outside(admin, provider, week(("10:00", "16:30"))) == [told(nine), told(four)]
    assert await outside(admin, provider, week(("09:00", "12:30"), ("12:45", "17:00"))) == [
        told(noon)
    ]
    assert await outside(admin, provider, week()) == [told(b) for b in bookings]
    for booking in bookings:
        shown = ok(await admin.get(f"/bookings/{booking['id']}"))
        assert (shown["status"], shown["version"]) == ("confirmed", 1)


async def test_where_it_begins_on_the_grid_is_of_no_matter(
    admin: Caller, provider: dict[str, Any], bookings: list[dict[str, Any]]
) -> None:
    assert await outside(admin, provider, week(("08:47", "17:00"))) == []


async def test_buffers_may_lie_outside_hours(
    admin: Caller, provider: dict[str, Any], bookings: list[dict[str, Any]]
) -> None:
    assert await outside(admin, provider, week(("09:00", "17:00"))) == []


async def test_another_zone_moves_the_hours(
    admin: Caller, provider: dict[str, Any], bookings: list[dict[str, Any]]
) -> None:
    nine, *_ = bookings
    london = week(("09:00", "17:00"), time_zone="Europe/London")
    assert await outside(admin, provider, london) == [told(nine)]


async def test_hours_that_run_through_midnight_are_one(
    business: Business, admin: Caller, service: dict[str, Any], provider: dict[str, Any]
) -> None:
    nights = week(("00:00", "02:00"), ("22:00", "24:00"))
    assert await outside(admin, provider, nights) == []
    booking = await business.booking(service, "2026-03-04T00:00:00+01:00")
    late = await business.booking(service, f"{TUESDAY}T22:00:00+01:00")
    assert await outside(admin, provider, week(("00:30", "24:00"))) == [told(booking)]
    assert await outside(admin, provider, week(("00:00", "22:30"))) == [told(late)]


async def test_a_holiday_leaves_its_bookings_outside(
    business: Business, admin: Caller, service: dict[str, Any], provider: dict[str, Any]
) -> None:
    booking = await business.booking(service, "2026-05-01T10:00:00+02:00")
    french = week(("09:00", "17:00"), holiday_calendar="FR")
    assert await outside(admin, provider, french) == [told(booking)]
    assert await outside(admin, provider, week(("09:00", "17:00"), holiday_calendar="US")) == []


async def test_the_hours_of_one_day_leave_only_its_bookings_outside(
    business: Business,
    admin: Caller,
    service: dict[str, Any],
    provider: dict[str, Any],
    bookings: list[dict[str, Any]],
) -> None:
    await business.booking(service, "2026-03-04T09:00:00+01:00")
    path = f"/providers/{provider['id']}/overrides/{TUESDAY}"
    morning = {"intervals": [{"start": "09:00", "end": "13:00"}]}
    assert ok(await admin.put(path, morning))["bookings_outside"] == [told(bookings[2])]
    closed = ok(await admin.put(path, {"intervals": []}))
    assert closed["bookings_outside"] == [told(b) for b in bookings]
    # A schedule that is set again knows of the day.
    assert await outside(admin, provider, week(("09:00", "17:00"))) == [told(b) for b in bookings]
    assert ok(await admin.delete(path))["bookings_outside"] == []


async def test_a_day_that_is_no_longer_open_leaves_its_bookings_outside(
    business: Business, admin: Caller, service: dict[str, Any], provider: dict[str, Any]
) -> None:
    path = f"/providers/{provider['id']}/overrides/2026-03-08"  # a Sunday
    ok(await admin.put(path, {"intervals": [{"start": "09:00", "end": "17:00"}]}))
    booking = await business.booking(service, "2026-03-08T09:00:00+01:00")
    assert ok(await admin.delete(path))["bookings_outside"] == [told(booking)]


async def test_only_bookings_ahead_that_keep_their_time_are_told(
    business: Business,
    admin: Caller,
    clock: Hands,
    provider: dict[str, Any],
    bookings: list[dict[str, Any]],
) -> None:
    nine, noon, four = bookings
    ok(await admin.post(f"/bookings/{noon['id']}/cancel", {}))
    assert await outside(admin, provider, week()) == [told(nine), told(four)]
    clock.advance(hours=24)  # it is Tuesday, 09:00 in Paris
    admin = await business.log_in(ADMIN_EMAIL, ADMIN_PASSWORD)
    assert await outside(admin, provider, week()) == [told(four)]


async def test_what_other_providers_have_promised_is_not_told(
    business: Business, admin: Caller, service: dict[str, Any], bookings: list[dict[str, Any]]
) -> None:
    other = await business.provider(service)
    assert await outside(admin, other, week()) == []


async def test_who_takes_part_is_concerned_as_the_one_who_leads(
    app: FastAPI, business: Business, admin: Caller, bookings: list[dict[str, Any]]
) -> None:
    second = await business.provider()
    await execute(
        app,
        "UPDATE bookings SET provider_ids = provider_ids || CAST(:second AS uuid) WHERE id = :id",
        second=UUID(second["id"]),
        id=UUID(bookings[0]["id"]),
    )
    assert await outside(admin, second, week()) == [told(bookings[0])]
    problem(await admin.delete(f"/providers/{second['id']}"), 409, "in_use")
