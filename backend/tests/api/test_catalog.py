import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from tests.business import Business, Caller, execute, ok, problem

NOWHERE = "0199f0c0-0000-7000-8000-000000000000"
SERVICE = {"name": "First consultation", "durations_minutes": [30]}
LOCATION = {"name": "Clinic Paris", "time_zone": "Europe/Paris"}
RESOURCE = {"name": "Room 1", "kind": "room"}
BODIES = {"/services": SERVICE, "/locations": LOCATION, "/resources": RESOURCE}

NO_LIMITS = dict.fromkeys(("per_day", "per_week", "per_customer_per_day", "per_customer_active"))

both = pytest.mark.parametrize("path", BODIES)


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


async def events(admin: Caller, thing: dict[str, Any]) -> list[dict[str, Any]]:
    """What the log tells about it, the oldest first."""
    answer = await admin.get("/admin/audit-log", params={"subject_id": thing["id"]})
    return ok(answer)["items"][::-1]


def timeless(thing: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in thing.items() if not name.endswith("_at")}


# --- Creating ---------------------------------------------------------------------------------
async def test_a_service_has_sensible_defaults(admin: Caller, client: httpx.AsyncClient) -> None:
    answer = await admin.post("/services", SERVICE)
    service = ok(answer)
    assert answer.status_code == 201
    assert answer.headers["etag"] == '"1"'
    assert timeless(service) == {
        "id": service["id"],
        "name": "First consultation",
        "slug": "first-consultation",
        "description": "",
        "durations_minutes": [30],
        "buffer_before_minutes": 0,
        "buffer_after_minutes": 0,
        "slot_interval_minutes": None,
        "min_notice_minutes": 0,
        "booking_window_days": None,
        "capacity": 1,
        "price": None,
        "approval": "automatic",
        "assignment": "any",
        "allow_guests": False,
        "cancel_until_minutes": 0,
        "reschedule_until_minutes": 0,
        "max_reschedules": None,
        "limits": NO_LIMITS,
        "questions": [],
        "location_ids": [],
        "resource_requirements": [],
        "reminder_minutes": None,
        "is_active": True,
        "version": 1,
    }
    assert datetime.fromisoformat(service["created_at"]).utcoffset() is not None
    shown = await client.get(f"/api/v1/services/{service['id']}")
    assert (ok(shown), shown.headers["etag"]) == (service, '"1"')


def question(key: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "label": "Well?", "type": kind, "required": False, "options": []} | more


async def test_a_service_keeps_all_that_it_is_given(
    admin: Caller, client: httpx.AsyncClient
) -> None:
    place = ok(await admin.post("/locations", LOCATION))
    given = {
        "name": "Séance d'essai",
        "slug": "trial",
        "description": "Two lines,\nand a \t tab.",
        "durations_minutes": [60, 30],
        "buffer_before_minutes": 5,
        "buffer_after_minutes": 10,
        "slot_interval_minutes": 15,
        "min_notice_minutes": 120,
        "booking_window_days": 60,
        "capacity": 12,
        "price": {"amount": 4500, "currency": "EUR"},
        "approval": "required",
        "assignment": "round_robin",
        "allow_guests": True,
        "cancel_until_minutes": 1440,
        "reschedule_until_minutes": 720,
        "max_reschedules": 0,
        "limits": {
            "per_day": 4,
            "per_week": 12,
            "per_customer_per_day": 1,
            "per_customer_active": 3,
        },
        "questions": [
            question("first-visit", "boolean"),
            question("what_for", "select", required=True, options=["Pain", "A check-up"]),
        ],
        "location_ids": [place["id"]],
        "resource_requirements": [
            {"resource_kind": "room", "quantity": 1},
            {"resource_kind": "scanner", "quantity": 2},
        ],
        "is_active": True,
    }
    service = ok(await admin.post("/services", given))
    assert {name: service[name] for name in given} == given
    assert ok(await client.get(f"/api/v1/services/{service['id']}")) == service


