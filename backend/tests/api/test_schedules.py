import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.business import Business, Caller, grant, ok, problem

NOWHERE = "0199f0c0-0000-7000-8000-000000000000"

Hours = list[tuple[str, str]]


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


@pytest.fixture
async def provider(admin: Caller) -> dict[str, Any]:
    """One without a schedule."""
    return ok(await admin.post("/providers", {"display_name": "Grace", "time_zone": "UTC"}))


def week(zone: str = "Europe/Paris", **days: Hours) -> dict[str, Any]:
    weekly = [
        {"weekday": day, "intervals": [{"start": start, "end": end} for start, end in hours]}
        for day, hours in days.items()
    ]
    return {"time_zone": zone, "weekly": weekly}


def path(provider: dict[str, Any]) -> str:
    return f"/providers/{provider['id']}/schedule"


async def test_a_schedule_is_there_once_it_was_set(
    admin: Caller, client: httpx.AsyncClient, provider: dict[str, Any]
) -> None:
    problem(await client.get(f"/api/v1{path(provider)}"), 404, "not_found")
    wanted = week(monday=[("09:00", "12:00"), ("13:00", "17:00")], sunday=[("00:00", "24:00")])
    answer = await admin.put(path(provider), wanted)
    schedule = ok(answer)
    assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')
    assert schedule.pop("bookings_outside") == []
    assert schedule == wanted | {
        "provider_id": provider["id"],
        "holiday_calendar": None,
        "version": 1,
        "updated_at": schedule["updated_at"],
    }
    shown = await client.get(f"/api/v1{path(provider)}")
    assert (ok(shown), shown.headers["etag"]) == (schedule, '"1"')


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param([("09:00", "12:00"), ("12:00", "17:00")], [("09:00", "17:00")], id="touching"),
        pytest.param(
            [("09:00", "13:00"), ("12:00", "17:00")], [("09:00", "17:00")], id="overlapping"
        ),
        pytest.param([("09:00", "17:00"), ("10:00", "11:00")], [("09:00", "17:00")], id="inside"),
        pytest.param([("09:00", "17:00")] * 2, [("09:00", "17:00")], id="the same"),
        pytest.param(
            [("13:00", "17:00"), ("09:00", "12:00")],
            [("09:00", "12:00"), ("13:00", "17:00")],
            id="out of order",
        ),
        pytest.param(
            [("09:00", "12:00"), ("12:01", "17:00")],
            [("09:00", "12:00"), ("12:01", "17:00")],
            id="a minute apart",
        ),
        pytest.param([("00:00", "24:00")], [("00:00", "24:00")], id="all day"),
        pytest.param([("23:59", "24:00")], [("23:59", "24:00")], id="the last minute"),
    ],
)
async def test_hours_that_touch_or_overlap_merge(
    admin: Caller, provider: dict[str, Any], given: Hours, kept: Hours
) -> None:
    schedule = ok(await admin.put(path(provider), week(monday=given)))
    assert schedule["weekly"] == week(monday=kept)["weekly"]


async def test_days_are_in_order_and_closed_ones_left_out(
    admin: Caller, provider: dict[str, Any]
) -> None:
    day = [("09:00", "17:00")]
    schedule = ok(await admin.put(path(provider), week(friday=day, tuesday=[], monday=day)))
    assert schedule["weekly"] == week(monday=day, friday=day)["weekly"]
    closed = ok(await admin.put(path(provider), week()))
    assert (closed["weekly"], closed["version"]) == ([], 2)


FULL = ("09:00", "17:00")


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        (week(monday=[("17:00", "09:00")]), "#/weekly/0/intervals/0"),
        (week(monday=[FULL, ("09:00", "09:00")]), "#/weekly/0/intervals/1"),
        (week(monday=[("24:00", "24:00")]), "#/weekly/0/intervals/0/start"),
        (week(monday=[("09:00", "24:01")]), "#/weekly/0/intervals/0/end"),
        (week(monday=[("9:00", "17:00")]), "#/weekly/0/intervals/0/start"),
        (week(monday=[("09:00", "17:00:00")]), "#/weekly/0/intervals/0/end"),
        (week(monday=[("09:60", "17:00")]), "#/weekly/0/intervals/0/start"),
        (
            week(monday=[("09:00", "1\N{ARABIC-INDIC DIGIT SEVEN}:00")]),
            "#/weekly/0/intervals/0/end",
        ),
        (week(moonday=[FULL]), "#/weekly/0/weekday"),
        (week(Monday=[FULL]), "#/weekly/0/weekday"),
        (week("Europe/Atlantis"), "#/time_zone"),
        (week("localtime"), "#/time_zone"),
        (week("../../etc/passwd"), "#/time_zone"),
        (week() | {"weekly": week(monday=[FULL])["weekly"] * 2}, "#"),
        (week() | {"weekly": week(monday=[FULL])["weekly"] * 8}, "#/weekly"),
        (week(monday=[FULL] * 49), "#/weekly/0/intervals"),
        (week() | {"weekly": None}, "#/weekly"),
        (week() | {"version": 1}, "#/version"),
        ({"weekly": []}, "#/time_zone"),
    ],
)
async def test_hours_that_make_no_sense_are_refused(
    admin: Caller, provider: dict[str, Any], wanted: dict[str, Any], pointer: str
) -> None:
    body = problem(await admin.put(path(provider), wanted), 422, "validation_failed")
    assert [error["pointer"] for error in body["errors"]] == [pointer]
    problem(await admin.get(path(provider)), 404, "not_found")


