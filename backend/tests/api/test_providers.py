import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from tests.business import Business, Caller, ok, problem

NOWHERE = "0199f0c0-0000-7000-8000-000000000000"
PROVIDER = {"display_name": "Dr. Grace Hopper", "time_zone": "Europe/Paris"}


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


async def events(admin: Caller, subject: str, kind: str) -> list[dict[str, Any]]:
    params = {"subject_id": subject, "type": kind}
    return ok(await admin.get("/admin/audit-log", params=params))["items"]


# --- Profiles ---------------------------------------------------------------------------------
async def test_a_provider_keeps_what_it_is_given(
    business: Business, admin: Caller, client: httpx.AsyncClient
) -> None:
    owner = await business.customer()
    place = ok(await admin.post("/locations", {"name": "Paris", "time_zone": "Europe/Paris"}))
    given = PROVIDER | {
        "user_id": owner.user["id"],
        "bio": "Compilers\nand clocks.",
        "location_ids": [place["id"]],
        "is_active": True,
    }
    answer = await admin.post("/providers", given | {"location_ids": [place["id"]] * 2})
    provider = ok(answer)
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert {name: provider[name] for name in given} == given
    shown = await client.get(f"/api/v1/providers/{provider['id']}")
    assert (ok(shown), shown.headers["etag"]) == (provider, '"1"')


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"user_id": NOWHERE}, "#/user_id"),
        ({"location_ids": [NOWHERE]}, "#/location_ids"),
        ({"location_ids": ["x"]}, "#/location_ids/0"),
        ({"time_zone": "Mars/Olympus"}, "#/time_zone"),
        ({"display_name": " "}, "#/display_name"),
        ({"bio": "\x1b[31m"}, "#/bio"),
        ({"version": 1}, "#/version"),
    ],
)
async def test_a_provider_needs_what_exists(
    admin: Caller, change: dict[str, Any], pointer: str
) -> None:
    provider = ok(await admin.post("/providers", PROVIDER))
    for answer in (
        await admin.post("/providers", PROVIDER | change),
        await admin.patch(f"/providers/{provider['id']}", change),
    ):
        body = problem(answer, 422, "validation_failed")
        assert [error["pointer"] for error in body["errors"]] == [pointer]
    assert ok(await admin.get("/providers"))["items"] == [provider]


@pytest.mark.parametrize("field", ["display_name", "bio", "time_zone", "location_ids", "is_active"])
async def test_what_a_provider_must_have_cannot_be_null(admin: Caller, field: str) -> None:
    provider = ok(await admin.post("/providers", PROVIDER))
    answer = await admin.patch(f"/providers/{provider['id']}", {field: None})
    problem(answer, 422, "validation_failed")


async def test_an_account_owns_one_calendar_at_most(business: Business, admin: Caller) -> None:
    owner = {"user_id": (await business.customer()).user["id"]}
    first = ok(await admin.post("/providers", PROVIDER | owner))
    problem(await admin.post("/providers", PROVIDER | owner), 409, "already_exists")
    second = ok(await admin.post("/providers", PROVIDER))
    taken = await admin.patch(f"/providers/{second['id']}", owner)
    problem(taken, 409, "already_exists")
    assert ok(await admin.patch(f"/providers/{first['id']}", {"user_id": None}))["user_id"] is None
    assert ok(await admin.patch(f"/providers/{second['id']}", owner))["user_id"] == owner["user_id"]


async def test_only_who_has_the_permission_may_write(
    business: Business, admin: Caller, client: httpx.AsyncClient
) -> None:
    customer = await business.customer()
    # Owning a calendar is not the permission to change the profile.
    provider = ok(await admin.post("/providers", PROVIDER | {"user_id": customer.user["id"]}))
    for method, path, body in (
        ("POST", "/providers", PROVIDER),
        ("PATCH", f"/providers/{provider['id']}", {"bio": "x"}),
        ("PUT", f"/services/{NOWHERE}/providers", {"providers": []}),
    ):
        anonymous = await client.request(method, f"/api/v1{path}", json=body)
        problem(anonymous, 401, "unauthenticated")
        problem(await customer.request(method, path, json=body), 403, "forbidden")


async def test_a_provider_whom_nobody_needs_can_be_deleted(
    app: FastAPI, business: Business, admin: Caller, client: httpx.AsyncClient
) -> None:
    service = await business.service()
    provider = await business.provider(service)
    given = await client.get(f"/api/v1/services/{service['id']}/providers")
    path = f"/providers/{provider['id']}"
    off = {"start": "2026-03-03T09:00:00Z", "end": "2026-03-04T09:00:00Z"}
    ok(await admin.post(f"{path}/time-off", off))
    problem(await admin.delete(path, headers={"If-Match": '"7"'}), 412, "version_mismatch")
    problem(await (await business.customer()).delete(path), 403, "forbidden")
    problem(await client.delete(f"/api/v1{path}"), 401, "unauthenticated")
    tag = {"If-Match": f'"{provider["version"]}"'}
    answer = await admin.delete(path, headers=tag)
    assert (answer.status_code, answer.content) == (204, b"")
    for gone in (path, f"{path}/schedule"):
        problem(await client.get(f"/api/v1{gone}"), 404, "not_found")
    problem(await admin.delete(path), 404, "not_found")
    (event,) = await events(admin, provider["id"], "provider.deleted")
    assert (event["before"], event["after"]) == (provider, None)
    # Who gives the service is another list now.
    seen = {"If-None-Match": given.headers["etag"]}
    left = await client.get(f"/api/v1/services/{service['id']}/providers", headers=seen)
    assert ok(left)["providers"] == []
    async with app.state.database.reading() as session:
        for table in ("allocations", "calendars", "time_off", "schedules"):
            assert await session.scalar(text(f"SELECT count(*) FROM {table}")) == 0, table


