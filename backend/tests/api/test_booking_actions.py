"""What is done with bookings: each action, by whom, when, and what it leaves behind."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text

from tests.business import PASSWORD, Business, Caller, Hands, execute, ok, problem

NINE, TEN = "2026-03-03T09:00:00+01:00", "2026-03-03T10:00:00+01:00"
BEGINS = datetime(2026, 3, 3, 8, tzinfo=UTC)
ACTIONS = (
    "confirm",
    "decline",
    "cancel",
    "reschedule",
    "reassign",
    "check-in",
    "complete",
    "no-show",
)


@pytest.fixture
async def ada(business: Business) -> Caller:
    return await business.customer("Ada Lovelace")


@pytest.fixture
async def grace(business: Business) -> Caller:
    return await business.customer("Grace Hopper")


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    return await business.service(durations_minutes=[30])


@pytest.fixture
async def provider(business: Business, service: dict[str, Any], grace: Caller) -> dict[str, Any]:
    """Grace's calendar."""
    return await business.provider(service, user_id=grace.user["id"])


async def book(caller: Caller, service: dict[str, Any], start: str = NINE, **more: Any) -> Any:
    return ok(await caller.post("/bookings", {"service_id": service["id"], "start": start} | more))


async def back(business: Business, caller: Caller) -> Caller:
    """The caller with a new token, once the clock has outlived theirs."""
    return await business.log_in(caller.user["email"], PASSWORD)


async def act(caller: Caller, booking: dict[str, Any], action: str, **options: Any) -> Any:
    body: dict[str, Any] | None = options.pop("json", None)
    return await caller.post(f"/bookings/{booking['id']}/{action}", body, **options)


async def events(app: FastAPI, booking: dict[str, Any]) -> list[Any]:
    statement = "SELECT * FROM events WHERE subject_id = :id ORDER BY id"
    async with app.state.database.reading() as session:
        return list(await session.execute(text(statement), {"id": booking["id"]}))


def names(booking: dict[str, Any]) -> list[str]:
    return [allowed["action"] for allowed in booking["allowed_actions"]]


# --- The day ----------------------------------------------------------------------------------
@pytest.mark.usefixtures("provider")
async def test_a_booking_is_kept_and_done(
    app: FastAPI, business: Business, ada: Caller, grace: Caller, service: Any, clock: Hands
) -> None:
    booking = await book(ada, service)
    clock.now = BEGINS - timedelta(minutes=5)
    grace = await back(business, grace)
    here = await act(grace, booking, "check-in")
    assert (ok(here)["status"], here.headers["etag"]) == ("checked_in", '"2"')
    clock.now = BEGINS + timedelta(minutes=10)
    grace = await back(business, grace)
    done = ok(await act(grace, booking, "complete"))
    assert (done["status"], done["version"], done["sequence"]) == ("completed", 3, 0)
    assert done["allowed_actions"] == []
    assert [(e.type, e.before, e.after) for e in (await events(app, booking))[1:]] == [
        ("booking.checked_in", {"status": "confirmed"}, {"status": "checked_in"}),
        ("booking.completed", {"status": "checked_in"}, {"status": "completed"}),
    ]


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize("action", ["complete", "no-show", "cancel"])
async def test_what_is_over_gives_back_what_is_left_of_its_time(
    business: Business, ada: Caller, service: Any, clock: Hands, action: str
) -> None:
    long = await business.service(durations_minutes=[120], slot_interval_minutes=30)
    path = f"/services/{long['id']}/providers"
    admin = await business.admin()
    (giver,) = ok(await admin.get(f"/services/{service['id']}/providers"))["providers"]
    ok(await admin.put(path, {"providers": [{"provider_id": giver["provider_id"]}]}))
    booking = await book(ada, long)
    assert TEN not in await business.free_times(service, "2026-03-03", "2026-03-03")
    clock.now = BEGINS + timedelta(minutes=15)
    admin = await Business(business.client).admin()
    ok(await act(admin, booking, action))
    free = await business.free_times(service, "2026-03-03", "2026-03-03", time_zone="Europe/Paris")
    assert TEN in free