async def test_nobody_has_a_schedule_who_is_not_there(admin: Caller) -> None:
    problem(await admin.get(path({"id": NOWHERE})), 404, "not_found")
    problem(await admin.put(path({"id": NOWHERE}), week()), 404, "not_found")


# --- Who may ----------------------------------------------------------------------------------
async def test_providers_set_their_own_schedule_and_nobody_elses(
    app: FastAPI, business: Business, admin: Caller, client: httpx.AsyncClient
) -> None:
    body = {"display_name": "Grace", "time_zone": "UTC"}
    grace, ada = await business.customer(), await business.customer()
    hers = ok(await admin.post("/providers", body | {"user_id": grace.user["id"]}))
    other = ok(await admin.post("/providers", body))
    problem(await grace.put(path(hers), week()), 403, "forbidden")  # owns it, but has no role
    await grant(app, grace, "provider")
    await grant(app, ada, "provider")
    ok(await grace.put(path(hers), week()))
    problem(await grace.put(path(other), week()), 403, "forbidden")
    problem(await ada.put(path(hers), week()), 403, "forbidden")
    problem(await ada.put(path(other), week()), 403, "forbidden")
    problem(await (await business.customer()).put(path(hers), week()), 403, "forbidden")
    problem(await client.put(f"/api/v1{path(hers)}", json=week()), 401, "unauthenticated")
    ok(await admin.put(path(hers), week()))


# --- Versions ---------------------------------------------------------------------------------
async def test_the_version_rises_by_one_with_each_change(
    admin: Caller, provider: dict[str, Any]
) -> None:
    wanted = [week(monday=[FULL]), week(tuesday=[FULL]), week("UTC", tuesday=[FULL])]
    for version, schedule in enumerate(wanted, start=1):
        answer = await admin.put(path(provider), schedule)
        assert (ok(answer)["version"], answer.headers["etag"]) == (version, f'"{version}"')
    assert ok(await admin.put(path(provider), wanted[-1]))["version"] == 3


@pytest.mark.parametrize(
    ("tag", "status"), [('"1"', 200), ("*", 200), ('"2"', 412), ('W/"1"', 412), ("1", 422)]
)
async def test_a_change_can_be_bound_to_the_version_seen(
    admin: Caller, provider: dict[str, Any], tag: str, status: int
) -> None:
    ok(await admin.put(path(provider), week()))
    before = ok(await admin.get(path(provider)))
    wanted, seen = week(monday=[FULL]), {"If-Match": tag}
    answer = await admin.put(path(provider), wanted, headers=seen)
    assert answer.status_code == status
    after = ok(await admin.get(path(provider)))
    assert (after["version"], after == before) == ((2, False) if status == 200 else (1, True))


@pytest.mark.parametrize("tag", ['"1"', "*"])
async def test_nothing_matches_where_there_is_nothing(
    admin: Caller, provider: dict[str, Any], tag: str
) -> None:
    answer = await admin.put(path(provider), week(), headers={"If-Match": tag})
    problem(answer, 412, "version_mismatch")
    problem(await admin.get(path(provider)), 404, "not_found")


async def test_what_has_not_changed_is_not_sent_again(
    admin: Caller, client: httpx.AsyncClient, provider: dict[str, Any]
) -> None:
    ok(await admin.put(path(provider), week()))
    seen = {"If-None-Match": '"1"'}
    assert (await client.get(f"/api/v1{path(provider)}", headers=seen)).status_code == 304
    ok(await admin.put(path(provider), week(monday=[FULL])))
    assert (await client.get(f"/api/v1{path(provider)}", headers=seen)).status_code == 200


# --- At once ----------------------------------------------------------------------------------
async def test_two_who_set_the_first_schedule_at_once_both_do(
    admin: Caller, provider: dict[str, Any]
) -> None:
    days = ("monday", "tuesday")
    answers = await asyncio.gather(
        *(admin.put(path(provider), week(**{day: [FULL]})) for day in days)
    )
    assert sorted(ok(answer)["version"] for answer in answers) == [1, 2]
    (last,) = [ok(answer) for answer in answers if ok(answer)["version"] == 2]
    del last["bookings_outside"]
    assert ok(await admin.get(path(provider))) == last


async def test_of_ten_who_saw_one_version_one_may_change_it(
    admin: Caller, provider: dict[str, Any]
) -> None:
    ok(await admin.put(path(provider), week()))
    answers = await asyncio.gather(
        *(
            admin.put(
                path(provider), week(monday=[(f"0{n}:00", "17:00")]), headers={"If-Match": '"1"'}
            )
            for n in range(10)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9


# --- The log ----------------------------------------------------------------------------------
async def test_every_change_is_in_the_log(admin: Caller, provider: dict[str, Any]) -> None:
    first = ok(await admin.put(path(provider), week(monday=[FULL])))
    second = ok(await admin.put(path(provider), week(friday=[FULL])))
    ok(await admin.put(path(provider), week(friday=[FULL])))
    params = {"subject_id": provider["id"], "type": "schedule.changed"}
    change, made = ok(await admin.get("/admin/audit-log", params=params))["items"]
    del first["bookings_outside"], first["holiday_calendar"]  # null: as before there was one
    assert made["after"] == first
    assert (change["before"]["weekly"], change["after"]["weekly"]) == (
        first["weekly"],
        second["weekly"],
    )
    assert "time_zone" not in change["after"]
    assert change["actor_id"] == admin.user["id"]