async def test_a_location_keeps_what_it_is_given(admin: Caller, client: httpx.AsyncClient) -> None:
    given = LOCATION | {"address": "12 rue de la Paix\n75002 Paris"}
    answer = await admin.post("/locations", given)
    location = ok(answer)
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert timeless(location) == given | {"id": location["id"], "version": 1}
    assert ok(await client.get(f"/api/v1/locations/{location['id']}")) == location


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Séance d'essai (30 min)", "seance-d-essai-30-min"),
        ("  Cut & colour  ", "cut-colour"),
        ("相談", "service"),
        ("x" * 200, "x" * 100),
        ("x" * 99 + " y", "x" * 99),
    ],
)
async def test_a_slug_is_made_from_the_name(admin: Caller, name: str, slug: str) -> None:
    assert ok(await admin.post("/services", SERVICE | {"name": name}))["slug"] == slug


@pytest.mark.parametrize("slug", ["", "Cut", "cut_1", "-cut", "cut-", "a--b", "cut\n", "x" * 101])
async def test_a_slug_that_is_none_is_refused(admin: Caller, slug: str) -> None:
    if slug != slug.strip():  # space around is not meant
        ok(await admin.post("/services", SERVICE | {"slug": slug}))
        return
    problem(await admin.post("/services", SERVICE | {"slug": slug}), 422, "validation_failed")


async def test_a_slug_is_used_once(admin: Caller) -> None:
    first = ok(await admin.post("/services", SERVICE))
    problem(await admin.post("/services", SERVICE), 409, "already_exists")
    other = ok(await admin.post("/services", SERVICE | {"slug": "other"}))
    patch = await admin.patch(f"/services/{other['id']}", {"slug": first["slug"]})
    problem(patch, 409, "already_exists")
    assert ok(await admin.get(f"/services/{other['id']}")) == other
    ok(await admin.patch(f"/services/{first['id']}", {"slug": "first"}))
    ok(await admin.patch(f"/services/{other['id']}", {"slug": first["slug"]}))


async def test_of_ten_who_want_a_slug_at_once_one_gets_it(admin: Caller) -> None:
    answers = await asyncio.gather(*(admin.post("/services", SERVICE) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
    assert len(ok(await admin.get("/services"))["items"]) == 1


async def test_a_duration_counts_once_and_the_first_stays_first(admin: Caller) -> None:
    body = SERVICE | {"durations_minutes": [60, 30, 60, 90, 30]}
    service = ok(await admin.post("/services", body))
    assert service["durations_minutes"] == [60, 30, 90]
    changed = await admin.patch(f"/services/{service['id']}", {"durations_minutes": [45, 45]})
    assert ok(changed)["durations_minutes"] == [45]
    # As the document says how many may be sent, each time counts.
    too_many = {"durations_minutes": [45] * 21, "reminder_minutes": [60] * 11}
    refused = problem(
        await admin.patch(f"/services/{service['id']}", too_many), 422, "validation_failed"
    )
    assert {e["pointer"] for e in refused["errors"]} == {f"#/{name}" for name in too_many}


OPTIONS = ["Yes", "No"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"capacity": 0}, "#/capacity"),
        ({"approval": "perhaps"}, "#/approval"),
        ({"assignment": "random"}, "#/assignment"),
        ({"max_reschedules": -1}, "#/max_reschedules"),
        ({"limits": {"per_day": 0}}, "#/limits/per_day"),
        ({"limits": {"per_year": 1}}, "#/limits/per_year"),
        ({"questions": [question("a", "essay")]}, "#/questions/0/type"),
        ({"questions": [question("A b", "text")]}, "#/questions/0/key"),
        ({"questions": [question("a", "text") | {"label": ""}]}, "#/questions/0/label"),
        ({"questions": [question("a", "text"), question("a", "date")]}, "#/questions"),
        ({"questions": [question("a", "select")]}, "#/questions/0"),
        ({"questions": [question("a", "multi_select")]}, "#/questions/0"),
        ({"questions": [question("a", "text", options=OPTIONS)]}, "#/questions/0"),
        ({"questions": [question("a", "select", options=["Yes", " Yes"])]}, "#/questions/0"),
        (
            {"questions": [question("a", "select", options=[f"{n}" for n in range(101)])]},
            "#/questions/0/options",
        ),
        ({"questions": [question(f"q{n}", "text") for n in range(51)]}, "#/questions"),
        ({"location_ids": [NOWHERE]}, "#/location_ids"),
        ({"resource_requirements": [{"resource_kind": "room"}] * 2}, "#/resource_requirements"),
        (
            {"resource_requirements": [{"resource_kind": "room", "quantity": 0}]},
            "#/resource_requirements/0/quantity",
        ),
        (
            {"resource_requirements": [{"resource_kind": "Room"}]},
            "#/resource_requirements/0/resource_kind",
        ),
    ],
)
async def test_an_offer_that_makes_no_sense_is_refused(
    admin: Caller, change: dict[str, Any], pointer: str
) -> None:
    body = problem(await admin.post("/services", SERVICE | change), 422, "validation_failed")
    assert [error["pointer"] for error in body["errors"]] == [pointer]
    service = ok(await admin.post("/services", SERVICE))
    problem(await admin.patch(f"/services/{service['id']}", change), 422, "validation_failed")
    assert ok(await admin.get(f"/services/{service['id']}")) == service