@pytest.mark.usefixtures("provider")
async def test_who_was_thought_not_to_have_come_may_have_been_there(
    business: Business, ada: Caller, grace: Caller, service: Any, clock: Hands
) -> None:
    booking = await book(ada, service)
    clock.now = BEGINS + timedelta(minutes=15)
    grace = await back(business, grace)
    missed = ok(await act(grace, booking, "no-show"))
    assert (missed["status"], names(missed)) == ("no_show", ["complete"])
    problem(await act(grace, booking, "check-in"), 409, "invalid_transition")
    assert ok(await act(grace, booking, "complete"))["status"] == "completed"
    problem(await act(grace, booking, "no-show"), 409, "invalid_transition")


@pytest.mark.usefixtures("provider")
async def test_nothing_is_noted_before_it_can_have_happened(
    ada: Caller, grace: Caller, service: Any
) -> None:
    booking = await book(ada, service)
    for action in ("check-in", "complete", "no-show"):
        refused = problem(await act(grace, booking, action), 422, "policy_violation")
        assert refused["reason"] == "too_early"
    assert ok(await grace.get(f"/bookings/{booking['id']}"))["version"] == 1


# --- Who --------------------------------------------------------------------------------------
@pytest.mark.usefixtures("provider")
async def test_every_action_is_staffs_two_are_the_customers_and_none_a_strangers(
    business: Business, ada: Caller, service: Any
) -> None:
    booking = await book(ada, service)
    stranger = await business.customer("Mallory")
    bodies = {"reschedule": {"start": TEN}, "reassign": {"provider_id": booking["id"]}}
    for action in ACTIONS:
        body = bodies.get(action)
        problem(await act(stranger, booking, action, json=body), 404, "not_found")
        if action not in {"cancel", "reschedule"}:
            problem(await act(ada, booking, action, json=body), 403, "forbidden")
    assert names(ok(await ada.get(f"/bookings/{booking['id']}"))) == ["cancel", "reschedule"]


async def test_all_who_give_a_service_together_see_it_and_act_on_it(
    app: FastAPI, business: Business, ada: Caller, grace: Caller
) -> None:
    bob = await business.customer("Bob")
    service = await business.service(assignment="collective")
    first = await business.provider(service, user_id=grace.user["id"])
    second = await business.provider(service, user_id=bob.user["id"])
    booking = await book(ada, service)
    assert {p["id"] for p in booking["providers"]} == {first["id"], second["id"]}
    assert booking["provider"] == booking["providers"][0]
    for giver in (grace, bob):
        assert [b["id"] for b in ok(await giver.get("/bookings"))["items"]] == [booking["id"]]
        shown = ok(await giver.get(f"/bookings/{booking['id']}"))
        assert names(shown) == ["cancel", "reschedule"]
    for provider in (first, second):
        found = ok(await grace.get("/bookings", params={"provider_id": provider["id"]}))
        assert [b["id"] for b in found["items"]] == [booking["id"]]
    admin = await business.admin()
    refused = await act(admin, booking, "reassign", json={"provider_id": second["id"]})
    problem(refused, 409, "invalid_transition")
    assert ok(await act(bob, booking, "cancel"))["cancelled"]["by"] == "staff"


# --- What is listed works ---------------------------------------------------------------------
@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize("who", ["ada", "admin"])
@pytest.mark.parametrize(
    "moment",
    [
        BEGINS - timedelta(hours=23),
        BEGINS - timedelta(hours=3),
        BEGINS - timedelta(minutes=30),
        BEGINS,
        BEGINS + timedelta(minutes=10),
    ],
    ids=["a-day-before", "hours-before", "just-before", "at-the-start", "after"],
)
async def test_what_is_listed_works_and_what_is_not_is_refused(
    app: FastAPI, business: Business, ada: Caller, who: str, moment: datetime, clock: Hands
) -> None:
    service = await business.service(cancel_until_minutes=60, reschedule_until_minutes=240)
    one, two = [await business.provider(service) for _ in range(2)]
    bodies = {
        "reschedule": {"start": "2026-03-04T09:00:00+01:00"},
        "reassign": {"provider_id": two["id"]},
    }
    for approval in ("automatic", "required"):
        await execute(app, "UPDATE services SET approval = :a", a=approval)
        for action in ACTIONS:
            clock.now = datetime(2026, 3, 2, 8, tzinfo=UTC)
            ada = await back(business, ada)
            booking = await book(ada, service, provider_id=one["id"])
            clock.now = moment
            ada = await back(business, ada)
            admin = await Business(business.client).admin()
            caller = ada if who == "ada" else admin
            listed = names(ok(await caller.get(f"/bookings/{booking['id']}")))
            answer = await act(caller, booking, action, json=bodies.get(action))
            assert answer.is_success is (action in listed), (action, listed, answer.text)
            await execute(app, "DELETE FROM bookings")
            await execute(app, "DELETE FROM allocations")


