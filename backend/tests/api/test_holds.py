"""Holds: time that is taken for a while, by whom it may be used, and how it becomes free again."""

import hashlib
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.core.ids import new_id
from app.main import create_app
from tests.business import Business, Caller, Hands, execute, ok, problem, serving
from tests.conftest import make_settings

DAY = "2026-03-03"


def paris(time: str) -> str:
    return f"{DAY}T{time}:00+01:00"


NINE = paris("09:00")
JOBS = "pgqueuer WHERE entrypoint = 'hold.end'"


@pytest.fixture
async def ada(business: Business) -> Caller:
    return await business.customer("Ada Lovelace")


@pytest.fixture
async def grace(business: Business) -> Caller:
    return await business.customer("Grace Hopper")


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    """An hour, that guests may book too, by one provider."""
    service = await business.service(durations_minutes=[60], allow_guests=True)
    await business.provider(service)
    return service


def wish(service: dict[str, Any], start: str = NINE, **fields: Any) -> dict[str, Any]:
    return {"service_id": service["id"], "start": start} | fields


async def rows(app: FastAPI, statement: str, **values: Any) -> list[Any]:
    async with app.state.database.reading() as session:
        return list((await session.execute(text(statement), values)).all())


async def history(app: FastAPI, hold: dict[str, Any]) -> list[str]:
    found = await rows(
        app,
        "SELECT type FROM events WHERE subject_type = 'hold' AND subject_id = :id ORDER BY id",
        id=UUID(hold["id"]),
    )
    return [row.type for row in found]


async def is_free(business: Business, service: dict[str, Any], start: str = NINE) -> bool:
    times = await business.free_times(service, DAY, DAY, time_zone="Europe/Paris")
    return start in times


async def visit(
    client: httpx.AsyncClient, method: str, path: str, secret: str | None = None, **options: Any
) -> httpx.Response:
    headers = {"X-Hold-Secret": secret} if secret else {}
    headers |= options.pop("headers", {})
    return await client.request(method, f"/api/v1{path}", headers=headers, **options)


async def run_jobs(app: FastAPI) -> None:
    """Run the jobs of holds, however long they were to wait."""
    await execute(app, "DELETE FROM pgqueuer WHERE entrypoint LIKE 'auth.%'")
    await execute(app, "UPDATE pgqueuer SET execute_after = now()")
    await app.state.jobs.run_due()


# --- Holding ---------------------------------------------------------------------------------
async def test_a_hold_says_what_is_held_and_until_when(
    app: FastAPI, ada: Caller, service: dict[str, Any]
) -> None:
    answer = await ada.post("/holds", wish(service))
    hold = ok(answer)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/holds/{hold['id']}"
    assert answer.headers["etag"] == '"1"'
    assert len(hold.pop("secret")) == 43  # 256 bits
    assert hold.pop("created_at") == hold.pop("updated_at")
    (provider,) = await rows(app, "SELECT id, display_name FROM providers")
    assert hold == {
        "id": hold["id"],
        "service": {"id": service["id"], "name": service["name"]},
        "provider": {"id": str(provider.id), "display_name": provider.display_name},
        "location_id": None,
        "start": NINE,
        "end": paris("10:00"),
        "time_zone": "Europe/Paris",
        "duration_minutes": 60,
        "seats": 1,
        "expires_at": "2026-03-02T08:05:00Z",
        "is_extended": False,
        "version": 1,
    }
    (event,) = await rows(app, "SELECT * FROM events WHERE type = 'hold.created'")
    assert (event.actor_type, str(event.actor_id)) == ("user", ada.user["id"])
    assert event.after["start"] == "2026-03-03T08:00:00+00:00"


async def test_what_is_held_is_taken_for_everybody(
    business: Business, ada: Caller, grace: Caller, service: dict[str, Any]
) -> None:
    assert await is_free(business, service)
    ok(await ada.post("/holds", wish(service)))
    assert not await is_free(business, service)
    for caller in (ada, grace):
        for path in ("/bookings", "/holds"):
            problem(await caller.post(path, wish(service)), 409, "slot_held")