async def test_what_stands_in_a_list_is_whole_after_a_change(admin: Caller) -> None:
    service = ok(await admin.post("/services", SERVICE))
    change = {
        "resource_requirements": [{"resource_kind": "room"}],
        "questions": [{"key": "why", "label": "Why?", "type": "text"}],
    }
    changed = ok(await admin.patch(f"/services/{service['id']}", change))
    assert changed["resource_requirements"] == [{"resource_kind": "room", "quantity": 1}]
    assert changed["questions"] == [change["questions"][0] | {"required": False, "options": []}]
    asked = f"/availability/explain?service_id={service['id']}&start=2026-03-03T10:00:00Z"
    ok(await admin.get(asked))


async def test_a_limit_that_is_not_named_stays(admin: Caller) -> None:
    body = SERVICE | {"limits": {"per_day": 4, "per_week": 12}}
    service = ok(await admin.post("/services", body))
    path = f"/services/{service['id']}"
    changed = ok(await admin.patch(path, {"limits": {"per_day": 5, "per_week": None}}))
    assert changed["limits"] == NO_LIMITS | {"per_day": 5}
    assert ok(await admin.patch(path, {"limits": {}})) == changed


async def test_a_location_counts_once(admin: Caller) -> None:
    place = ok(await admin.post("/locations", LOCATION))
    body = SERVICE | {"location_ids": [place["id"]] * 2}
    assert ok(await admin.post("/services", body))["location_ids"] == [place["id"]]


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "europe/paris", "", "localtime", "Factory"])
async def test_a_location_needs_a_zone_that_iana_knows(admin: Caller, zone: str) -> None:
    refused = await admin.post("/locations", LOCATION | {"time_zone": zone})
    body = problem(refused, 422, "validation_failed")
    assert [error["pointer"] for error in body["errors"]] == ["#/time_zone"]


# --- Who may ----------------------------------------------------------------------------------
@both
async def test_only_who_has_the_permission_may_write(
    business: Business, admin: Caller, client: httpx.AsyncClient, path: str
) -> None:
    thing = ok(await admin.post(path, BODIES[path]))
    customer = await business.customer()
    for method, target, body in (
        ("POST", path, BODIES[path] | {"name": "Other"}),
        ("PATCH", f"{path}/{thing['id']}", {"name": "Other"}),
        ("PATCH", f"{path}/{NOWHERE}", {"name": "Other"}),
    ):
        anonymous = await client.request(method, f"/api/v1{target}", json=body)
        problem(anonymous, 401, "unauthenticated")
        assert anonymous.headers["www-authenticate"] == "Bearer"
        problem(await customer.request(method, target, json=body), 403, "forbidden")
    assert ok(await client.get(f"/api/v1{path}"))["items"] == [thing]


@both
async def test_what_is_not_there_is_not_found(admin: Caller, path: str) -> None:
    problem(await admin.get(f"{path}/{NOWHERE}"), 404, "not_found")
    problem(await admin.patch(f"{path}/{NOWHERE}", {"name": "x"}), 404, "not_found")


async def test_a_retired_service_exists_only_for_staff(
    business: Business, admin: Caller, client: httpx.AsyncClient
) -> None:
    shown = ok(await admin.post("/services", SERVICE))
    retired = ok(await admin.post("/services", SERVICE | {"slug": "old", "is_active": False}))
    customer = await business.customer()
    path = f"/services/{retired['id']}"
    for target in (path, f"{path}/providers"):
        problem(await client.get(f"/api/v1{target}"), 404, "not_found")
        problem(await customer.get(target), 404, "not_found")
        ok(await admin.get(target))
    assert ok(await customer.get("/services"))["items"] == [shown]
    problem(await client.get("/api/v1/services?is_active=false"), 403, "forbidden")
    problem(await customer.get("/services?is_active=false"), 403, "forbidden")
    assert ok(await admin.get("/services?is_active=false"))["items"] == [retired]
    ok(await admin.patch(path, {"is_active": True}))
    ok(await client.get(f"/api/v1{path}"))