# --- Versions and keys ------------------------------------------------------------------------
@pytest.mark.usefixtures("provider")
async def test_who_has_not_seen_the_last_version_is_told_so(
    business: Business, ada: Caller, service: Any
) -> None:
    admin = await business.admin()
    booking = await book(ada, service)
    moved = await act(admin, booking, "reschedule", json={"start": TEN})
    assert ok(moved)["version"] == 2
    stale = {"If-Match": '"1"'}
    problem(await act(ada, booking, "cancel", headers=stale), 412, "version_mismatch")
    fresh = {"If-Match": moved.headers["etag"]}
    assert ok(await act(ada, booking, "cancel", headers=fresh))["status"] == "cancelled"


@pytest.mark.usefixtures("provider")
async def test_a_repeated_action_gives_the_first_answer(
    app: FastAPI, ada: Caller, service: Any
) -> None:
    booking = await book(ada, service)
    key = {"Idempotency-Key": "once"}
    first = await act(ada, booking, "reschedule", json={"start": TEN}, headers=key)
    again = await act(ada, booking, "reschedule", json={"start": TEN}, headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    assert [e.type for e in await events(app, booking)] == [
        "booking.created",
        "booking.rescheduled",
    ]


# --- The honest tag ---------------------------------------------------------------------------
@pytest.mark.usefixtures("provider")
async def test_what_time_has_changed_is_not_answered_304(
    app: FastAPI, business: Business, ada: Caller, clock: Hands
) -> None:
    service = await business.service(cancel_until_minutes=60)
    await business.provider(service)
    booking = await book(ada, service)
    path, seen = f"/bookings/{booking['id']}", {"If-None-Match": '"1"'}
    assert (await ada.get(path, headers=seen)).status_code == 304
    clock.now = BEGINS - timedelta(minutes=59)
    ada = await back(business, ada)
    later = await ada.get(path, headers=seen)
    assert (later.status_code, later.headers["etag"]) == (200, '"1"')
    assert names(later.json()) == ["reschedule"]


@pytest.mark.usefixtures("provider")
async def test_another_name_of_the_service_is_not_answered_304(
    business: Business, ada: Caller, service: Any
) -> None:
    booking = await book(ada, service)
    path, seen = f"/bookings/{booking['id']}", {"If-None-Match": '"1"'}
    assert (await ada.get(path, headers=seen)).status_code == 304
    admin = await business.admin()
    ok(await admin.patch(f"/services/{service['id']}", {"name": "Another name"}))
    renamed = await ada.get(path, headers=seen)
    assert ok(renamed)["service"]["name"] == "Another name"


# --- Finding them -----------------------------------------------------------------------------
@pytest.mark.usefixtures("provider")
async def test_staff_find_bookings_by_reference_name_and_address(
    business: Business, ada: Caller, grace: Caller, service: Any
) -> None:
    admin = await business.admin()
    first, second = await book(ada, service), await book(grace, service, TEN)

    async def found(q: str) -> list[str]:
        return [b["id"] for b in ok(await admin.get("/bookings", params={"q": q}))["items"]]

    assert await found(first["reference"].lower()) == [first["id"]]
    assert await found("lovel") == [first["id"]]
    assert await found(grace.user["email"]) == [second["id"]]
    assert await found("%") == await found("_") == await found("\\") == []
    assert len(await found("@example.com")) == 2


# --- What a booking says ----------------------------------------------------------------------
async def test_a_booking_says_where_it_is_and_what_is_kept_for_it(
    business: Business, ada: Caller
) -> None:
    admin = await business.admin()
    place = ok(await admin.post("/locations", {"name": "Paris", "time_zone": "Europe/Paris"}))
    room = ok(await admin.post("/resources", {"name": "Blue", "kind": "room"}))
    service = await business.service(
        location_ids=[place["id"]],
        resource_requirements=[{"resource_kind": "room", "quantity": 1}],
    )
    await business.provider(service, location_ids=[place["id"]])
    booking = await book(ada, service)
    assert booking["location"] == {"id": place["id"], "name": "Paris"}
    assert booking["resources"] == [{"id": room["id"], "name": "Blue", "kind": "room"}]
    assert ok(await ada.get(f"/bookings/{booking['id']}")) == booking
    (listed,) = ok(await ada.get("/bookings"))["items"]
    assert listed == booking
