"""Public holidays, by country or part of one."""

from datetime import date
from typing import Any

import pytest

from app.schedules import holidays
from tests.business import WEEKDAYS, Business, Caller, ok, problem

BASTILLE_DAY, THE_DAY_AFTER = "2026-07-14", "2026-07-15"
DAILY = [{"weekday": day, "intervals": [{"start": "09:00", "end": "17:00"}]} for day in WEEKDAYS]


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    return await business.service(durations_minutes=[60])


@pytest.fixture
async def provider(business: Business, service: dict[str, Any]) -> dict[str, Any]:
    return await business.provider(service)


def week(calendar: object) -> dict[str, Any]:
    return {"time_zone": "Europe/Paris", "weekly": DAILY, "holiday_calendar": calendar}


def path(provider: dict[str, Any]) -> str:
    return f"/providers/{provider['id']}/schedule"


async def free(business: Business, service: dict[str, Any], day: str) -> int:
    return len(await business.free_times(service, day, day))


@pytest.mark.parametrize("calendar", ["FR", "DE-BY", "US-CA", "GB-SCT", None])
async def test_a_schedule_keeps_its_holidays(
    admin: Caller, provider: dict[str, Any], calendar: str | None
) -> None:
    assert ok(await admin.put(path(provider), week(calendar)))["holiday_calendar"] == calendar
    assert ok(await admin.get(path(provider)))["holiday_calendar"] == calendar


@pytest.mark.parametrize("calendar", ["XX", "fr", "FR-", "DE-XX", "France", "", "../FR", 1])
async def test_a_calendar_that_is_not_known_is_refused(
    admin: Caller, provider: dict[str, Any], calendar: object
) -> None:
    body = problem(await admin.put(path(provider), week(calendar)), 422, "validation_failed")
    assert [error["pointer"] for error in body["errors"]] == ["#/holiday_calendar"]


async def test_a_schedule_set_without_holidays_has_none(
    admin: Caller, provider: dict[str, Any]
) -> None:
    ok(await admin.put(path(provider), week("FR")))
    without = week(None)
    del without["holiday_calendar"]
    assert ok(await admin.put(path(provider), without))["holiday_calendar"] is None


async def test_a_holiday_is_closed_and_the_day_after_is_not(
    business: Business, admin: Caller, service: dict[str, Any], provider: dict[str, Any]
) -> None:
    ok(await admin.put(path(provider), week("FR")))
    assert await free(business, service, BASTILLE_DAY) == 0
    assert await free(business, service, THE_DAY_AFTER) == 8
    customer, body = await business.customer(), {"service_id": service["id"]}
    refused = await customer.post("/bookings", body | {"start": f"{BASTILLE_DAY}T10:00:00+02:00"})
    assert problem(refused, 422, "slot_unavailable")["reason"] == "holiday"
    ok(await admin.put(path(provider), week("DE")))
    assert await free(business, service, BASTILLE_DAY) == 8


async def test_a_holiday_of_one_part_is_none_in_another(
    business: Business, admin: Caller, service: dict[str, Any], provider: dict[str, Any]
) -> None:
    epiphany = "2027-01-06"
    ok(await admin.put(path(provider), week("DE-BY")))
    assert await free(business, service, epiphany) == 0
    ok(await admin.put(path(provider), week("DE-BE")))
    assert await free(business, service, epiphany) == 8


async def test_a_day_that_was_given_hours_is_open_although_it_is_a_holiday(
    business: Business, admin: Caller, service: dict[str, Any], provider: dict[str, Any]
) -> None:
    ok(await admin.put(path(provider), week("FR")))
    override = f"/providers/{provider['id']}/overrides/{BASTILLE_DAY}"
    ok(await admin.put(override, {"intervals": [{"start": "10:00", "end": "12:00"}]}))
    assert await free(business, service, BASTILLE_DAY) == 2
    ok(await admin.delete(override))
    assert await free(business, service, BASTILLE_DAY) == 0


async def test_a_change_of_holidays_is_in_the_log(admin: Caller, provider: dict[str, Any]) -> None:
    ok(await admin.put(path(provider), week("FR")))
    ok(await admin.put(path(provider), week("DE")))
    params = {"subject_id": provider["id"], "type": "schedule.changed"}
    change = ok(await admin.get("/admin/audit-log", params=params))["items"][0]
    assert change["before"]["holiday_calendar"] == "FR"
    assert change["after"]["holiday_calendar"] == "DE"


def test_holidays_are_those_of_the_range() -> None:
    year = holidays.between("FR", date(2026, 1, 1), date(2026, 12, 31))
    assert {date(2026, 1, 1), date(2026, 7, 14), date(2026, 12, 25)} <= year
    assert holidays.between("FR", date(2026, 7, 14), date(2026, 7, 14)) == {date(2026, 7, 14)}
    assert holidays.between("FR", date(2026, 7, 15), date(2026, 7, 31)) == frozenset()
    across = holidays.between("FR", date(2026, 12, 25), date(2027, 1, 1))
    assert across == {date(2026, 12, 25), date(2027, 1, 1)}
    assert holidays.between("XX", date(2026, 1, 1), date(2026, 12, 31)) == frozenset()