# --- Changing ---------------------------------------------------------------------------------
async def test_a_change_touches_the_named_fields_and_raises_the_version_by_one(
    admin: Caller,
) -> None:
    before = ok(await admin.post("/services", SERVICE | {"description": "Old"}))
    for version, patch in enumerate(
        ({"description": "New"}, {"buffer_after_minutes": 5, "name": "Cut"}, {"is_active": False}),
        start=2,
    ):
        answer = await admin.patch(f"/services/{before['id']}", patch)
        after = ok(answer)
        assert timeless(after) == timeless(before) | patch | {"version": version}
        assert answer.headers["etag"] == f'"{version}"'
        assert after["updated_at"] > before["updated_at"]
        before = after


@both
async def test_a_change_that_changes_nothing_is_none(admin: Caller, path: str) -> None:
    thing = ok(await admin.post(path, BODIES[path]))
    for patch in ({}, {"name": thing["name"]}):
        assert ok(await admin.patch(f"{path}/{thing['id']}", patch)) == thing
    assert [event["type"].partition(".")[2] for event in await events(admin, thing)] == ["created"]


@pytest.mark.parametrize(
    "field",
    [
        "name",
        "slug",
        "description",
        "durations_minutes",
        "buffer_before_minutes",
        "buffer_after_minutes",
        "min_notice_minutes",
        "cancel_until_minutes",
        "reschedule_until_minutes",
        "capacity",
        "approval",
        "assignment",
        "allow_guests",
        "limits",
        "questions",
        "location_ids",
        "resource_requirements",
        "is_active",
    ],
)
async def test_what_a_service_must_have_cannot_be_null(admin: Caller, field: str) -> None:
    service = ok(await admin.post("/services", SERVICE))
    answer = await admin.patch(f"/services/{service['id']}", {field: None})
    body = problem(answer, 422, "validation_failed")
    assert [error["pointer"] for error in body["errors"]] == [f"#/{field}"]


@pytest.mark.parametrize("field", ["name", "address", "time_zone"])
async def test_what_a_location_must_have_cannot_be_null(admin: Caller, field: str) -> None:
    location = ok(await admin.post("/locations", LOCATION))
    answer = await admin.patch(f"/locations/{location['id']}", {field: None})
    problem(answer, 422, "validation_failed")


async def test_what_a_service_may_lack_can_be_taken_away(admin: Caller) -> None:
    optional = {
        "price": {"amount": 0, "currency": "EUR"},
        "slot_interval_minutes": 15,
        "booking_window_days": 0,
        "max_reschedules": 3,
        "reminder_minutes": [2880, 30],
    }
    service = ok(await admin.post("/services", SERVICE | optional))
    assert {name: service[name] for name in optional} == optional
    for name in optional:
        service = ok(await admin.patch(f"/services/{service['id']}", {name: None}))
        assert service[name] is None


@pytest.mark.parametrize("field", ["id", "version", "created_at", "updated_at", "price_amount"])
@both
async def test_what_is_not_the_clients_to_set_is_refused(
    admin: Caller, path: str, field: str
) -> None:
    thing = ok(await admin.post(path, BODIES[path]))
    change = {field: thing.get(field)}
    problem(await admin.post(path, BODIES[path] | change), 422, "validation_failed")
    problem(await admin.patch(f"{path}/{thing['id']}", change), 422, "validation_failed")


# --- Deleting ---------------------------------------------------------------------------------
@both
async def test_what_nobody_needs_can_be_deleted(
    admin: Caller, client: httpx.AsyncClient, path: str
) -> None:
    thing = ok(await admin.post(path, BODIES[path]))
    target = f"{path}/{thing['id']}"
    problem(await admin.delete(target, headers={"If-Match": '"2"'}), 412, "version_mismatch")
    problem(await client.delete(f"/api/v1{target}"), 401, "unauthenticated")
    answer = await admin.delete(target, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.content) == (204, b"")
    problem(await client.get(f"/api/v1{target}"), 404, "not_found")
    problem(await admin.delete(target), 404, "not_found")
    assert ok(await client.get(f"/api/v1{path}"))["items"] == []
    gone = (await events(admin, thing))[-1]
    assert gone["type"] == f"{path.strip('/').removesuffix('s')}.deleted"
    assert (gone["before"], gone["after"]) == (thing, None)


