"""Rooms and devices. What they share with services and locations: test_catalog.py."""

from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from tests.business import Business, Caller, calendar_version, execute, ok, problem

NOWHERE = "0199f0c0-0000-7000-8000-000000000000"
ROOM = {"name": "Room 1", "kind": "room"}
DURING = "tstzrange('2026-03-03 09:00Z', '2026-03-03 10:00Z')"


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


@pytest.fixture
async def room(admin: Caller) -> dict[str, Any]:
    return ok(await admin.post("/resources", ROOM))


def path(resource: dict[str, Any]) -> str:
    return f"/resources/{resource['id']}"


async def test_a_resource_is_as_it_was_made(
    business: Business, admin: Caller, client: httpx.AsyncClient
) -> None:
    place = ok(await admin.post("/locations", {"name": "Clinic", "time_zone": "Europe/Paris"}))
    given = ROOM | {"location_id": place["id"], "is_active": True}
    room = ok(await admin.post("/resources", given))
    assert {name: room[name] for name in given} == given
    assert ok(await client.get(f"/api/v1{path(room)}")) == room


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"location_id": NOWHERE}, "#/location_id"),
        ({"kind": "Room"}, "#/kind"),
        ({"kind": "a room"}, "#/kind"),
        ({"kind": ""}, "#/kind"),
        ({"name": ""}, "#/name"),
        ({"is_active": None}, "#/is_active"),
        ({"colour": "red"}, "#/colour"),
    ],
)
async def test_a_resource_that_makes_no_sense_is_refused(
    admin: Caller, room: dict[str, Any], change: dict[str, Any], pointer: str
) -> None:
    for answer in (
        await admin.post("/resources", ROOM | change),
        await admin.patch(path(room), change),
    ):
        body = problem(answer, 422, "validation_failed")
        assert [error["pointer"] for error in body["errors"]] == [pointer]
    assert ok(await admin.get(path(room))) == room


async def test_resources_are_found_by_kind_place_and_state(
    business: Business, admin: Caller, client: httpx.AsyncClient
) -> None:
    place = ok(await admin.post("/locations", {"name": "Clinic", "time_zone": "Europe/Paris"}))
    here = {"location_id": place["id"]}
    for body in (
        {"name": "A", "kind": "room"} | here,
        {"name": "B", "kind": "room"},
        {"name": "C", "kind": "scanner"} | here,
        {"name": "D", "kind": "room", "is_active": False},
    ):
        ok(await admin.post("/resources", body))

    async def names(caller: Any, **query: Any) -> list[str]:
        return [r["name"] for r in ok(await caller.get("/resources", params=query))["items"]]

    customer = await business.customer()
    assert await names(customer) == ["A", "B", "C"]
    assert await names(customer, kind="room") == ["A", "B"]
    assert await names(customer, location_id=place["id"]) == ["A", "C"]
    assert await names(customer, kind="room", location_id=place["id"]) == ["A"]
    assert await names(customer, kind="bed") == []
    assert await names(customer, sort="-name") == ["C", "B", "A"]
    assert await names(admin, is_active=False) == ["D"]
    problem(await customer.get("/resources", params={"is_active": False}), 403, "forbidden")


async def test_a_retired_resource_exists_only_for_staff(
    business: Business, admin: Caller, room: dict[str, Any]
) -> None:
    ok(await admin.patch(path(room), {"is_active": False}))
    problem(await (await business.customer()).get(path(room)), 404, "not_found")
    ok(await admin.get(path(room)))


async def test_a_change_raises_the_version_of_the_calendar(
    app: FastAPI, admin: Caller, room: dict[str, Any]
) -> None:
    before = await calendar_version(app, room)
    ok(await admin.patch(path(room), {"kind": "hall"}))
    assert await calendar_version(app, room) > before


@pytest.mark.parametrize("state", ["booking", "hold"])
async def test_a_resource_that_is_taken_is_in_use(
    app: FastAPI, admin: Caller, room: dict[str, Any], state: str
) -> None:
    expires = "'2026-03-02 08:05Z'" if state == "hold" else "NULL"
    await execute(
        app,
        "INSERT INTO allocations (id, subject_id, during, kind, expires_at)"
        f" VALUES (gen_random_uuid(), :room, {DURING}, :kind, {expires})",
        room=UUID(room["id"]),
        kind=state,
    )
    problem(await admin.delete(path(room)), 409, "in_use")


async def test_a_hold_that_is_over_needs_nothing(
    app: FastAPI, admin: Caller, room: dict[str, Any]
) -> None:
    await execute(
        app,
        "INSERT INTO allocations (id, subject_id, during, kind, expires_at)"
        f" VALUES (gen_random_uuid(), :room, {DURING}, 'hold', '2026-03-02 08:00Z')",
        room=UUID(room["id"]),
    )
    assert (await admin.delete(path(room))).status_code == 204
    async with app.state.database.reading() as session:
        left = await session.scalar(text("SELECT count(*) FROM allocations"))
    assert left == 0


async def test_a_resource_that_was_once_booked_is_in_use(
    app: FastAPI, business: Business, admin: Caller, room: dict[str, Any]
) -> None:
    service = await business.service()
    await business.provider(service)
    booking = await business.booking(service, "2026-03-03T09:00:00Z")
    ok(await admin.post(f"/bookings/{booking['id']}/cancel", {}))
    await execute(
        app, "UPDATE bookings SET resource_ids = ARRAY[CAST(:room AS uuid)]", room=UUID(room["id"])
    )
    problem(await admin.delete(path(room)), 409, "in_use")
    ok(await admin.patch(path(room), {"is_active": False}))
