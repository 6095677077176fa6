"""Bookings: who may make, see and cancel which, and what is written when they do."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.bookings import action_service
from app.bookings import service as bookings_service
from app.core.ids import new_id
from app.database import Database
from tests.business import PASSWORD, Business, Caller, Hands, ok

# The clock says Monday, 2 March 2026, 08:00 UTC: in Paris it is 09:00.
TODAY, TUESDAY = "2026-03-02", "2026-03-03"


def paris(time: str, day: str = TUESDAY) -> str:
    return f"{day}T{time}:00+01:00"


@pytest.fixture
async def ada(business: Business) -> Caller:
    return await business.customer("Ada Lovelace")


@pytest.fixture
async def grace(business: Business) -> Caller:
    return await business.customer("Grace Hopper")


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


async def rows(app: FastAPI, statement: str, **values: Any) -> list[Any]:
    database: Database = app.state.database
    async with database.reading() as session:
        return list((await session.execute(text(statement), values)).all())


async def count(app: FastAPI, table: str) -> int:
    return (await rows(app, f"SELECT count(*) AS n FROM {table}"))[0].n


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def wish(service: dict[str, Any], start: str, **fields: Any) -> dict[str, Any]:
    return {"service_id": service["id"], "start": start} | fields


# --- Booking ---------------------------------------------------------------------------------
async def test_a_booking_says_all_that_was_agreed(
    app: FastAPI, business: Business, ada: Caller
) -> None:
    service = await business.service(
        durations_minutes=[60, 30],
        price={"amount": 4500, "currency": "EUR"},
        cancel_until_minutes=120,
    )
    provider = await business.provider(service)
    answer = await ada.post("/bookings", wish(service, "2026-03-03T08:00:00Z", notes=" First "))
    booking = ok(answer)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/bookings/{booking['id']}"
    assert answer.headers["etag"] == '"1"'
    reference, created, updated = (
        booking.pop(name) for name in ("reference", "created_at", "updated_at")
    )
    assert len(reference) == 10
    assert created == updated
    assert booking == {
        "id": booking["id"],
        "status": "confirmed",
        "service": {"id": service["id"], "name": service["name"]},
        "provider": {"id": provider["id"], "display_name": provider["display_name"]},
        "providers": [{"id": provider["id"], "display_name": provider["display_name"]}],
        "location": None,
        "resources": [],
        "start": paris("09:00"),
        "end": paris("10:00"),
        "time_zone": "Europe/Paris",
        "duration_minutes": 60,
        "seats": 1,
        "customer": {
            "id": ada.user["id"],
            "name": "Ada Lovelace",
            "email": ada.user["email"],
            "phone": None,
        },
        "answers": {},
        "notes": "First",
        "price": {"amount": 4500, "currency": "EUR"},
        "policy": {
            "cancel_until_minutes": 120,
            "reschedule_until_minutes": 0,
            "max_reschedules": None,
        },
        "source": "customer",
        "assignment": None,
        "sequence": 0,
        "version": 1,
        "series_id": None,
        "allowed_actions": [
            {"action": "cancel", "until": "2026-03-03T06:00:00Z"},
            {"action": "reschedule", "until": "2026-03-03T08:00:00Z"},
        ],
        "cancelled": None,
    }
    assert ok(await ada.get(f"/bookings/{booking['id']}"))["reference"] == reference


async def test_unknown_and_retired_services_are_not_found(
    business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service()
    await business.provider(service)
    unknown = await ada.post("/bookings", wish({"id": str(new_id())}, paris("09:00")))
    assert code(unknown) == (404, "not_found")
    ok(await admin.patch(f"/services/{service['id']}", {"is_active": False}))
    assert code(await ada.post("/bookings", wish(service, paris("09:00")))) == (404, "not_found")


@pytest.mark.parametrize(
    ("fields", "start", "reason"),
    [
        ({}, paris("08:30"), "outside_working_hours"),
        ({}, paris("17:00"), "outside_working_hours"),
        ({}, paris("16:31"), "outside_working_hours"),
        ({}, paris("09:00", "2026-03-07"), "outside_working_hours"),
        ({}, paris("09:10"), "not_aligned"),
        ({}, "2026-03-03T09:00:30+01:00", "not_aligned"),
        ({}, "2026-03-03T09:00:00.000001+01:00", "not_aligned"),
        ({}, "2026-03-02T07:59:00Z", "past"),
        ({}, "1999-03-02T07:59:00Z", "past"),
        ({"min_notice_minutes": 120}, "2026-03-02T09:30:00Z", "min_notice"),
        ({"booking_window_days": 1}, paris("09:00", "2026-03-04"), "beyond_window"),
        ({"booking_window_days": 0}, paris("09:00"), "beyond_window"),
    ],
)
async def test_a_time_that_is_not_offered_is_refused_with_the_reason(
    app: FastAPI,
    business: Business,
    ada: Caller,
    fields: dict[str, Any],
    start: str,
    reason: str,
) -> None:
    service = await business.service(**fields)
    await business.provider(service)
    refused = await ada.post("/bookings", wish(service, start))
    assert code(refused) == (422, "slot_unavailable")
    assert refused.json()["reason"] == reason
    assert await count(app, "allocations") == 0


@pytest.mark.parametrize(
    ("fields", "start"),
    [
        ({}, "2026-03-02T08:00:00Z"),
        ({"min_notice_minutes": 120}, "2026-03-02T10:00:00Z"),
        ({"booking_window_days": 1}, paris("16:30")),
        ({"booking_window_days": 0}, paris("16:30", TODAY)),
    ],
    ids=["this-minute", "at-the-notice", "last-of-the-window", "last-of-today"],
)
async def test_the_very_edge_of_what_is_offered_can_be_booked(
    business: Business, ada: Caller, fields: dict[str, Any], start: str
) -> None:
    service = await business.service(**fields)
    await business.provider(service)
    assert (await ada.post("/bookings", wish(service, start))).status_code == 201


async def test_who_does_not_give_the_service_cannot_be_booked_for_it(
    business: Business, ada: Caller, admin: Caller
) -> None:
    service, other = await business.service(), await business.service()
    provider, stranger = await business.provider(service), await business.provider(other)
    lonely = await business.service()
    for wanted in (
        wish(service, paris("09:00"), provider_id=stranger["id"]),
        wish(service, paris("09:00"), provider_id=str(new_id())),
        wish(service, paris("09:00"), duration_minutes=45),
        wish(lonely, paris("09:00")),
    ):
        refused = await ada.post("/bookings", wanted)
        assert code(refused) == (422, "slot_unavailable")
        assert refused.json()["reason"] == "not_offered"

    ok(await admin.patch(f"/providers/{provider['id']}", {"is_active": False}))
    retired = await ada.post("/bookings", wish(service, paris("09:00")))
    assert retired.json()["reason"] == "not_offered"


@pytest.mark.parametrize(
    "fields",
    [
        {"start": "2026-03-03T09:00:00"},
        {"start": "2026-03-03"},
        {"start": 1772524800},
        {"start": "1772524800"},
        {"start": "3000-01-01T00:00:00Z"},
        {"start": None},
        {"duration_minutes": 0},
        {"duration_minutes": "half an hour"},
        {"provider_id": "nobody"},
        {"notes": "x" * 5001},
        {"notes": "bell \a"},
        {"surprise": True},
    ],
    ids=str,
)
async def test_a_request_that_is_not_valid_is_refused(
    business: Business, ada: Caller, fields: dict[str, Any]
) -> None:
    service = await business.service()
    await business.provider(service)
    refused = await ada.post("/bookings", wish(service, paris("09:00")) | fields)
    assert code(refused) == (422, "validation_failed")
    assert refused.json()["errors"][0]["pointer"].startswith(f"#/{next(iter(fields))}")


async def test_who_is_not_logged_in_books_nothing(
    app: FastAPI, client: httpx.AsyncClient, business: Business
) -> None:
    service = await business.service()
    await business.provider(service)
    refused = await client.post("/api/v1/bookings", json=wish(service, paris("09:00")))
    assert code(refused) == (401, "unauthenticated")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert await count(app, "bookings") == 0


# --- Which provider --------------------------------------------------------------------------
async def test_without_a_wish_the_free_provider_of_the_highest_priority_is_booked(
    business: Business, ada: Caller, admin: Caller
) -> None:
    service = await business.service()
    low, high, middle = [await business.provider(service) for _ in range(3)]
    assignments = [
        {"provider_id": p["id"], "priority": n} for p, n in ((low, 1), (high, 9), (middle, 5))
    ]
    path = f"/services/{service['id']}/providers"
    ok(await admin.put(path, {"providers": assignments}))
    booked = [
        ok(await ada.post("/bookings", wish(service, paris("09:00"))))["provider"]["id"]
        for _ in range(3)
    ]
    assert booked == [high["id"], middle["id"], low["id"]]
    assert code(await ada.post("/bookings", wish(service, paris("09:00")))) == (409, "slot_taken")


async def test_a_provider_who_is_asked_for_is_booked_whatever_the_priority(
    business: Business, ada: Caller
) -> None:
    service = await business.service()
    providers = [await business.provider(service) for _ in range(3)]
    for provider in reversed(providers):
        wanted = wish(service, paris("09:00"), provider_id=provider["id"])
        assert ok(await ada.post("/bookings", wanted))["provider"]["id"] == provider["id"]
    again = wish(service, paris("09:00"), provider_id=providers[0]["id"])
    assert code(await ada.post("/bookings", again)) == (409, "slot_taken")


async def test_buffers_count_across_the_services_of_one_provider(
    business: Business, ada: Caller
) -> None:
    cut = await business.service(
        durations_minutes=[30], slot_interval_minutes=10, buffer_after_minutes=20
    )
    colour = await business.service(
        durations_minutes=[30], slot_interval_minutes=10, buffer_before_minutes=10
    )
    await business.provider(cut, colour)
    ok(await ada.post("/bookings", wish(cut, paris("10:00"))))  # holds 10:00 to 10:50
    for start in ("10:40", "10:50"):  # its own buffer would begin at 10:30 or 10:40
        assert code(await ada.post("/bookings", wish(colour, paris(start)))) == (409, "slot_taken")
    ok(await ada.post("/bookings", wish(colour, paris("11:00"))))
    # Before 10:00 a cut needs its own 20 minutes, colouring nothing.
    assert code(await ada.post("/bookings", wish(cut, paris("09:20")))) == (409, "slot_taken")
    ok(await ada.post("/bookings", wish(colour, paris("09:30"))))


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [("time_off", 422, "slot_unavailable"), ("external", 409, "slot_taken")],
)
async def test_time_that_other_things_take_is_refused(
    app: FastAPI, business: Business, ada: Caller, kind: str, status: int, error: str
) -> None:
    service = await business.service(buffer_after_minutes=10)
    provider = await business.provider(service)
    database: Database = app.state.database
    async with database.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO allocations (id, subject_id, during, kind) VALUES (gen_random_uuid(),"
                " :id, '[2026-03-03 10:35+01, 2026-03-03 12:00+01)', :kind)"
            ),
            {"id": provider["id"], "kind": kind},
        )
        if kind == "time_off":  # what is off is read where it is declared
            await session.execute(
                text(
                    "INSERT INTO time_off (id, provider_id, during) VALUES (gen_random_uuid(),"
                    " :id, '[2026-03-03 10:35+01, 2026-03-03 12:00+01)')"
                ),
                {"id": provider["id"]},
            )
    for start in ("10:30", "11:30", "10:00"):  # the last one's buffer would end at 10:40
        refused = await ada.post("/bookings", wish(service, paris(start)))
        assert code(refused) == (status, error)
        assert refused.json().get("reason") == ("time_off" if kind == "time_off" else None)
    ok(await ada.post("/bookings", wish(service, paris("12:00"))))


async def test_of_several_providers_the_reason_that_came_closest_is_given(
    business: Business, ada: Caller
) -> None:
    service = await business.service()
    await business.provider(service, hours={"friday": [("09:00", "17:00")]})
    await business.provider(service)
    ok(await ada.post("/bookings", wish(service, paris("09:00"))))
    assert code(await ada.post("/bookings", wish(service, paris("09:00")))) == (409, "slot_taken")
    nobody = await ada.post("/bookings", wish(service, paris("18:00")))
    assert nobody.json()["reason"] == "outside_working_hours"
    unaligned = await ada.post("/bookings", wish(service, paris("10:01")))
    assert unaligned.json()["reason"] == "not_aligned"


# --- For others ------------------------------------------------------------------------------
async def test_only_staff_book_for_others(
    app: FastAPI, business: Business, ada: Caller, grace: Caller, admin: Caller
) -> None:
    service = await business.service()
    await business.provider(service)
    for_grace = wish(service, paris("09:00"), customer_id=grace.user["id"])
    assert code(await ada.post("/bookings", for_grace)) == (403, "forbidden")
    assert await count(app, "bookings") == 0

    booking = ok(await admin.post("/bookings", for_grace))
    assert (booking["customer"]["id"], booking["source"]) == (grace.user["id"], "staff")
    assert ok(await grace.get(f"/bookings/{booking['id']}"))["id"] == booking["id"]
    own = wish(service, paris("10:00"), customer_id=ada.user["id"])
    assert ok(await ada.post("/bookings", own))["source"] == "customer"


async def test_an_unknown_customer_is_refused_and_nothing_is_taken(
    app: FastAPI, business: Business, admin: Caller
) -> None:
    service = await business.service()
    await business.provider(service)
    wanted = wish(service, paris("09:00"), customer_id=str(new_id()))
    for headers in ({}, {"Idempotency-Key": "k"}):
        refused = await admin.post("/bookings", wanted, headers=headers)
        assert code(refused) == (422, "validation_failed")
        assert refused.json()["errors"] == [
            {"detail": "no such account", "pointer": "#/customer_id"}
        ]
    for table in ("bookings", "allocations", "events WHERE type = 'booking.created'"):
        assert await count(app, table) == 0


# --- Seeing ----------------------------------------------------------------------------------
async def test_everyone_sees_their_own_providers_their_calendar_and_admins_all(
    business: Business, ada: Caller, grace: Caller, admin: Caller
) -> None:
    service = await business.service()
    hopper = await business.provider(service, user_id=grace.user["id"])
    other = await business.provider(service)
    by_ada = ok(
        await ada.post("/bookings", wish(service, paris("09:00"), provider_id=hopper["id"]))
    )
    elsewhere = ok(
        await ada.post("/bookings", wish(service, paris("09:00"), provider_id=other["id"]))
    )
    by_grace = ok(
        await grace.post("/bookings", wish(service, paris("11:00"), provider_id=other["id"]))
    )
    stranger = await business.customer("Mallory")

    async def visible_to(caller: Caller) -> set[str]:
        listed = {b["id"] for b in ok(await caller.get("/bookings"))["items"]}
        for booking in (by_ada, elsewhere, by_grace):
            answer = await caller.get(f"/bookings/{booking['id']}")
            assert answer.status_code == (200 if booking["id"] in listed else 404)
        return listed

    assert await visible_to(ada) == {by_ada["id"], elsewhere["id"]}
    assert await visible_to(grace) == {by_ada["id"], by_grace["id"]}
    assert await visible_to(admin) == {by_ada["id"], elsewhere["id"], by_grace["id"]}
    assert await visible_to(stranger) == set()
    filtered = await stranger.get("/bookings", params={"customer_id": ada.user["id"]})
    assert ok(filtered)["items"] == []


async def test_another_persons_booking_looks_like_one_that_is_not_there(
    business: Business, ada: Caller, grace: Caller
) -> None:
    service = await business.service()
    await business.provider(service)
    booking = ok(await ada.post("/bookings", wish(service, paris("09:00"))))
    for suffix, ask in (("", grace.get), ("/cancel", grace.post)):
        foreign = await ask(f"/bookings/{booking['id']}{suffix}")
        absent = await ask(f"/bookings/{new_id()}{suffix}")
        for problem in (foreign.json(), absent.json()):
            problem.pop("instance")
            problem.pop("request_id")
        assert foreign.status_code == absent.status_code == 404
        assert foreign.json().keys() == absent.json().keys()
        assert foreign.json()["detail"] == absent.json()["detail"]
    assert ok(await ada.get(f"/bookings/{booking['id']}"))["status"] == "confirmed"


async def test_lists_are_filtered_and_sorted(
    business: Business, ada: Caller, grace: Caller, admin: Caller
) -> None:
    cut, colour = await business.service(), await business.service()
    provider = await business.provider(cut)
    other = await business.provider(colour)
    late = ok(await ada.post("/bookings", wish(cut, paris("11:00"))))
    early = ok(await grace.post("/bookings", wish(cut, paris("09:00"))))
    gone = ok(await ada.post("/bookings", wish(colour, paris("10:00"))))
    ok(await ada.post(f"/bookings/{gone['id']}/cancel"))

    async def listed(**params: Any) -> list[str]:
        return [b["id"] for b in ok(await admin.get("/bookings", params=params))["items"]]

    e, g, n = early["id"], gone["id"], late["id"]
    assert await listed() == [n, g, e]
    assert await listed(sort="start") == [e, g, n]
    assert await listed(sort="-start") == [n, g, e]
    assert await listed(sort="created_at") == [n, e, g]
    assert await listed(sort="-created_at") == [g, e, n]
    assert await listed(status="cancelled") == [g]
    assert await listed(status=["cancelled", "confirmed"]) == [n, g, e]
    assert await listed(service_id=cut["id"]) == [n, e]
    assert await listed(provider_id=other["id"]) == [g]
    assert await listed(provider_id=provider["id"], customer_id=ada.user["id"]) == [n]
    assert await listed(start_from=paris("10:00")) == [n, g]
    assert await listed(start_to=paris("10:00")) == [e]
    assert await listed(start_from=paris("09:00"), start_to=paris("11:00")) == [g, e]
    assert await listed(start_from="2026-03-03T08:00:00Z", start_to="2026-03-03T09:00:00Z") == [e]
    for params in ({"status": "lost"}, {"sort": "price"}, {"start_from": "2026-03-03"}):
        assert code(await admin.get("/bookings", params=params)) == (422, "validation_failed")


# --- Cancelling ------------------------------------------------------------------------------
async def test_a_cancelled_booking_gives_its_time_back_and_raises_the_calendars_version(
    app: FastAPI, business: Business, ada: Caller, grace: Caller
) -> None:
    service = await business.service()
    provider = await business.provider(service)
    version = "SELECT version FROM calendars WHERE subject_id = :id"
    (before,) = await rows(app, version, id=provider["id"])
    booking = ok(await ada.post("/bookings", wish(service, paris("09:00"))))
    (booked,) = await rows(app, version, id=provider["id"])

    answer = await ada.post(f"/bookings/{booking['id']}/cancel", {"reason": "ill"})
    cancelled = ok(answer)
    (after,) = await rows(app, version, id=provider["id"])
    assert (booked.version, after.version) == (before.version + 1, before.version + 2)
    assert cancelled["status"] == "cancelled"
    assert cancelled["cancelled"] == {
        "by": "customer",
        "reason": "ill",
        "at": "2026-03-02T08:00:00Z",
    }
    assert (cancelled["version"], cancelled["sequence"]) == (2, 1)
    assert answer.headers["etag"] == '"2"'
    assert cancelled["allowed_actions"] == []
    assert await count(app, "allocations") == 0
    ok(await grace.post("/bookings", wish(service, paris("09:00"))))

    again = await ada.post(f"/bookings/{booking['id']}/cancel")
    assert code(again) == (409, "invalid_transition")


async def test_the_deadline_binds_customers_and_not_staff(
    business: Business, ada: Caller, grace: Caller, clock: Hands
) -> None:
    service = await business.service(cancel_until_minutes=24 * 60, durations_minutes=[30])
    await business.provider(service, user_id=grace.user["id"])
    mine, grace_s, admin_s = [
        ok(await ada.post("/bookings", wish(service, paris(time))))
        for time in ("10:00", "10:30", "11:00")
    ]
    assert mine["allowed_actions"] == [
        {"action": "cancel", "until": "2026-03-02T09:00:00Z"},
        {"action": "reschedule", "until": "2026-03-03T09:00:00Z"},
    ]

    clock.now = datetime(2026, 3, 2, 9, 0, 0, 1, UTC)
    ada = await business.log_in(ada.user["email"], PASSWORD)
    refused = await ada.post(f"/bookings/{mine['id']}/cancel")
    assert code(refused) == (422, "policy_violation")
    assert refused.json()["reason"] == "cancel_deadline_passed"
    seen = ok(await ada.get(f"/bookings/{mine['id']}"))
    assert (seen["status"], seen["version"]) == ("confirmed", 1)
    assert [a["action"] for a in seen["allowed_actions"]] == ["reschedule"]

    clock.now = datetime(2026, 3, 3, 9, 30, tzinfo=UTC)  # half past ten in Paris: it has begun
    grace = await business.log_in(grace.user["email"], PASSWORD)
    shown = ok(await grace.get(f"/bookings/{grace_s['id']}"))["allowed_actions"]
    assert {"action": "cancel", "until": None} in shown
    by_provider = ok(await grace.post(f"/bookings/{grace_s['id']}/cancel", {"reason": "ill"}))
    assert by_provider["cancelled"]["by"] == "staff"
    admin = await Business(business.client).admin()
    by_admin = ok(await admin.post(f"/bookings/{admin_s['id']}/cancel"))
    assert (by_admin["status"], by_admin["cancelled"]["by"]) == ("cancelled", "staff")


async def test_at_the_deadline_a_customer_may_still_cancel(
    business: Business, ada: Caller, clock: Hands
) -> None:
    service = await business.service(cancel_until_minutes=24 * 60)
    await business.provider(service)
    booking = ok(await ada.post("/bookings", wish(service, paris("09:00"))))
    assert booking["allowed_actions"][0]["until"] == "2026-03-02T08:00:00Z"
    assert clock.now == datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
    assert ok(await ada.post(f"/bookings/{booking['id']}/cancel"))["status"] == "cancelled"


async def test_who_may_only_read_all_bookings_cannot_cancel_them(
    app: FastAPI, business: Business, ada: Caller, grace: Caller
) -> None:
    service = await business.service()
    await business.provider(service)
    booking = ok(await ada.post("/bookings", wish(service, paris("09:00"))))
    database: Database = app.state.database
    async with database.transaction() as session:
        await session.execute(
            text("INSERT INTO roles (id, name) VALUES (gen_random_uuid(), 'auditor')")
        )
        await session.execute(
            text(
                "INSERT INTO role_permissions SELECT id, 'bookings:read_all' FROM roles"
                " WHERE name = 'auditor'"
            )
        )
        await session.execute(
            text(
                "INSERT INTO user_roles SELECT u.id, r.id FROM users u, roles r"
                " WHERE u.email = :email AND r.name = 'auditor'"
            ),
            {"email": grace.user["email"]},
        )
    app.state.authenticator._standings.clear()
    shown = ok(await grace.get(f"/bookings/{booking['id']}"))
    assert shown["allowed_actions"] == []
    refused = await grace.post(f"/bookings/{booking['id']}/cancel")
    assert code(refused) == (403, "forbidden")
    assert ok(await ada.get(f"/bookings/{booking['id']}"))["status"] == "confirmed"


# --- Snapshots -------------------------------------------------------------------------------
async def test_what_was_agreed_outlives_changes_of_the_service(
    business: Business, ada: Caller, admin: Caller, clock: Hands
) -> None:
    service = await business.service(
        price={"amount": 4500, "currency": "EUR"}, cancel_until_minutes=60
    )
    await business.provider(service)
    booking = ok(await ada.post("/bookings", wish(service, paris("09:00"))))
    change = {
        "price": {"amount": 9900, "currency": "USD"},
        "cancel_until_minutes": 20_160,
        "durations_minutes": [15],
        "buffer_after_minutes": 60,
    }
    ok(await admin.patch(f"/services/{service['id']}", change))

    now = ok(await ada.get(f"/bookings/{booking['id']}"))
    assert now == booking
    # Two weeks of notice are asked for today; an hour was agreed.
    assert ok(await ada.post(f"/bookings/{booking['id']}/cancel"))["status"] == "cancelled"


async def test_a_service_without_a_price_is_booked_without_one(
    business: Business, ada: Caller
) -> None:
    service = await business.service()
    await business.provider(service)
    assert ok(await ada.post("/bookings", wish(service, paris("09:00"))))["price"] is None


@pytest.mark.parametrize(
    ("zone", "start", "shown", "wall"),
    [
        # Paris, Friday before and Monday after 29 March: 09:00 on the wall both times.
        ("Europe/Paris", "2026-03-27T08:00:00Z", "2026-03-27T09:00:00+01:00", "2026-03-27 09:00"),
        ("Europe/Paris", "2026-03-30T07:00:00Z", "2026-03-30T09:00:00+02:00", "2026-03-30 09:00"),
        # Lord Howe goes back by half an hour on 5 April.
        (
            "Australia/Lord_Howe",
            "2026-04-02T22:00:00Z",
            "2026-04-03T09:00:00+11:00",
            "2026-04-03 09:00",
        ),
        (
            "Australia/Lord_Howe",
            "2026-04-05T22:30:00Z",
            "2026-04-06T09:00:00+10:30",
            "2026-04-06 09:00",
        ),
        (
            "America/New_York",
            "2026-03-09T13:00:00Z",
            "2026-03-09T09:00:00-04:00",
            "2026-03-09 09:00",
        ),
    ],
)
async def test_the_wall_time_and_zone_that_were_agreed_are_kept(
    app: FastAPI,
    business: Business,
    ada: Caller,
    zone: str,
    start: str,
    shown: str,
    wall: str,
) -> None:
    service = await business.service()
    await business.provider(service, zone=zone)
    booking = ok(await ada.post("/bookings", wish(service, start)))
    assert (booking["start"], booking["time_zone"]) == (shown, zone)
    (kept,) = await rows(app, "SELECT wall_start, starts_at, time_zone FROM bookings")
    assert kept.wall_start == datetime.fromisoformat(wall)
    assert kept.starts_at == datetime.fromisoformat(start)
    assert kept.time_zone == zone


async def test_the_end_of_a_night_shift_is_shown_in_the_offset_of_its_own_moment(
    business: Business, ada: Caller
) -> None:
    """From 01:00 on 29 March two hours in Paris end at 04:00: the hour from 02:00 is skipped."""
    service = await business.service(durations_minutes=[120])
    hours = {"saturday": [("20:00", "24:00")], "sunday": [("01:00", "08:00")]}
    await business.provider(service, hours=hours)
    booking = ok(await ada.post("/bookings", wish(service, "2026-03-29T01:00:00+01:00")))
    assert (booking["start"], booking["end"]) == (
        "2026-03-29T01:00:00+01:00",
        "2026-03-29T04:00:00+02:00",
    )


# --- Versions --------------------------------------------------------------------------------
async def test_if_match_guards_a_cancellation(business: Business, ada: Caller) -> None:
    service = await business.service()
    await business.provider(service)
    booking = ok(await ada.post("/bookings", wish(service, paris("09:00"))))
    path = f"/bookings/{booking['id']}/cancel"
    for stale in ('"2"', '"0"', 'W/"1"', '"1abc"'):
        refused = await ada.post(path, headers={"If-Match": stale})
        assert code(refused) == (412, "version_mismatch")
    assert code(await ada.post(path, headers={"If-Match": "1"})) == (422, "validation_failed")
    assert ok(await ada.post(path, headers={"If-Match": '"7", "1"'}))["status"] == "cancelled"


async def test_a_booking_that_has_not_changed_is_304(business: Business, ada: Caller) -> None:
    service = await business.service()
    await business.provider(service)
    booking = ok(await ada.post("/bookings", wish(service, paris("09:00"))))
    path = f"/bookings/{booking['id']}"
    tag = (await ada.get(path)).headers["etag"]
    unchanged = await ada.get(path, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == tag
    ok(await ada.post(f"{path}/cancel"))
    changed = await ada.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')


# --- The log ---------------------------------------------------------------------------------
async def test_each_change_is_in_the_log_with_who_did_it_and_its_request(
    app: FastAPI, business: Business, ada: Caller
) -> None:
    service = await business.service()
    provider = await business.provider(service)
    answer = await ada.post(
        "/bookings", wish(service, paris("09:00")), headers={"X-Request-ID": "booking-1"}
    )
    booking = ok(answer)
    await ada.post(
        f"/bookings/{booking['id']}/cancel", {"reason": "ill"}, headers={"X-Request-ID": "cancel-1"}
    )
    created, cancelled = await rows(
        app, "SELECT * FROM events WHERE subject_type = 'booking' ORDER BY id"
    )
    for event, kind, request in (
        (created, "booking.created", "booking-1"),
        (cancelled, "booking.cancelled", "cancel-1"),
    ):
        assert (event.type, event.request_id) == (kind, request)
        assert str(event.subject_id) == booking["id"]
        assert (event.actor_type, str(event.actor_id)) == ("user", ada.user["id"])
    assert created.after["provider_id"] == provider["id"]
    assert created.after["start"] == "2026-03-03T08:00:00+00:00"
    assert (cancelled.before, cancelled.after["status"]) == ({"status": "confirmed"}, "cancelled")
    (transactions,) = await rows(
        app,
        "SELECT e.transaction_id = b.xmin::text::bigint AS together FROM events e, bookings b"
        " WHERE e.type = 'booking.cancelled'",
    )
    assert transactions.together


async def test_what_is_rolled_back_is_not_in_the_log(
    app: FastAPI, business: Business, ada: Caller
) -> None:
    service = await business.service()
    provider = await business.provider(service)
    version = "SELECT version FROM calendars WHERE subject_id = :id"
    before = await rows(app, version, id=provider["id"])

    def breaks(*_: Any) -> None:
        raise RuntimeError("a bug after everything was written")

    with patch.object(bookings_service, "booking_out", breaks):
        broken = await ada.post("/bookings", wish(service, paris("09:00")))
    assert code(broken) == (500, "internal_error")
    for table in ("bookings", "allocations", "events WHERE type = 'booking.created'"):
        assert await count(app, table) == 0
    assert await rows(app, version, id=provider["id"]) == before

    booking = ok(await ada.post("/bookings", wish(service, paris("09:00"))))
    with patch.object(action_service, "booking_out", breaks):
        broken = await ada.post(f"/bookings/{booking['id']}/cancel")
    assert code(broken) == (500, "internal_error")
    assert ok(await ada.get(f"/bookings/{booking['id']}")) == booking
    assert await count(app, "allocations") == 1


async def test_a_loser_of_a_race_writes_nothing(
    app: FastAPI, business: Business, ada: Caller, grace: Caller
) -> None:
    service = await business.service()
    await business.provider(service)
    answers = await asyncio.gather(
        *(caller.post("/bookings", wish(service, paris("09:00"))) for caller in (ada, grace))
    )
    assert sorted(a.status_code for a in answers) == [201, 409]
    for table in ("bookings", "allocations", "events WHERE type = 'booking.created'"):
        assert await count(app, table) == 1
