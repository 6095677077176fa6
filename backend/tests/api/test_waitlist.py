"""Waiting lists: what becomes free is kept for the first in line for a while, then for the next."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.config import Settings
from app.core.ids import new_id
from app.core.jobs import JobRunner, running
from tests.business import PASSWORD, Business, Caller, Hands, execute, ok, problem
from tests.mailbox import Mailbox, texts

# The clock says Monday, 2 March 2026, 08:00 UTC: in Paris it is 09:00.
DAY = "2026-03-03"


def at(time: str, day: str = DAY) -> str:
    return f"{day}T{time}:00+01:00"


def window(start: str = "09:00", end: str = "12:00", day: str = DAY) -> dict[str, str]:
    return {"start": at(start, day), "end": at(end, day)}


@pytest.fixture
def settings(settings: Settings, mailbox: Mailbox) -> Settings:
    return settings.model_copy(update=mailbox.settings | {"ACCOUNT_MAIL_DELAY_SECONDS": 0})


@pytest.fixture
async def ada(business: Business) -> Caller:
    return await business.customer("Ada Lovelace")


@pytest.fixture
async def grace(business: Business) -> Caller:
    return await business.customer("Grace Hopper")


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    """One provider gives it, who has one hour a day, on Tuesdays."""
    service = await business.service(durations_minutes=[60])
    provider = await business.provider(service, hours={"tuesday": [("09:00", "10:00")]})
    return service | {"provider": provider}


async def book(caller: Caller, service: dict[str, Any], start: str = "09:00") -> Any:
    return ok(await caller.post("/bookings", {"service_id": service["id"], "start": at(start)}))


async def wait(caller: Caller, service: dict[str, Any], **fields: Any) -> Any:
    body = {"service_id": service["id"], "windows": [window()]} | fields
    return ok(await caller.post("/waitlist", body))


async def mine(caller: Caller) -> Any:
    """The caller's only entry, as it is once all jobs that are due have run."""
    (entry,) = ok(await caller.get("/waitlist"))["items"]
    return entry


async def work(app: FastAPI) -> None:
    """Run what is due, and what that brings about."""
    for _ in range(2):
        await app.state.jobs.run_due()


async def announce(app: FastAPI) -> None:
    """What runs every minute."""
    _, routine = app.state.jobs._routines["waitlist.sweep"]
    await routine()


async def sweep(app: FastAPI) -> None:
    await announce(app)
    await work(app)


async def end_of_offers(app: FastAPI, clock: Hands, minutes: float = 16) -> None:
    """Let time pass, for Postgres' clock too, which says when jobs are due."""
    clock.advance(minutes=minutes)
    await execute(app, "UPDATE pgqueuer SET execute_after = now() WHERE entrypoint = 'hold.end'")
    for _ in range(2):
        await work(app)


async def again(business: Business, caller: Caller) -> Caller:
    """The same account with a token that the clock has not outlived."""
    return await business.log_in(caller.user["email"], PASSWORD)


# --- Joining ---------------------------------------------------------------------------------
async def test_an_entry_says_what_is_waited_for(
    app: FastAPI, business: Business, service: dict[str, Any], ada: Caller, admin: Caller
) -> None:
    await book(admin, service)
    windows = [window("11:00", "12:00"), window("09:00", "10:00"), window("10:00", "10:30")]
    answer = await ada.post(
        "/waitlist",
        {
            "service_id": service["id"],
            "windows": windows,
            "provider_id": service["provider"]["id"],
            "duration_minutes": 60,
        },
    )
    assert problem(answer, 422, "validation_failed")["errors"][0]["pointer"] == "#/windows/2"
    entry = await wait(ada, service, windows=windows[:2], provider_id=service["provider"]["id"])
    assert entry["status"] == "waiting"
    assert entry["service"]["id"] == service["id"]
    assert entry["provider"]["id"] == service["provider"]["id"]
    assert entry["customer_id"] == ada.user["id"]
    assert entry["windows"] == [
        {"start": "2026-03-03T08:00:00Z", "end": "2026-03-03T09:00:00Z"},
        {"start": "2026-03-03T10:00:00Z", "end": "2026-03-03T11:00:00Z"},
    ]
    assert (entry["seats"], entry["offer"], entry["booking_id"]) == (1, None, None)
    await work(app)
    assert await mine(ada) == entry