async def test_a_provider_who_was_booked_can_only_be_retired(
    business: Business, admin: Caller
) -> None:
    service = await business.service()
    provider = await business.provider(service)
    booking = await business.booking(service, "2026-03-03T09:00:00Z")
    path = f"/providers/{provider['id']}"
    problem(await admin.delete(path), 409, "in_use")
    ok(await admin.post(f"/bookings/{booking['id']}/cancel", {}))
    problem(await admin.delete(path), 409, "in_use")  # history needs them too
    ok(await admin.patch(path, {"is_active": False}))
    assert ok(await admin.get(f"/bookings/{booking['id']}"))["provider"]["id"] == provider["id"]


@pytest.mark.parametrize("attempt", range(3))
async def test_who_is_booked_while_being_deleted_is_either(
    business: Business, admin: Caller, attempt: int
) -> None:
    service = await business.service()
    provider = await business.provider(service)
    customer = await business.customer()
    body = {"service_id": service["id"], "start": "2026-03-03T09:00:00Z"}
    booked, deleted = await asyncio.gather(
        customer.post("/bookings", body), admin.delete(f"/providers/{provider['id']}")
    )
    assert (booked.status_code, deleted.status_code) in {(201, 409), (422, 204)}


async def test_a_provider_who_is_away_exists_only_for_staff(
    business: Business, admin: Caller, client: httpx.AsyncClient
) -> None:
    provider = ok(await admin.post("/providers", PROVIDER | {"is_active": False}))
    await business.schedule(provider)
    customer = await business.customer()
    path = f"/providers/{provider['id']}"
    for target in (path, f"{path}/schedule"):
        problem(await client.get(f"/api/v1{target}"), 404, "not_found")
        problem(await customer.get(target), 404, "not_found")
        ok(await admin.get(target))
    assert ok(await client.get("/api/v1/providers"))["items"] == []
    problem(await client.get("/api/v1/providers?is_active=false"), 403, "forbidden")
    problem(await customer.get("/providers?is_active=false"), 403, "forbidden")
    assert ok(await admin.get("/providers?is_active=false"))["items"] == [provider]


@pytest.mark.parametrize(
    ("tag", "status"), [('"1"', 200), ("*", 200), ('"2"', 412), ('W/"1"', 412), ("1", 422)]
)
async def test_a_change_can_be_bound_to_the_version_seen(
    admin: Caller, tag: str, status: int
) -> None:
    provider = ok(await admin.post("/providers", PROVIDER))
    path = f"/providers/{provider['id']}"
    answer = await admin.patch(path, {"bio": "New"}, headers={"If-Match": tag})
    assert answer.status_code == status
    assert ok(await admin.get(path))["version"] == (2 if status == 200 else 1)


async def test_what_has_not_changed_is_not_sent_again(admin: Caller) -> None:
    provider = ok(await admin.post("/providers", PROVIDER))
    path, seen = f"/providers/{provider['id']}", {"If-None-Match": '"1"'}
    assert (await admin.get(path, headers=seen)).status_code == 304
    ok(await admin.patch(path, {"bio": "New"}))
    assert (await admin.get(path, headers=seen)).headers["etag"] == '"2"'


async def test_every_change_of_a_profile_is_in_the_log(admin: Caller) -> None:
    provider = ok(await admin.post("/providers", PROVIDER))
    (created,) = await events(admin, provider["id"], "provider.created")
    assert (created["before"], created["after"]) == (None, provider)
    changed = ok(await admin.patch(f"/providers/{provider['id']}", {"bio": "New"}))
    (change,) = await events(admin, provider["id"], "provider.changed")
    assert (change["before"]["bio"], change["after"]["bio"]) == ("", "New")
    assert (change["before"]["version"], change["after"]["version"]) == (1, changed["version"])
    assert "display_name" not in change["after"]


# --- Who gives a service ----------------------------------------------------------------------
@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    return await business.service()


@pytest.fixture
async def three(admin: Caller) -> list[str]:
    """The ids of three providers, in ascending order."""
    made = [ok(await admin.post("/providers", PROVIDER)) for _ in range(3)]
    return sorted(provider["id"] for provider in made)


def assignment(provider_id: str, weight: int = 1, priority: int = 0) -> dict[str, Any]:
    return {"provider_id": provider_id, "weight": weight, "priority": priority}