@both
async def test_only_who_has_the_permission_may_delete(
    business: Business, admin: Caller, path: str
) -> None:
    thing = ok(await admin.post(path, BODIES[path]))
    customer = await business.customer()
    problem(await customer.delete(f"{path}/{thing['id']}"), 403, "forbidden")
    ok(await admin.get(f"{path}/{thing['id']}"))


async def test_a_service_that_was_booked_can_only_be_retired(
    business: Business, admin: Caller
) -> None:
    service = await business.service()
    await business.provider(service)
    booking = await business.booking(service, "2026-03-03T09:00:00Z")
    path = f"/services/{service['id']}"
    problem(await admin.delete(path), 409, "in_use")
    ok(await admin.post(f"/bookings/{booking['id']}/cancel", {}))
    problem(await admin.delete(path), 409, "in_use")  # history needs it too
    ok(await admin.patch(path, {"is_active": False}))
    assert ok(await admin.get(f"/bookings/{booking['id']}"))["service"]["id"] == service["id"]


async def test_a_service_that_somebody_waits_for_is_in_use(
    app: FastAPI, business: Business, admin: Caller
) -> None:
    service = await business.service()
    customer = await business.customer()
    path, service_id = f"/services/{service['id']}", UUID(service["id"])
    await execute(
        app,
        "INSERT INTO waitlist_entries (id, service_id, customer_id, windows)"
        " VALUES (gen_random_uuid(), :service, :customer, '{}')",
        service=service_id,
        customer=UUID(customer.user["id"]),
    )
    problem(await admin.delete(path), 409, "in_use")
    withdrawn = "UPDATE waitlist_entries SET status = 'withdrawn' WHERE service_id = :service"
    await execute(app, withdrawn, service=service_id)
    assert (await admin.delete(path)).status_code == 204


@pytest.mark.parametrize("needing", ["service", "provider", "resource"])
async def test_a_location_that_something_refers_to_is_in_use(
    business: Business, admin: Caller, needing: str
) -> None:
    place = ok(await admin.post("/locations", LOCATION))
    here = {"location_ids": [place["id"]]}
    match needing:
        case "service":
            thing, change = ok(await admin.post("/services", SERVICE | here)), {"location_ids": []}
        case "provider":
            thing, change = await business.provider(**here), {"location_ids": []}
        case _:
            body = RESOURCE | {"location_id": place["id"]}
            thing, change = ok(await admin.post("/resources", body)), {"location_id": None}
    path = f"/locations/{place['id']}"
    problem(await admin.delete(path), 409, "in_use")
    ok(await admin.patch(f"/{needing}s/{thing['id']}", change))
    assert (await admin.delete(path)).status_code == 204


@pytest.mark.parametrize("attempt", range(5))
async def test_nothing_refers_to_a_location_that_was_deleted_meanwhile(
    admin: Caller, attempt: int
) -> None:
    place = ok(await admin.post("/locations", LOCATION))
    body = SERVICE | {"location_ids": [place["id"]]}
    made, deleted = await asyncio.gather(
        admin.post("/services", body), admin.delete(f"/locations/{place['id']}")
    )
    assert (made.status_code, deleted.status_code) in {(201, 409), (422, 204)}


# --- Versions ---------------------------------------------------------------------------------
@both
@pytest.mark.parametrize(
    ("tag", "passes"),
    [
        ('"1"', True),
        ("*", True),
        (' "7" , "1" ', True),
        ('"0", W/"1", "1"', True),
        ('"2"', False),
        ('"01"', False),
        ('""', False),
        ('"*"', False),
        ('W/"1"', False),
        ('"' + "9" * 30 + '"', False),
    ],
)
async def test_a_change_can_be_bound_to_the_version_seen(
    admin: Caller, path: str, tag: str, *, passes: bool
) -> None:
    thing = ok(await admin.post(path, BODIES[path]))
    target = f"{path}/{thing['id']}"
    answer = await admin.patch(target, {"name": "Changed"}, headers={"If-Match": tag})
    if passes:
        assert ok(answer)["version"] == 2
    else:
        problem(answer, 412, "version_mismatch")
        assert ok(await admin.get(target)) == thing