async def test_a_hold_ends_by_itself_though_nothing_runs(
    business: Business, clock: Hands, ada: Caller, grace: Caller, service: dict[str, Any]
) -> None:
    ok(await ada.post("/holds", wish(service, ttl_seconds=60)))
    clock.advance(seconds=59)
    assert not await is_free(business, service)
    clock.advance(seconds=1)
    assert await is_free(business, service)
    booking = ok(await grace.post("/bookings", wish(service)))
    assert booking["start"] == NINE


@pytest.mark.parametrize("seconds", [59, 901, 0, -1, 60.5, "soon"])
async def test_a_hold_lasts_between_one_and_fifteen_minutes(
    ada: Caller, service: dict[str, Any], seconds: Any
) -> None:
    problem(await ada.post("/holds", wish(service, ttl_seconds=seconds)), 422, "validation_failed")


async def test_only_what_could_be_booked_can_be_held(ada: Caller, service: dict[str, Any]) -> None:
    refused = problem(
        await ada.post("/holds", wish(service, paris("20:00"))), 422, "slot_unavailable"
    )
    assert refused["reason"] == "outside_working_hours"
    problem(await ada.post("/holds", wish({"id": str(new_id())})), 404, "not_found")


async def test_visitors_hold_where_guests_are_admitted_and_nowhere_else(
    app: FastAPI, business: Business, client: httpx.AsyncClient, service: dict[str, Any]
) -> None:
    held = await visit(client, "POST", "/holds", json=wish(service))
    assert held.status_code == 201
    closed = await business.service(durations_minutes=[60])
    await business.provider(closed)
    refused = await visit(client, "POST", "/holds", json=wish(closed))
    problem(refused, 401, "unauthenticated")
    assert refused.headers["www-authenticate"] == "Bearer"
    (event,) = await rows(app, "SELECT * FROM events WHERE type = 'hold.created'")
    assert (event.actor_type, event.actor_id) == ("guest", None)


async def test_who_may_not_book_may_not_hold_either(
    app: FastAPI, ada: Caller, service: dict[str, Any]
) -> None:
    await execute(app, "DELETE FROM user_roles WHERE user_id = :id", id=UUID(ada.user["id"]))
    for path in ("/holds", "/bookings"):
        problem(await ada.post(path, wish(service)), 403, "forbidden")


async def test_of_the_secret_only_a_digest_is_kept(
    app: FastAPI, client: httpx.AsyncClient, service: dict[str, Any]
) -> None:
    key = {"Idempotency-Key": "once"}
    first = await visit(client, "POST", "/holds", json=wish(service), headers=key)
    secret = ok(first)["secret"]
    (hold,) = await rows(app, "SELECT secret_digest FROM holds")
    assert hold.secret_digest == hashlib.sha256(secret.encode()).digest()
    (kept,) = await rows(app, "SELECT body, headers FROM idempotency_keys")
    assert secret.encode() not in kept.body
    again = await visit(client, "POST", "/holds", json=wish(service), headers=key)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["etag"] == first.headers["etag"]
    assert "x-sealed" not in again.headers


# --- How many --------------------------------------------------------------------------------
async def test_a_caller_has_no_more_than_three_holds_at_a_time(
    business: Business, clock: Hands, ada: Caller, grace: Caller, service: dict[str, Any]
) -> None:
    starts = [paris(f"{hour:02}:00") for hour in range(9, 17)]
    for start in starts[:3]:
        ok(await ada.post("/holds", wish(service, start, ttl_seconds=120)))
    refused = problem(await ada.post("/holds", wish(service, starts[3])), 422, "policy_violation")
    assert refused["reason"] == "too_many_holds"
    assert await is_free(business, service, starts[3])
    ok(await grace.post("/holds", wish(service, starts[3])))
    clock.advance(seconds=120)
    ok(await ada.post("/holds", wish(service, starts[4])))