async def test_who_gives_a_service_is_replaced_as_a_whole(
    admin: Caller, client: httpx.AsyncClient, service: dict[str, Any], three: list[str]
) -> None:
    path = f"/services/{service['id']}/providers"
    empty = {"service_id": service["id"], "providers": [], "version": 1}
    assert ok(await client.get(f"/api/v1{path}")) == empty
    for version, wanted in enumerate(
        (
            [assignment(three[0]), assignment(three[1], 5, 7), assignment(three[2])],
            [assignment(three[1], 2, 0), assignment(three[0])],
            [],
        ),
        start=2,
    ):
        answer = await admin.put(path, {"providers": wanted})
        shown = sorted(wanted, key=lambda a: (-a["priority"], a["provider_id"]))
        expected = {"service_id": service["id"], "providers": shown, "version": version}
        assert (ok(answer), answer.headers["etag"]) == (expected, f'"{version}"')
        again = await client.get(f"/api/v1{path}")
        assert (ok(again), again.headers["etag"]) == (expected, f'"{version}"')
        listed = await client.get("/api/v1/providers", params={"service_id": service["id"]})
        ids = {provider["id"] for provider in ok(listed)["items"]}
        assert ids == {a["provider_id"] for a in wanted}
    assert ok(await admin.get(f"/services/{service['id']}"))["version"] == 4


async def test_a_provider_is_asked_with_the_usual_weight_unless_told_otherwise(
    admin: Caller, service: dict[str, Any], three: list[str]
) -> None:
    body = {"providers": [{"provider_id": three[0]}]}
    answer = await admin.put(f"/services/{service['id']}/providers", body)
    assert ok(answer)["providers"] == [assignment(three[0], 1, 0)]


async def test_only_providers_that_exist_give_a_service_and_each_once(
    admin: Caller, service: dict[str, Any], three: list[str]
) -> None:
    path = f"/services/{service['id']}/providers"
    for wanted, pointer in (
        ([assignment(three[0]), assignment(NOWHERE)], "#/providers/1/provider_id"),
        ([assignment(three[0]), assignment(three[0], 2)], "#/providers"),
        ([assignment(three[0], 0)], "#/providers/0/weight"),
        ([assignment(three[0], 1, -1)], "#/providers/0/priority"),
    ):
        body = problem(await admin.put(path, {"providers": wanted}), 422, "validation_failed")
        assert [error["pointer"] for error in body["errors"]] == [pointer]
    assert ok(await admin.get(path)) == {
        "service_id": service["id"],
        "providers": [],
        "version": 1,
    }


async def test_nobody_gives_a_service_that_is_not_there(admin: Caller) -> None:
    path = f"/services/{NOWHERE}/providers"
    problem(await admin.get(path), 404, "not_found")
    problem(await admin.put(path, {"providers": []}), 404, "not_found")


async def test_who_gives_a_service_has_the_services_version(
    admin: Caller, service: dict[str, Any], three: list[str]
) -> None:
    path = f"/services/{service['id']}/providers"
    ok(await admin.patch(f"/services/{service['id']}", {"name": "Changed"}))
    body = {"providers": [assignment(three[0])]}
    problem(await admin.put(path, body, headers={"If-Match": '"1"'}), 412, "version_mismatch")
    ok(await admin.put(path, body, headers={"If-Match": '"2"'}))
    problem(await admin.put(path, body, headers={"If-Match": '"2"'}), 412, "version_mismatch")
    assert (await admin.get(path, headers={"If-None-Match": '"3"'})).status_code == 304


async def test_of_two_who_saw_one_version_one_may_say_who_gives_a_service(
    app: FastAPI, admin: Caller, service: dict[str, Any], three: list[str]
) -> None:
    """Both are held at the service's row until both are there, so each has seen version 1."""
    path = f"/services/{service['id']}/providers"
    async with app.state.database.transaction() as gate:
        await gate.execute(text("SELECT FROM services FOR UPDATE"))
        racers = [
            asyncio.create_task(
                admin.put(path, {"providers": [assignment(i)]}, headers={"If-Match": '"1"'})
            )
            for i in three[:2]
        ]
        waiting = text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        async with app.state.database.reading() as observer:
            while await observer.scalar(waiting) < 2:  # noqa: ASYNC110 - Postgres has no events
                await asyncio.sleep(0)
    answers = await asyncio.gather(*racers)
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    (winner,) = [ok(answer) for answer in answers if answer.is_success]
    assert ok(await admin.get(path)) == winner


async def test_every_change_of_who_gives_a_service_is_in_the_log(
    admin: Caller, service: dict[str, Any], three: list[str]
) -> None:
    path = f"/services/{service['id']}/providers"
    for wanted in ([assignment(three[0])], [assignment(three[1])], [assignment(three[1])]):
        ok(await admin.put(path, {"providers": wanted}))
    second, first = await events(admin, service["id"], "service.assigned")
    assert first["before"] == {"providers": []}
    assert first["after"] == second["before"] == {"providers": [assignment(three[0])]}
    assert second["after"] == {"providers": [assignment(three[1])]}
