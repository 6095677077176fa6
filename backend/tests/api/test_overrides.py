"""Hours of single days."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.business import Business, Caller, calendar_version, grant, ok, problem

NOWHERE = "0199f0c0-0000-7000-8000-000000000000"
TUESDAY, CHRISTMAS = "2026-03-03", "2026-12-25"
CLOSED: dict[str, Any] = {"intervals": []}
FULL = ("09:00", "17:00")


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    return await business.service(durations_minutes=[60])


@pytest.fixture
async def provider(business: Business, service: dict[str, Any]) -> dict[str, Any]:
    """From 09:00 to 17:00 on weekdays, in Paris."""
    return await business.provider(service)


def path(provider: dict[str, Any], day: str = TUESDAY) -> str:
    return f"/providers/{provider['id']}/overrides/{day}"


def hours(*intervals: tuple[str, str]) -> dict[str, Any]:
    return {"intervals": [{"start": start, "end": end} for start, end in intervals]}


async def days(who: Any, provider: dict[str, Any], **query: str) -> list[str]:
    answer = await who.get(f"/providers/{provider['id']}/overrides", params=query)
    return [override["date"] for override in ok(answer)["items"]]


async def test_a_day_has_the_hours_it_is_given(
    admin: Caller, client: httpx.AsyncClient, provider: dict[str, Any]
) -> None:
    answer = await admin.put(path(provider), hours(("10:00", "12:00"), ("22:00", "24:00")))
    override = ok(answer)
    assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')
    assert override.pop("bookings_outside") == []
    assert override["intervals"] == hours(("10:00", "12:00"), ("22:00", "24:00"))["intervals"]
    assert (override["date"], override["version"]) == (TUESDAY, 1)
    listed = await client.get(f"/api/v1/providers/{provider['id']}/overrides")
    assert ok(listed)["items"] == [override]


async def test_what_is_free_follows_the_day(
    business: Business, admin: Caller, service: dict[str, Any], provider: dict[str, Any]
) -> None:
    async def free() -> list[str]:
        starts = await business.free_times(service, TUESDAY, TUESDAY, time_zone="Europe/Paris")
        return [start[11:16] for start in starts]

    usual = await free()
    assert (usual[0], usual[-1]) == ("09:00", "16:00")
    ok(await admin.put(path(provider), hours(("18:00", "20:00"))))
    assert await free() == ["18:00", "19:00"]
    ok(await admin.put(path(provider), CLOSED))
    assert await free() == []
    ok(await admin.delete(path(provider)))
    assert await free() == usual


async def test_a_closed_day_cannot_be_booked_and_an_opened_one_can(
    business: Business, admin: Caller, service: dict[str, Any], provider: dict[str, Any]
) -> None:
    ok(await admin.put(path(provider), CLOSED))
    customer, body = await business.customer(), {"service_id": service["id"]}
    refused = await customer.post("/bookings", body | {"start": f"{TUESDAY}T09:00:00+01:00"})
    assert problem(refused, 422, "slot_unavailable")["reason"] == "outside_working_hours"
    sunday = "2026-03-08"
    ok(await admin.put(path(provider, sunday), hours(FULL)))
    ok(await customer.post("/bookings", body | {"start": f"{sunday}T09:00:00+01:00"}))


async def test_intervals_that_touch_or_overlap_merge(
    admin: Caller, provider: dict[str, Any]
) -> None:
    given = hours(("13:00", "17:00"), ("09:00", "12:00"), ("12:00", "13:00"), ("18:00", "18:01"))
    merged = hours(FULL, ("18:00", "18:01"))["intervals"]
    assert ok(await admin.put(path(provider), given))["intervals"] == merged


@pytest.mark.parametrize(
    ("day", "wanted", "pointer"),
    [
        (TUESDAY, hours(("17:00", "09:00")), "#/intervals/0"),
        (TUESDAY, hours(("24:00", "24:00")), "#/intervals/0/start"),
        (TUESDAY, hours(("09:00", "25:00")), "#/intervals/0/end"),
        (TUESDAY, hours(*[FULL] * 49), "#/intervals"),
        (TUESDAY, {}, "#/intervals"),
        (TUESDAY, CLOSED | {"reason": "x"}, "#/reason"),
        ("2026-02-30", CLOSED, "#/date"),
        ("tuesday", CLOSED, "#/date"),
        ("1772496000", CLOSED, "#/date"),
        ("2026-03-03T00:00:00Z", CLOSED, "#/date"),
        ("2200-01-01", CLOSED, "#/date"),
    ],
)
async def test_a_day_that_makes_no_sense_is_refused(
    admin: Caller, provider: dict[str, Any], day: str, wanted: dict[str, Any], pointer: str
) -> None:
    body = problem(await admin.put(path(provider, day), wanted), 422, "validation_failed")
    assert [error["pointer"] for error in body["errors"]] == [pointer]
    assert await days(admin, provider) == []


async def test_overrides_are_listed_by_date_and_in_pages(
    admin: Caller, provider: dict[str, Any]
) -> None:
    for day in (CHRISTMAS, TUESDAY, "2026-05-01"):
        ok(await admin.put(path(provider, day), CLOSED))
    assert await days(admin, provider) == [TUESDAY, "2026-05-01", CHRISTMAS]
    assert await days(admin, provider, sort="-date") == [CHRISTMAS, "2026-05-01", TUESDAY]
    assert await days(admin, provider, start="2026-05-01", end="2026-05-01") == ["2026-05-01"]
    assert await days(admin, provider, start="2026-05-02") == [CHRISTMAS]
    assert await days(admin, provider, end="2026-04-30") == [TUESDAY]
    listed = f"/providers/{provider['id']}/overrides"
    first = ok(await admin.get(listed, params={"limit": 2}))
    rest = ok(await admin.get(listed, params={"limit": 2, "cursor": first["next_cursor"]}))
    assert [o["date"] for o in first["items"] + rest["items"]] == [
        TUESDAY,
        "2026-05-01",
        CHRISTMAS,
    ]
    assert rest["next_cursor"] is None


async def test_without_a_schedule_there_is_no_day_to_change(admin: Caller) -> None:
    body = {"display_name": "Grace", "time_zone": "UTC"}
    provider = ok(await admin.post("/providers", body))
    refused = problem(await admin.put(path(provider), CLOSED), 404, "not_found")
    assert refused["detail"] == "This provider has no schedule yet."
    problem(await admin.delete(path(provider)), 404, "not_found")
    assert await days(admin, provider) == []


async def test_what_is_not_there_is_not_found(admin: Caller, provider: dict[str, Any]) -> None:
    nobody = {"id": NOWHERE}
    problem(await admin.get(f"/providers/{NOWHERE}/overrides"), 404, "not_found")
    problem(await admin.put(path(nobody), CLOSED), 404, "not_found")
    problem(await admin.delete(path(nobody)), 404, "not_found")
    problem(await admin.delete(path(provider)), 404, "not_found")


# --- Who may ----------------------------------------------------------------------------------
async def test_providers_set_their_own_days_and_nobody_elses(
    app: FastAPI, business: Business, provider: dict[str, Any], client: httpx.AsyncClient
) -> None:
    grace = await business.customer()
    hers = await business.provider(user_id=grace.user["id"])
    problem(await grace.put(path(hers), CLOSED), 403, "forbidden")  # owns it, but has no role
    await grant(app, grace, "provider")
    ok(await grace.put(path(hers), CLOSED))
    problem(await grace.put(path(provider), CLOSED), 403, "forbidden")
    problem(await grace.delete(path(provider)), 403, "forbidden")
    problem(await client.put(f"/api/v1{path(hers)}", json=CLOSED), 401, "unauthenticated")
    problem(await client.delete(f"/api/v1{path(hers)}"), 401, "unauthenticated")
    ok(await grace.delete(path(hers)))


# --- Versions ---------------------------------------------------------------------------------
async def test_a_change_can_be_bound_to_the_version_seen(
    admin: Caller, provider: dict[str, Any]
) -> None:
    async def put(wanted: dict[str, Any], tag: str) -> httpx.Response:
        return await admin.put(path(provider), wanted, headers={"If-Match": tag})

    problem(await put(CLOSED, "*"), 412, "version_mismatch")  # nothing is there
    ok(await admin.put(path(provider), CLOSED))
    problem(await put(hours(FULL), '"2"'), 412, "version_mismatch")
    assert ok(await put(hours(FULL), '"1"'))["version"] == 2
    assert ok(await put(hours(FULL), '"2"'))["version"] == 2  # nothing changed
    stale = await admin.delete(path(provider), headers={"If-Match": '"1"'})
    problem(stale, 412, "version_mismatch")
    ok(await admin.delete(path(provider), headers={"If-Match": '"2"'}))
    assert await days(admin, provider) == []


async def test_of_ten_who_saw_one_version_one_may_change_it(
    admin: Caller, provider: dict[str, Any]
) -> None:
    ok(await admin.put(path(provider), CLOSED))
    seen = {"If-Match": '"1"'}
    answers = await asyncio.gather(
        *(admin.put(path(provider), hours((f"0{n}:00", "17:00")), headers=seen) for n in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9


async def test_each_change_raises_the_version_of_the_calendar(
    app: FastAPI, admin: Caller, provider: dict[str, Any]
) -> None:
    versions = [await calendar_version(app, provider)]
    for change in (
        admin.put(path(provider), CLOSED),
        admin.put(path(provider), hours(FULL)),
        admin.delete(path(provider)),
    ):
        ok(await change)
        versions.append(await calendar_version(app, provider))
    assert versions == sorted(set(versions))


async def test_every_change_is_in_the_log(admin: Caller, provider: dict[str, Any]) -> None:
    ok(await admin.put(path(provider), CLOSED))
    ok(await admin.put(path(provider), hours(FULL)))
    ok(await admin.put(path(provider), hours(FULL)))
    ok(await admin.delete(path(provider)))
    params = {"subject_id": provider["id"]}
    log = ok(await admin.get("/admin/audit-log", params=params))["items"][::-1]
    told = [(e["type"], e["before"], e["after"]) for e in log if "override" in e["type"]]
    closed, opened = {"date": TUESDAY} | CLOSED, {"date": TUESDAY} | hours(FULL)
    assert told == [
        ("schedule.override_set", None, closed),
        ("schedule.override_set", closed, opened),
        ("schedule.override_removed", opened, None),
    ]