async def test_what_can_never_be_offered_is_refused(
    business: Business, service: dict[str, Any], ada: Caller
) -> None:
    nobody = {"service_id": str(new_id()), "windows": [window()]}
    problem(await ada.post("/waitlist", nobody), 404, "not_found")
    for fields, pointer in (
        ({"windows": []}, "#/windows"),
        ({"windows": [window()] * 11}, "#/windows"),
        ({"windows": [window("12:00", "09:00")]}, "#/windows/0"),
        ({"windows": [{"start": at("09:00"), "end": at("09:00", "2026-04-04")}]}, "#/windows/0"),
        ({"windows": [window(), window(day="2026-03-01")]}, "#/windows/1/end"),
        ({"windows": [window("09:00", "09:30")]}, "#/windows/0"),
        ({"duration_minutes": 45}, "#/duration_minutes"),
        ({"seats": 2}, "#/seats"),
        ({"provider_id": str(new_id())}, "#/provider_id"),
    ):
        body = {"service_id": service["id"], "windows": [window()]} | fields
        refused = problem(await ada.post("/waitlist", body), 422, "validation_failed")
        assert refused["errors"][0]["pointer"] == pointer


async def test_nobody_waits_for_more_than_twenty_times(
    service: dict[str, Any], ada: Caller
) -> None:
    for _ in range(20):
        await wait(ada, service)
    body = {"service_id": service["id"], "windows": [window()]}
    refused = problem(await ada.post("/waitlist", body), 422, "policy_violation")
    assert refused["reason"] == "too_many_entries"


async def test_what_is_free_already_is_offered_at_once(
    app: FastAPI, service: dict[str, Any], ada: Caller
) -> None:
    await wait(ada, service)
    await work(app)
    assert (await mine(ada))["offer"]["start"] == at("09:00")


async def test_each_sees_their_own_and_staff_sees_all(
    app: FastAPI, service: dict[str, Any], ada: Caller, grace: Caller, admin: Caller
) -> None:
    await book(admin, service)
    hers, graces = await wait(ada, service), await wait(grace, service)
    assert ok(await ada.get("/waitlist"))["items"] == [hers]
    everyones = ok(await admin.get("/waitlist", params={"service_id": service["id"]}))["items"]
    assert everyones == [hers, graces]
    nothing = {"status": "offered"}, {"service_id": str(new_id())}
    for params in nothing:
        assert ok(await admin.get("/waitlist", params=params))["items"] == []
    for answer in (
        await grace.delete(f"/waitlist/{hers['id']}"),
        await grace.post(f"/waitlist/{hers['id']}/accept"),
        await admin.post(f"/waitlist/{hers['id']}/accept"),
    ):
        problem(answer, 404, "not_found")


# --- Offers ----------------------------------------------------------------------------------
async def test_what_is_cancelled_is_offered_to_the_first_in_line(
    app: FastAPI,
    business: Business,
    service: dict[str, Any],
    ada: Caller,
    grace: Caller,
    admin: Caller,
    mailbox: Mailbox,
) -> None:
    booking = await book(admin, service)
    await wait(ada, service)
    await wait(grace, service)
    await work(app)
    assert (await mine(ada))["status"] == "waiting"
    ok(await admin.post(f"/bookings/{booking['id']}/cancel"))
    await work(app)
    entry = await mine(ada)
    assert entry["status"] == "offered"
    assert entry["offer"] == {
        "start": at("09:00"),
        "end": at("10:00"),
        "time_zone": "Europe/Paris",
        "provider": {
            "id": service["provider"]["id"],
            "display_name": service["provider"]["display_name"],
        },
        "until": "2026-03-02T08:15:00Z",
    }
    assert (await mine(grace))["status"] == "waiting"
    # It is hers alone: for everybody else it is taken.
    body = {"service_id": service["id"], "start": at("09:00")}
    problem(await grace.post("/bookings", body), 409, "slot_held")
    assert await business.free_times(service, DAY, DAY) == []
    await app.state.jobs.run_due()
    mails = [m for m in mailbox.to(ada.user["email"]) if "free" in m["Subject"]]
    (mail,) = mails
    for content in texts(mail):
        assert f"http://localhost:5173/waitlist/{entry['id']}" in content
        assert "Tuesday, March 3, 2026" in content
        assert "9:00\N{NARROW NO-BREAK SPACE}AM" in content
        assert "until 9:15\N{NARROW NO-BREAK SPACE}AM" in content
    assert not [m for m in mailbox.to(grace.user["email"]) if "free" in m["Subject"]]