@pytest.mark.parametrize("tag", ["1", '"1', "", "'1'", '"1" x "2"', '*, "1"', 'w/"1"', '"a b"'])
async def test_a_malformed_version_is_refused(admin: Caller, tag: str) -> None:
    service = ok(await admin.post("/services", SERVICE))
    path = f"/services/{service['id']}"
    answer = await admin.patch(path, {"name": "Changed"}, headers={"If-Match": tag})
    problem(answer, 422, "validation_failed")
    assert ok(await admin.get(path)) == service


@both
async def test_of_ten_who_saw_one_version_one_may_change_it(admin: Caller, path: str) -> None:
    thing = ok(await admin.post(path, BODIES[path]))
    target, seen = f"{path}/{thing['id']}", {"If-Match": '"1"'}
    answers = await asyncio.gather(
        *(admin.patch(target, {"name": f"Name {n}"}, headers=seen) for n in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9
    assert ok(await admin.get(target))["version"] == 2
    assert len(await events(admin, thing)) == 2


@both
async def test_what_has_not_changed_is_not_sent_again(admin: Caller, path: str) -> None:
    thing = ok(await admin.post(path, BODIES[path]))
    target = f"{path}/{thing['id']}"
    for tag in ('"1"', 'W/"1"', '"7", "1"', "*"):
        answer = await admin.get(target, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == '"1"'
    ok(await admin.patch(target, {"name": "Changed"}))
    for tag in ('"1"', '"', "1"):
        changed = await admin.get(target, headers={"If-None-Match": tag})
        assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')


# --- The log ----------------------------------------------------------------------------------
@both
async def test_every_change_is_in_the_log(admin: Caller, path: str) -> None:
    made = await admin.post(path, BODIES[path])
    thing = ok(made)
    target = f"{path}/{thing['id']}"
    changed = await admin.patch(target, {"name": "Changed"}, headers={"X-Request-ID": "mine"})
    problem(await admin.patch(target, {"name": ""}), 422, "validation_failed")
    created, change = await events(admin, thing)
    kind = path.strip("/").removesuffix("s")
    assert (created["type"], change["type"]) == (f"{kind}.created", f"{kind}.changed")
    assert (created["before"], created["after"]) == (None, thing)
    assert created["request_id"] == made.headers["x-request-id"]
    assert change["request_id"] == "mine"
    assert {event["actor_id"] for event in (created, change)} == {admin.user["id"]}
    after = ok(changed)
    differ = {name for name in after if after[name] != thing[name]}
    assert differ == {"name", "version", "updated_at"}
    assert change["before"] == {name: thing[name] for name in differ}
    assert change["after"] == {name: after[name] for name in differ}


async def test_the_log_is_for_those_who_may_read_it(
    business: Business, client: httpx.AsyncClient
) -> None:
    customer = await business.customer()
    for path in ("/admin/audit-log", "/admin/permissions"):
        problem(await client.get(f"/api/v1{path}"), 401, "unauthenticated")
        problem(await customer.get(path), 403, "forbidden")


async def test_the_log_can_be_filtered(business: Business, admin: Caller) -> None:
    service = ok(await admin.post("/services", SERVICE))
    ok(await admin.patch(f"/services/{service['id']}", {"name": "Changed"}))
    customer = await business.customer()

    async def types(**query: str) -> list[str]:
        entries = ok(await admin.get("/admin/audit-log", params=query))["items"]
        return [entry["type"] for entry in entries]

    assert await types(type="service.changed") == ["service.changed"]
    assert await types(actor_id=customer.user["id"]) == ["user.logged_in", "user.created"]
    assert await types(subject_id=service["id"]) == ["service.changed", "service.created"]
    assert await types(subject_id=service["id"], type="user.created") == []


async def test_the_permission_catalogue_is_whole(app: FastAPI, admin: Caller) -> None:
    catalogue = ok(await admin.get("/admin/permissions"))
    assert {entry["name"] for entry in catalogue["items"]} == set(admin.user["permissions"])
    assert all(entry["description"] for entry in catalogue["items"])