async def test_visitors_from_one_network_are_counted_together(
    app: FastAPI, client: httpx.AsyncClient, service: dict[str, Any]
) -> None:
    def from_address(address: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, client=(address, 1), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost")

    addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8:0:1::1"]
    answers = []
    for hour, address in enumerate(addresses, start=9):
        async with from_address(address) as visitor:
            body = wish(service, paris(f"{hour:02}:00"))
            answers.append((await visit(visitor, "POST", "/holds", json=body)).status_code)
    assert answers == [201, 201, 201, 422, 201]
    callers = {row.caller for row in await rows(app, "SELECT caller FROM holds")}
    assert len(callers) == 2
    assert not any("2001" in caller for caller in callers)


async def test_how_many_is_a_setting(settings: Any, clock: Hands) -> None:
    one = make_settings(POSTGRES_DB=settings.POSTGRES_DB, HOLDS_PER_CALLER=1)
    async with serving(create_app(one, clock=clock)) as client:
        business = Business(client)
        service = await business.service(durations_minutes=[60])
        await business.provider(service)
        ada = await business.customer()
        ok(await ada.post("/holds", wish(service)))
        problem(await ada.post("/holds", wish(service, paris("11:00"))), 422, "policy_violation")


# --- Extending and ending --------------------------------------------------------------------
async def test_a_hold_is_extended_once(
    app: FastAPI, business: Business, clock: Hands, ada: Caller, service: dict[str, Any]
) -> None:
    hold = ok(await ada.post("/holds", wish(service, ttl_seconds=300)))
    clock.advance(minutes=4)
    answer = await ada.patch(f"/holds/{hold['id']}", {"ttl_seconds": 300})
    extended = ok(answer)
    assert answer.headers["etag"] == '"2"'
    assert (extended["expires_at"], extended["is_extended"]) == ("2026-03-02T08:09:00Z", True)
    assert "secret" not in extended
    clock.advance(minutes=4)
    assert not await is_free(business, service)
    refused = await ada.patch(f"/holds/{hold['id']}", {"ttl_seconds": 900})
    assert problem(refused, 422, "policy_violation")["reason"] == "hold_extended_before"
    clock.advance(minutes=1)
    assert await is_free(business, service)
    assert await history(app, hold) == ["hold.created", "hold.extended"]


async def test_an_extension_makes_no_hold_shorter(ada: Caller, service: dict[str, Any]) -> None:
    hold = ok(await ada.post("/holds", wish(service, ttl_seconds=900)))
    extended = ok(await ada.patch(f"/holds/{hold['id']}", {"ttl_seconds": 60}))
    assert extended["expires_at"] == hold["expires_at"]


async def test_an_ended_hold_is_free_at_once(
    app: FastAPI, business: Business, ada: Caller, grace: Caller, service: dict[str, Any]
) -> None:
    hold = ok(await ada.post("/holds", wish(service)))
    assert (await ada.delete(f"/holds/{hold['id']}")).status_code == 204
    assert await is_free(business, service)
    ok(await grace.post("/bookings", wish(service)))
    problem(await ada.delete(f"/holds/{hold['id']}"), 410, "hold_expired")
    assert await history(app, hold) == ["hold.created", "hold.released"]
    await run_jobs(app)
    assert await history(app, hold) == ["hold.created", "hold.released"]
    assert not await is_free(business, service)


async def test_anothers_hold_is_not_there(
    client: httpx.AsyncClient, ada: Caller, grace: Caller, service: dict[str, Any]
) -> None:
    hold = ok(await ada.post("/holds", wish(service)))
    path = f"/holds/{hold['id']}"
    for method, body in (("PATCH", {"ttl_seconds": 60}), ("DELETE", None)):
        # An account's hold is the account's, whoever knows its secret.
        stranger = await visit(client, method, path, hold["secret"], json=body)
        problem(stranger, 404, "not_found")
        problem(await grace.request(method, path, json=body), 404, "not_found")


async def test_a_visitors_hold_obeys_whoever_has_its_secret(
    client: httpx.AsyncClient, ada: Caller, service: dict[str, Any]
) -> None:
    hold = ok(await visit(client, "POST", "/holds", json=wish(service)))
    path, body = f"/holds/{hold['id']}", {"ttl_seconds": 600}
    for wrong in (None, "x", hold["secret"][:-1], hold["secret"] + "x"):
        problem(await visit(client, "PATCH", path, wrong, json=body), 404, "not_found")
        problem(await visit(client, "DELETE", path, wrong), 404, "not_found")
    ok(await visit(client, "PATCH", path, hold["secret"], json=body))
    headers = {"X-Hold-Secret": hold["secret"]}
    assert (await ada.delete(path, headers=headers)).status_code == 204


async def test_what_has_ended_is_gone_for_its_owner_and_unknown_to_others(
    app: FastAPI, clock: Hands, ada: Caller, grace: Caller, service: dict[str, Any]
) -> None:
    hold = ok(await ada.post("/holds", wish(service, ttl_seconds=60)))
    clock.advance(seconds=60)
    for is_cleared in (False, True):
        if is_cleared:
            await run_jobs(app)
            assert await rows(app, "SELECT 1 FROM holds") == []
        path = f"/holds/{hold['id']}"
        problem(await ada.patch(path, {"ttl_seconds": 60}), 410, "hold_expired")
        problem(await ada.delete(path), 410, "hold_expired")
        problem(await grace.delete(path), 404, "not_found")


async def test_a_stale_version_changes_nothing(ada: Caller, service: dict[str, Any]) -> None:
    hold = ok(await ada.post("/holds", wish(service)))
    path, stale = f"/holds/{hold['id']}", {"If-Match": '"7"'}
    answer = await ada.patch(path, {"ttl_seconds": 600}, headers=stale)
    problem(answer, 412, "version_mismatch")
    problem(await ada.delete(path, headers=stale), 412, "version_mismatch")
    assert (await ada.delete(path, headers={"If-Match": '"1"'})).status_code == 204


# --- What runs afterwards --------------------------------------------------------------------
async def test_the_job_clears_away_what_has_ended(
    app: FastAPI, clock: Hands, ada: Caller, service: dict[str, Any]
) -> None:
    hold = ok(await ada.post("/holds", wish(service, ttl_seconds=60)))
    (job,) = await rows(app, f"SELECT execute_after - created AS pause FROM {JOBS}")
    assert round(job.pause.total_seconds()) == 60
    clock.advance(seconds=60)
    await run_jobs(app)
    assert await history(app, hold) == ["hold.created", "hold.expired"]
    assert await rows(app, "SELECT 1 FROM allocations") == []
    assert await rows(app, "SELECT 1 FROM holds") == []
    assert await rows(app, f"SELECT 1 FROM {JOBS}") == []


async def test_the_job_leaves_what_was_extended_and_looks_again(
    app: FastAPI, clock: Hands, ada: Caller, service: dict[str, Any]
) -> None:
    hold = ok(await ada.post("/holds", wish(service, ttl_seconds=60)))
    ok(await ada.patch(f"/holds/{hold['id']}", {"ttl_seconds": 900}))
    clock.advance(seconds=60)
    await run_jobs(app)
    assert await history(app, hold) == ["hold.created", "hold.extended"]
    assert len(await rows(app, "SELECT 1 FROM allocations")) == 1
    clock.advance(minutes=14)
    await run_jobs(app)
    assert await history(app, hold) == ["hold.created", "hold.extended", "hold.expired"]


async def test_the_job_touches_nothing_of_who_took_the_time_since(
    app: FastAPI, business: Business, clock: Hands, ada: Caller, grace: Caller, service: Any
) -> None:
    hold = ok(await ada.post("/holds", wish(service, ttl_seconds=60)))
    clock.advance(seconds=60)
    booking = ok(await grace.post("/bookings", wish(service)))
    await run_jobs(app)
    assert await history(app, hold) == ["hold.created", "hold.expired"]
    (allocation,) = await rows(app, "SELECT id, kind FROM allocations")
    assert (str(allocation.id), allocation.kind) == (booking["id"], "booking")


# --- Shared and several ----------------------------------------------------------------------
async def test_seats_are_held_like_time(
    app: FastAPI, business: Business, clock: Hands, ada: Caller, grace: Caller
) -> None:
    service = await business.service(durations_minutes=[60], capacity=3)
    await business.provider(service)
    hold = ok(await ada.post("/holds", wish(service, seats=2)))
    assert hold["seats"] == 2
    problem(await grace.post("/holds", wish(service, seats=2)), 409, "no_seats_left")
    ok(await grace.post("/holds", wish(service, seats=1, ttl_seconds=60)))
    clock.advance(seconds=60)
    ok(await grace.post("/bookings", wish(service, seats=1)))
    problem(await grace.post("/bookings", wish(service, seats=1)), 409, "no_seats_left")
    ok(await ada.patch(f"/holds/{hold['id']}", {"ttl_seconds": 600}))
    assert (await ada.delete(f"/holds/{hold['id']}")).status_code == 204
    (session,) = await rows(app, "SELECT seats_taken FROM allocations")
    assert session.seats_taken == 1
    ok(await grace.post("/bookings", wish(service, seats=2)))


async def test_held_seats_that_end_leave_nothing_behind(
    app: FastAPI, business: Business, clock: Hands, ada: Caller
) -> None:
    service = await business.service(durations_minutes=[60], capacity=3)
    await business.provider(service)
    hold = ok(await ada.post("/holds", wish(service, seats=2)))
    clock.advance(seconds=300)
    assert await is_free(business, service)
    await run_jobs(app)
    assert await history(app, hold) == ["hold.created", "hold.expired"]
    assert await rows(app, "SELECT 1 FROM allocations") == []
    assert await rows(app, "SELECT 1 FROM session_seats") == []


async def test_a_hold_of_several_takes_the_time_of_all(
    app: FastAPI, business: Business, clock: Hands, ada: Caller, grace: Caller
) -> None:
    service = await business.service(durations_minutes=[60], assignment="collective")
    for _ in range(2):
        await business.provider(service)
    hold = ok(await ada.post("/holds", wish(service)))
    assert len(await rows(app, "SELECT 1 FROM allocations")) == 2
    ok(await ada.patch(f"/holds/{hold['id']}", {"ttl_seconds": 900}))
    expiries = await rows(app, "SELECT expires_at FROM allocations")
    assert {row.expires_at for row in expiries} == {datetime(2026, 3, 2, 8, 15, tzinfo=UTC)}
    problem(await grace.post("/bookings", wish(service)), 409, "slot_held")
    clock.advance(minutes=15)
    await run_jobs(app)
    assert await rows(app, "SELECT 1 FROM allocations") == []


async def test_a_hold_is_assigned_as_a_booking_would_be_and_the_booking_keeps_why(
    business: Business,
) -> None:
    service = await business.service(durations_minutes=[60], assignment="round_robin")
    providers = {(await business.provider(service))["id"] for _ in range(2)}
    admin = await business.admin()
    booked = []
    for start in (NINE, paris("11:00")):
        hold = ok(await admin.post("/holds", wish(service, start)))
        booking = ok(await admin.post("/bookings", wish(service, start, hold_id=hold["id"])))
        assert booking["provider"] == hold["provider"]
        assert booking["assignment"]["strategy"] == "round_robin"
        booked.append(booking["provider"]["id"])
    assert set(booked) == providers


# --- Limits ----------------------------------------------------------------------------------
async def test_holding_is_limited_per_account_and_per_network(settings: Any, clock: Hands) -> None:
    limited = make_settings(
        POSTGRES_DB=settings.POSTGRES_DB,
        RATE_LIMIT_ENABLED=True,
        CACHE_PREFIX=settings.POSTGRES_DB,  # counters of this test only
    )
    async with serving(create_app(limited, clock=clock)) as client:
        body = wish({"id": str(new_id())})
        answer = await visit(client, "POST", "/holds", json=body)
        problem(answer, 404, "not_found")
        for _ in range(119):
            await visit(client, "POST", "/holds", json={})
        refused = await visit(client, "POST", "/holds", json=body)
        problem(refused, 429, "rate_limited")
        assert refused.headers["ratelimit-policy"] == '"holds";q=120;w=900'
        # Who has an account is not kept out by strangers in the same network.
        ada = await Business(client).customer()
        problem(await ada.post("/holds", body), 404, "not_found")
        for _ in range(119):
            await ada.post("/holds", {})
        problem(await ada.post("/holds", body), 429, "rate_limited")