async def test_an_offer_is_accepted_by_booking_what_is_held(
    app: FastAPI, service: dict[str, Any], ada: Caller
) -> None:
    entry = await wait(ada, service)
    problem(await ada.post(f"/waitlist/{entry['id']}/accept"), 409, "invalid_transition")
    await work(app)
    answer = await ada.post(f"/waitlist/{entry['id']}/accept", {"notes": "At last"})
    booking = ok(answer)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/bookings/{booking['id']}"
    assert (booking["start"], booking["status"]) == (at("09:00"), "confirmed")
    assert booking["notes"] == "At last"
    entry = await mine(ada)
    assert (entry["status"], entry["booking_id"]) == ("accepted", booking["id"])
    assert entry["offer"] is None
    problem(await ada.post(f"/waitlist/{entry['id']}/accept"), 409, "invalid_transition")
    problem(await ada.delete(f"/waitlist/{entry['id']}"), 409, "invalid_transition")


async def test_an_offer_that_ends_goes_to_the_next_and_then_to_nobody(
    app: FastAPI,
    business: Business,
    service: dict[str, Any],
    ada: Caller,
    grace: Caller,
    clock: Hands,
) -> None:
    entry = await wait(ada, service)
    await wait(grace, service)
    await work(app)
    clock.advance(minutes=16)
    ada, grace = await again(business, ada), await again(business, grace)
    # Nobody has noticed yet that it is over.
    assert (await mine(ada))["offer"] is None
    problem(await ada.post(f"/waitlist/{entry['id']}/accept"), 410, "hold_expired")
    await end_of_offers(app, clock, 0)
    assert (await mine(grace))["offer"]["start"] == at("09:00")
    # She waits on for what has not been offered to her: 10 to 12, when nobody works.
    hers = await mine(ada)
    assert (hers["status"], hers["windows"][0]["start"]) == ("waiting", "2026-03-03T09:00:00Z")
    problem(await ada.post(f"/waitlist/{entry['id']}/accept"), 410, "hold_expired")
    await end_of_offers(app, clock)
    ada, grace = await again(business, ada), await again(business, grace)
    assert [(await mine(c))["status"] for c in (ada, grace)] == ["waiting", "waiting"]
    assert len(await business.free_times(service, DAY, DAY)) == 1


async def test_who_leaves_makes_way_for_the_next(
    app: FastAPI, service: dict[str, Any], ada: Caller, grace: Caller
) -> None:
    entry = await wait(ada, service)
    await wait(grace, service)
    await work(app)
    offered = await mine(ada)
    stale = {"If-Match": f'"{entry["version"]}"'}
    problem(await ada.delete(f"/waitlist/{entry['id']}", headers=stale), 412, "version_mismatch")
    seen = {"If-Match": f'"{offered["version"]}"'}
    gone = await ada.delete(f"/waitlist/{entry['id']}", headers=seen)
    assert gone.status_code == 204
    await work(app)
    assert (await mine(ada))["status"] == "withdrawn"
    assert (await mine(grace))["offer"]["start"] == at("09:00")


