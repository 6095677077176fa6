"""What a request costs: statements sent to Postgres, without BEGIN, COMMIT and ROLLBACK.

The caller's account is remembered for a second; here it is looked up beforehand and kept, so that
the numbers don't depend on how fast the machine is.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from tests.business import Business, Caller, ok
from tests.statements import statements

WEEK = {"start": "2026-03-03", "end": "2026-03-09"}


@pytest.fixture(name="statements")
def _statements(app: FastAPI) -> Iterator[list[str]]:
    """What was sent to Postgres, whichever connection it took; a test clears it at will."""
    with statements(app) as sent:
        yield sent


@pytest.fixture
async def ada(app: FastAPI, business: Business) -> Caller:
    """A customer whose standing the application remembers for the whole test."""
    ada = await business.customer()
    app.state.authenticator._standings.seconds = float("inf")
    return ada


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    service = await business.service(durations_minutes=[30], slot_interval_minutes=10)
    for _ in range(3):
        await business.provider(service)
    return service


def at(minutes: int) -> str:
    """Tuesday, some minutes after nine in Paris."""
    return f"2026-03-03T{9 + minutes // 60:02}:{minutes % 60:02}:00+01:00"


async def test_free_times_take_two_statements_and_one_once_they_are_known(
    business: Business, service: dict[str, Any], statements: list[str]
) -> None:
    for expected in (2, 1, 1):
        statements.clear()
        await business.free_times(service, WEEK["start"], WEEK["end"])
        assert len(statements) == expected


async def test_free_times_that_have_not_changed_take_one_statement(
    business: Business, service: dict[str, Any], statements: list[str]
) -> None:
    params = {"service_id": service["id"]} | WEEK
    first = await business.client.get("/api/v1/availability", params=params)
    statements.clear()
    tag = {"If-None-Match": first.headers["etag"]}
    again = await business.client.get("/api/v1/availability", params=params, headers=tag)
    assert again.status_code == 304
    assert len(statements) == 1


async def test_booking_takes_two_statements_whether_it_succeeds_or_not(
    ada: Caller, service: dict[str, Any], statements: list[str]
) -> None:
    body = {"service_id": service["id"], "start": at(0)}
    statements.clear()
    ok(await ada.post("/bookings", body))
    assert len(statements) == 2
    statements.clear()
    for _ in range(2):  # the two other providers
        ok(await ada.post("/bookings", body))
    assert len(statements) == 4
    statements.clear()
    assert (await ada.post("/bookings", body)).status_code == 409
    assert len(statements) == 1


GUEST = {"name": "Mary Shelley", "email": "mary@example.com"}
PLAIN: dict[str, Any] = {}
ASKED = {"approval": "required", "allow_guests": True}
CONTESTED: dict[str, Any] = {
    "capacity": 3,
    "limits": {"per_day": 9, "per_week": 9, "per_customer_per_day": 9, "per_customer_active": 9},
    "resource_requirements": [{"resource_kind": "room", "quantity": 1}],
}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (PLAIN, 2),
        (ASKED, 2),
        ({"assignment": "round_robin"}, 4),
        ({"assignment": "least_busy"} | ASKED, 4),
        ({"assignment": "collective"} | CONTESTED, 4),
        (CONTESTED, 4),
        (CONTESTED | ASKED | {"assignment": "round_robin"}, 4),
        (CONTESTED | ASKED | {"assignment": "least_busy"}, 4),
    ],
)
async def test_no_booking_takes_more_than_four_statements(
    business: Business,
    ada: Caller,
    statements: list[str],
    fields: dict[str, Any],
    expected: int,
) -> None:
    admin = await business.admin()
    ok(await admin.post("/resources", {"name": "A", "kind": "room"}))
    service = await business.service(durations_minutes=[30], **fields)
    for _ in range(2):
        await business.provider(service)
    body = {"service_id": service["id"], "start": at(0)}
    statements.clear()
    ok(await ada.post("/bookings", body))
    assert len(statements) == expected
    if service["allow_guests"]:
        statements.clear()
        body |= {"guest": GUEST, "start": at(60)}
        answer = await business.client.post("/api/v1/bookings", json=body)
        assert ok(answer)["manage_token"]
        assert len(statements) == expected


async def test_a_hold_is_used_in_four_statements_at_most(
    business: Business, ada: Caller, statements: list[str]
) -> None:
    service = await business.service(**CONTESTED | ASKED | {"resource_requirements": []})
    await business.provider(service)
    body = {"service_id": service["id"], "start": at(0)}
    hold = ok(await ada.post("/holds", body))
    statements.clear()
    ok(await ada.post("/bookings", body | {"hold_id": hold["id"]}))
    # Lock the hold, read what is offered, lock the customer, write all.
    assert len(statements) == 4


async def test_an_idempotency_key_adds_two_statements_and_a_replay_takes_one(
    ada: Caller, service: dict[str, Any], statements: list[str]
) -> None:
    body = {"service_id": service["id"], "start": at(0)}
    key = {"Idempotency-Key": "k"}
    statements.clear()
    first = await ada.post("/bookings", body, headers=key)
    assert first.status_code == 201
    assert len(statements) == 4  # claim, read, write, keep
    statements.clear()
    assert (await ada.post("/bookings", body, headers=key)).content == first.content
    assert len(statements) == 1


async def test_each_provider_lost_to_a_race_adds_one_statement(
    ada: Caller, service: dict[str, Any], statements: list[str]
) -> None:
    body = {"service_id": service["id"], "start": at(0)}
    statements.clear()
    answers = await asyncio.gather(*(ada.post("/bookings", body) for _ in range(9)))
    assert sorted(a.status_code for a in answers) == [201] * 3 + [409] * 6
    # A read each, and at most one attempt at each of three providers.
    assert len(statements) <= 9 * (1 + 3)


async def test_one_booking_takes_one_statement(
    ada: Caller, service: dict[str, Any], statements: list[str]
) -> None:
    booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": at(0)}))
    statements.clear()
    ok(await ada.get(f"/bookings/{booking['id']}"))
    assert len(statements) == 1


async def test_a_list_takes_one_statement_however_long_it_is(
    business: Business, ada: Caller, service: dict[str, Any], statements: list[str]
) -> None:
    for number in range(50):
        start = at(30 * (number % 16)).replace("03-03", f"03-0{3 + number // 16}")
        ok(await ada.post("/bookings", {"service_id": service["id"], "start": start}))
        if number in {0, 49}:
            statements.clear()
            assert len(ok(await ada.get("/bookings?limit=200"))["items"]) == number + 1
            assert len(statements) == 1


@pytest.mark.parametrize("path", ["/services", "/providers", "/locations", "/resources"])
async def test_the_offer_is_listed_in_two_statements_and_one_once_it_is_known(
    business: Business, service: dict[str, Any], statements: list[str], path: str
) -> None:
    for expected in (2, 1, 1):
        statements.clear()
        ok(await business.client.get(f"/api/v1{path}"))
        assert len(statements) == expected


async def test_cancelling_takes_a_fixed_number_of_statements(
    ada: Caller, service: dict[str, Any], statements: list[str]
) -> None:
    booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": at(0)}))
    statements.clear()
    ok(await ada.post(f"/bookings/{booking['id']}/cancel"))
    # Lock and see it, change and log it, lock its calendar, free its time, tell who waits for it.
    assert len(statements) == 5


async def test_holding_and_using_a_hold_take_a_fixed_number_of_statements(
    ada: Caller, service: dict[str, Any], statements: list[str]
) -> None:
    body = {"service_id": service["id"], "start": at(0)}
    statements.clear()
    hold = ok(await ada.post("/holds", body))
    # See what is free, lock the caller, take the time and write all.
    assert len(statements) == 3
    statements.clear()
    ok(await ada.post("/bookings", body | {"hold_id": hold["id"]}))
    # Lock the hold, read what is offered, write all.
    assert len(statements) == 3


async def test_an_action_that_keeps_its_time_takes_two_statements(
    business: Business, ada: Caller, statements: list[str]
) -> None:
    service = await business.service(approval="required")
    await business.provider(service)
    booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": at(0)}))
    admin = await business.admin()
    statements.clear()
    ok(await admin.post(f"/bookings/{booking['id']}/confirm"))
    # Lock and see it, change and log it; and maybe who the administrator is.
    assert len([s for s in statements if "bookings" in s]) == 2
    assert len(statements) <= 3


async def test_moving_takes_a_fixed_number_of_statements(
    ada: Caller, service: dict[str, Any], statements: list[str]
) -> None:
    booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": at(0)}))
    statements.clear()
    ok(await ada.post(f"/bookings/{booking['id']}/reschedule", {"start": at(60)}))
    # Lock and see it; look, lock the calendars, look again; lock and free the old time; take the
    # new one, change and log it; tell who waits for the old one.
    assert len(statements) == 8
    statements.clear()
    ok(await ada.post(f"/bookings/{booking['id']}/reschedule", {"start": at(60)}))
    assert len(statements) == 1


async def test_what_several_give_with_rooms_is_listed_in_one_statement_too(
    business: Business, ada: Caller, statements: list[str]
) -> None:
    admin = await business.admin()
    for name in "AB":
        ok(await admin.post("/resources", {"name": name, "kind": "room"}))
    service = await business.service(
        assignment="collective", resource_requirements=[{"resource_kind": "room", "quantity": 2}]
    )
    for _ in range(2):
        await business.provider(service)
    for number in range(3):
        body = {"service_id": service["id"], "start": at(30 * number)}
        ok(await ada.post("/bookings", body))
    statements.clear()
    listed = ok(await ada.get("/bookings"))["items"]
    assert len(statements) == 1
    assert [(len(b["providers"]), len(b["resources"])) for b in listed] == [(2, 2)] * 3
    statements.clear()
    ok(await ada.get(f"/bookings/{listed[0]['id']}/history"))
    assert len(statements) == 2