async def test_a_hold_that_ends_is_offered(
    app: FastAPI, service: dict[str, Any], ada: Caller, grace: Caller
) -> None:
    body = {"service_id": service["id"], "start": at("09:00")}
    hold = ok(await grace.post("/holds", body))
    await wait(ada, service)
    await work(app)
    assert (await mine(ada))["status"] == "waiting"
    assert (await grace.delete(f"/holds/{hold['id']}")).status_code == 204
    await work(app)
    assert (await mine(ada))["status"] == "offered"


async def test_an_offer_can_be_booked_as_any_hold(
    app: FastAPI, service: dict[str, Any], ada: Caller
) -> None:
    await wait(ada, service)
    await work(app)
    async with app.state.database.reading() as session:
        hold_id = (await session.execute(text("SELECT id FROM holds"))).scalar_one()
    body = {"service_id": service["id"], "start": at("09:00"), "hold_id": str(hold_id)}
    booking = ok(await ada.post("/bookings", body))
    await sweep(app)
    entry = await mine(ada)
    assert (entry["status"], entry["booking_id"]) == ("accepted", booking["id"])


async def test_an_offer_can_be_given_up_as_any_hold(
    app: FastAPI, service: dict[str, Any], ada: Caller, grace: Caller
) -> None:
    entry = await wait(ada, service)
    await wait(grace, service)
    await work(app)
    async with app.state.database.reading() as session:
        hold_id = (await session.execute(text("SELECT id FROM holds"))).scalar_one()
    assert (await ada.delete(f"/holds/{hold_id}")).status_code == 204
    problem(await ada.post(f"/waitlist/{entry['id']}/accept"), 410, "hold_expired")
    await work(app)
    assert [(await mine(c))["status"] for c in (ada, grace)] == ["waiting", "offered"]


async def test_what_moves_away_leaves_its_time_to_who_waits(
    app: FastAPI, service: dict[str, Any], ada: Caller, admin: Caller
) -> None:
    booking = await book(admin, service)
    await wait(ada, service)
    later = {"start": at("09:00", "2026-03-10")}
    ok(await admin.post(f"/bookings/{booking['id']}/reschedule", later))
    await work(app)
    assert (await mine(ada))["offer"]["start"] == at("09:00")


async def test_what_ends_a_series_is_offered(
    app: FastAPI, service: dict[str, Any], ada: Caller, admin: Caller
) -> None:
    body = {"service_id": service["id"], "start": at("09:00"), "rrule": "FREQ=WEEKLY;COUNT=2"}
    series = ok(await admin.post("/booking-series", body))
    await wait(ada, service)
    ok(await admin.post(f"/booking-series/{series['id']}/cancel", {"scope": "all"}))
    await work(app)
    assert (await mine(ada))["offer"]["start"] == at("09:00")


async def test_time_freed_of_another_service_is_offered_too(
    app: FastAPI, business: Business, service: dict[str, Any], ada: Caller, admin: Caller
) -> None:
    other = await business.service(durations_minutes=[60])
    path = f"/services/{other['id']}/providers"
    ok(await admin.put(path, {"providers": [{"provider_id": service["provider"]["id"]}]}))
    booking = await book(admin, other)
    await wait(ada, service)
    ok(await admin.post(f"/bookings/{booking['id']}/cancel"))
    await work(app)
    assert (await mine(ada))["status"] == "offered"


async def test_each_is_asked_for_what_suits_them(
    app: FastAPI, business: Business, ada: Caller, grace: Caller, admin: Caller
) -> None:
    service = await business.service(durations_minutes=[60, 120])
    first = await business.provider(service, hours={"tuesday": [("09:00", "11:00")]})
    second = await business.provider(service, hours={"tuesday": [("10:00", "12:00")]})
    wishes = [
        {"windows": [window("13:00", "17:00")]},
        {"provider_id": second["id"], "duration_minutes": 120},
        {"windows": [window("09:30", "11:00")]},
        {"windows": [window("08:00", "10:00")]},
    ]
    for number, wish in enumerate(wishes):
        await wait(ada if number % 2 else grace, service, **wish)
    await work(app)
    params = {"service_id": service["id"]}
    offers = [e["offer"] for e in ok(await admin.get("/waitlist", params=params))["items"]]
    assert [o and (o["start"], o["provider"]["id"]) for o in offers] == [
        None,
        (at("10:00"), second["id"]),
        (at("10:00"), first["id"]),
        (at("09:00"), first["id"]),
    ]


async def test_seats_of_a_group_are_offered_as_they_are_given_back(
    app: FastAPI, business: Business, ada: Caller, grace: Caller, admin: Caller
) -> None:
    service = await business.service(durations_minutes=[60], capacity=3)
    await business.provider(service, hours={"tuesday": [("09:00", "10:00")]})
    body = {"service_id": service["id"], "start": at("09:00")}
    ok(await admin.post("/bookings", body | {"seats": 2}))
    last = ok(await admin.post("/bookings", body))
    await wait(ada, service, seats=2)
    await wait(grace, service)
    ok(await admin.post(f"/bookings/{last['id']}/cancel"))
    await work(app)
    assert (await mine(ada))["status"] == "waiting"
    entry = await mine(grace)
    assert entry["offer"]["start"] == at("09:00")
    booking = ok(await grace.post(f"/waitlist/{entry['id']}/accept"))
    assert booking["seats"] == 1


async def test_the_sweep_finds_what_nobody_announces(
    app: FastAPI, business: Business, service: dict[str, Any], ada: Caller, admin: Caller
) -> None:
    off = {"start": at("00:00"), "end": at("23:00")}
    away = ok(await admin.post(f"/providers/{service['provider']['id']}/time-off", off))
    await wait(ada, service)
    await work(app)
    assert (await mine(ada))["status"] == "waiting"
    path = f"/providers/{service['provider']['id']}/time-off/{away['id']}"
    assert (await admin.delete(path)).status_code == 204
    await work(app)
    assert (await mine(ada))["status"] == "waiting"
    await sweep(app)
    assert (await mine(ada))["status"] == "offered"


async def test_who_waits_in_vain_is_told_that_it_is_over(
    app: FastAPI,
    business: Business,
    service: dict[str, Any],
    ada: Caller,
    admin: Caller,
    clock: Hands,
) -> None:
    await book(admin, service)
    await wait(ada, service)
    clock.advance(days=2)
    await sweep(app)
    assert (await mine(await again(business, ada)))["status"] == "expired"


async def test_however_often_it_is_looked_at_each_is_offered_one_time(
    app: FastAPI, service: dict[str, Any], ada: Caller, grace: Caller
) -> None:
    await wait(ada, service)
    await wait(grace, service)
    for _ in range(3):
        await announce(app)
    await asyncio.gather(*(app.state.jobs.run_due() for _ in range(2)))
    await work(app)
    assert [(await mine(c))["status"] for c in (ada, grace)] == ["offered", "waiting"]


async def test_who_is_forgotten_waits_no_longer(
    app: FastAPI, service: dict[str, Any], ada: Caller, admin: Caller
) -> None:
    await book(admin, service)
    await wait(ada, service)
    exported = ok(await ada.get("/auth/me/export"))
    assert [e["status"] for e in exported["waitlist"]] == ["waiting"]
    gone = await ada.request("DELETE", "/auth/me", json={"password": PASSWORD})
    assert gone.status_code == 204
    assert ok(await admin.get("/waitlist"))["items"] == []


# --- Routines --------------------------------------------------------------------------------
async def test_a_routine_is_run_by_one_of_all_runners_when_it_is_time(
    app: FastAPI, settings: Settings
) -> None:
    done, runs = asyncio.Event(), 0

    async def routine() -> None:
        nonlocal runs
        runs += 1
        done.set()

    await execute(
        app,
        "INSERT INTO pgqueuer_schedules (expression, entrypoint, next_run, status)"
        " VALUES ('0 0 1 1 *', 'routine', now(), 'queued')",
    )
    # Two runners, one run: whoever takes it sets the next time.
    routines = {"routine": ("0 0 1 1 *", routine)}
    async with (
        running(JobRunner(settings, {}, routines)),
        running(JobRunner(settings, {}, routines)),
    ):
        await done.wait()
    assert runs == 1
