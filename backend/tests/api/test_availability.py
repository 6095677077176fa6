"""Free times over HTTP: their shape, their entity tag, and that what is offered can be booked."""

import asyncio
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.core.ids import new_id
from tests.business import PASSWORD, WEEKDAYS, Business, Caller, Hands, ok
from tests.statements import statements

# The clock says Monday, 2 March 2026, 08:00 UTC: in Paris it is 09:00.
PARIS = {"time_zone": "Europe/Paris"}
WEEK = {"start": "2026-03-02", "end": "2026-03-08"}
TOMORROW = {"start": "2026-03-03", "end": "2026-03-03"}


@pytest.fixture
async def ada(business: Business) -> Caller:
    return await business.customer("Ada Lovelace")


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


async def ask(
    client: httpx.AsyncClient, service: dict[str, Any], *, tag: str | None = None, **params: Any
) -> httpx.Response:
    headers = {"If-None-Match": tag} if tag else {}
    params = {"service_id": service["id"]} | params
    return await client.get("/api/v1/availability", params=params, headers=headers)


def starts(answer: dict[str, Any]) -> list[str]:
    return [slot["start"] for day in answer["days"] for slot in day["slots"]]


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


# --- The shape -------------------------------------------------------------------------------
async def test_the_answer_has_every_day_in_order_and_names_who_is_free(
    client: httpx.AsyncClient, business: Business
) -> None:
    service = await business.service(durations_minutes=[60, 90])
    first = await business.provider(service, hours={"tuesday": [("09:00", "11:00")]})
    second = await business.provider(service, hours={"tuesday": [("10:00", "12:00")]})
    answer = ok(await ask(client, service, start="2026-03-02", end="2026-03-04", **PARIS))

    def slot(start: str, end: str, *providers: int) -> dict[str, Any]:
        instants = {
            name: f"2026-03-03T{t}:00+01:00" for name, t in (("start", start), ("end", end))
        }
        return instants | {"seats_left": 1, "providers": list(providers)}

    assert answer == {
        "service_id": service["id"],
        "time_zone": "Europe/Paris",
        "duration_minutes": 60,
        "provider_ids": [first["id"], second["id"]],
        "days": [
            {"date": "2026-03-02", "slots": []},
            {
                "date": "2026-03-03",
                "slots": [
                    slot("09:00", "10:00", 0),
                    slot("10:00", "11:00", 0, 1),
                    slot("11:00", "12:00", 1),
                ],
            },
            {"date": "2026-03-04", "slots": []},
        ],
    }


async def test_a_service_that_nobody_gives_has_only_empty_days(
    client: httpx.AsyncClient, business: Business
) -> None:
    answer = ok(await ask(client, await business.service(), **WEEK))
    assert answer["provider_ids"] == []
    assert [d["date"] for d in answer["days"]] == [f"2026-03-0{n}" for n in range(2, 9)]
    assert starts(answer) == []


async def test_a_date_is_a_whole_day_and_an_instant_is_itself(
    client: httpx.AsyncClient, business: Business
) -> None:
    service = await business.service(durations_minutes=[60])
    await business.provider(service)
    tuesday = starts(ok(await ask(client, service, start="2026-03-03", end="2026-03-03", **PARIS)))
    assert [s[11:16] for s in tuesday] == [f"{h:02}:00" for h in range(9, 17)]

    async def between(start: str, end: str) -> list[str]:
        return [
            s[11:16] for s in starts(ok(await ask(client, service, start=start, end=end, **PARIS)))
        ]

    assert await between("2026-03-03T10:00:00+01:00", "2026-03-03T12:00:00+01:00") == [
        "10:00",
        "11:00",
    ]
    assert await between("2026-03-03T09:00:01Z", "2026-03-03T11:00:01Z") == ["11:00", "12:00"]
    assert await between("2026-03-03T09:00:00.5Z", "2026-03-03T11:00:00.5Z") == ["11:00", "12:00"]
    assert await between("2026-03-03T15:00:00+01:00", "2026-03-03") == ["15:00", "16:00"]
    assert await between("2026-03-03", "2026-03-03T10:30:00+01:00") == ["09:00", "10:00"]
    # Midnight is an instant too, and as an end no part of the range.
    assert await between("2026-03-02T16:00:00+01:00", "2026-03-03T00:00:00+01:00") == ["16:00"]


@pytest.mark.parametrize(
    "params",
    [
        {"start": "2026-03-03", "end": "2026-03-02"},
        {"start": "2026-03-03T10:00:00Z", "end": "2026-03-03T10:00:00Z"},
        {"start": "2026-03-03", "end": "2026-05-04"},
        {"start": "2026-03-03T10:00:00", "end": "2026-03-04"},
        {"start": "tomorrow", "end": "2026-03-04"},
        {"start": "1772496000", "end": "2026-03-04"},  # seconds since 1970
        {"start": "2026-02-30", "end": "2026-03-04"},
        {"start": "2026-03-03"},
        {"start": "1969-12-31", "end": "1970-01-02"},
        {
            "start": "1970-01-01T00:00:00+14:00",
            "end": "1970-01-03",
            "time_zone": "Pacific/Pago_Pago",
        },
        {"start": "0001-01-01T00:00:00+14:00", "end": "1970-01-03"},
        {"start": "2199-12-30", "end": "2200-01-01"},
        {"start": "2199-12-30", "end": "9999-12-31T23:59:59-12:00"},
        WEEK | {"time_zone": "Mars/Olympus"},
        WEEK | {"time_zone": "../etc/passwd"},
        WEEK | {"duration_minutes": 45},
        WEEK | {"duration_minutes": 0},
        WEEK | {"provider_id": "nobody"},
        WEEK | {"seats_please": 1},
    ],
    ids=str,
)
async def test_a_question_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, business: Business, params: dict[str, Any]
) -> None:
    service = await business.service()
    await business.provider(service)
    assert code(await ask(client, service, **params)) == (422, "validation_failed")


async def test_sixty_two_days_can_be_asked_for_across_a_change_of_clocks(
    client: httpx.AsyncClient, business: Business
) -> None:
    service = await business.service()
    await business.provider(service)
    # Until 29 March Paris has winter time: these days have an hour less. In autumn, one more.
    for first in (date(2026, 3, 10), date(2026, 10, 1)):
        span = {"start": str(first), "end": str(first + timedelta(days=61))}
        assert len(ok(await ask(client, service, **span, **PARIS))["days"]) == 62


async def test_the_years_that_are_supported_can_be_asked_for_in_every_zone(
    client: httpx.AsyncClient, business: Business
) -> None:
    service = await business.service()
    await business.provider(service, zone="Pacific/Kiritimati")
    for zone in ("Pacific/Pago_Pago", "Pacific/Kiritimati", "UTC"):
        for start, end in (
            ("1970-01-02", "1970-01-03"),
            ("1970-01-01T00:00:00Z", "1970-01-03T00:00:00Z"),
            ("2199-12-29", "2199-12-30"),
            ("2199-12-30T00:00:00Z", "2199-12-31T23:59:59Z"),
        ):
            ok(await ask(client, service, start=start, end=end, time_zone=zone))


async def test_unknown_and_retired_services_are_not_found(
    client: httpx.AsyncClient, business: Business, admin: Caller
) -> None:
    service = await business.service()
    await business.provider(service)
    assert code(await ask(client, {"id": str(new_id())}, **WEEK)) == (404, "not_found")
    ok(await admin.patch(f"/services/{service['id']}", {"is_active": False}))
    assert code(await ask(client, service, **WEEK)) == (404, "not_found")


# --- Zones, durations, providers, locations --------------------------------------------------
async def test_the_zone_is_the_one_asked_for_the_locations_or_the_businesss(
    client: httpx.AsyncClient, business: Business, admin: Caller
) -> None:
    place = ok(await admin.post("/locations", {"name": "Tokyo", "time_zone": "Asia/Tokyo"}))
    service = await business.service()
    await business.provider(service, location_ids=[place["id"]])

    async def zone(**params: Any) -> tuple[str, str]:
        answer = ok(await ask(client, service, **WEEK, **params))
        return answer["time_zone"], starts(answer)[-1]

    assert await zone() == ("UTC", "2026-03-06T15:30:00+00:00")
    at_tokyo = ("Asia/Tokyo", "2026-03-07T00:30:00+09:00")
    assert await zone(location_id=place["id"]) == at_tokyo
    asked = ("America/New_York", "2026-03-06T10:30:00-05:00")
    assert await zone(location_id=place["id"], time_zone="America/New_York") == asked
    ok(await admin.patch(f"/locations/{place['id']}", {"time_zone": "Asia/Kolkata"}))
    assert (await zone(location_id=place["id"]))[0] == "Asia/Kolkata"


async def test_only_who_works_at_the_location_is_offered_there(
    client: httpx.AsyncClient, business: Business, admin: Caller
) -> None:
    here, there = [
        ok(await admin.post("/locations", {"name": n, "time_zone": "UTC"})) for n in ("A", "B")
    ]
    service = await business.service()
    ours = await business.provider(service, location_ids=[here["id"]])
    await business.provider(service)

    async def at(location: str) -> httpx.Response:
        return await ask(client, service, **WEEK, location_id=location)

    assert ok(await at(here["id"]))["provider_ids"] == [ours["id"]]
    assert ok(await at(there["id"]))["provider_ids"] == []
    assert code(await at(str(new_id()))) == (404, "not_found")


async def test_the_duration_and_the_providers_can_be_chosen(
    client: httpx.AsyncClient, business: Business
) -> None:
    service = await business.service(durations_minutes=[30, 90])
    providers = [
        await business.provider(service, hours={"friday": [("09:00", "12:00")]}) for _ in "abc"
    ]
    ids = sorted(p["id"] for p in providers)

    answer = ok(await ask(client, service, **WEEK, **PARIS, duration_minutes=90))
    assert answer["duration_minutes"] == 90
    assert [s[11:16] for s in starts(answer)] == ["09:00", "10:30"]

    two = ok(await ask(client, service, **WEEK, provider_id=[ids[2], ids[0], ids[2]]))
    assert two["provider_ids"] == [ids[0], ids[2]]
    assert {tuple(s["providers"]) for d in two["days"] for s in d["slots"]} == {(0, 1)}
    assert ok(await ask(client, service, **WEEK, provider_id=str(new_id())))["provider_ids"] == []

    # As many as there is room for in a URL: a hundred are no 414, and one more is no question.
    hundred = [str(new_id()) for _ in range(100)]
    assert ok(await ask(client, service, **WEEK, provider_id=hundred))["provider_ids"] == []
    too_many = await ask(client, service, **WEEK, provider_id=[*hundred, ids[0]])
    assert code(too_many) == (422, "validation_failed")


# --- The entity tag --------------------------------------------------------------------------
async def test_the_tag_changes_exactly_when_the_answer_does(
    client: httpx.AsyncClient, business: Business, ada: Caller
) -> None:
    service = await business.service()
    await business.provider(service)
    first = await ask(client, service, **WEEK)
    assert first.headers["cache-control"] == "no-cache"

    far = ok(
        await ada.post("/bookings", {"service_id": service["id"], "start": "2026-04-01T12:00:00Z"})
    )
    unrelated = await ask(client, service, **WEEK)
    assert (unrelated.headers["etag"], unrelated.content) == (first.headers["etag"], first.content)

    near = ok(
        await ada.post("/bookings", {"service_id": service["id"], "start": "2026-03-04T12:00:00Z"})
    )
    changed = await ask(client, service, **WEEK)
    assert changed.headers["etag"] != first.headers["etag"]
    assert len(starts(changed.json())) == len(starts(first.json())) - 1

    for booking in (far, near):
        ok(await ada.post(f"/bookings/{booking['id']}/cancel"))
    restored = await ask(client, service, **WEEK)
    assert (restored.headers["etag"], restored.content) == (first.headers["etag"], first.content)


async def test_an_answer_that_still_holds_is_304_without_a_look_at_what_is_taken(
    app: FastAPI, client: httpx.AsyncClient, business: Business
) -> None:
    service = await business.service()
    await business.provider(service)
    with statements(app) as first_sent:
        first = await ask(client, service, **TOMORROW)
    assert sum("array_agg" in s and "GROUP BY" in s for s in first_sent) == 1

    with statements(app) as sent:
        unchanged = await ask(client, service, **TOMORROW, tag=first.headers["etag"])
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == first.headers["etag"]
    assert unchanged.headers["cache-control"] == "no-cache"
    assert len(sent) == 1
    assert "allocations" not in sent[0]
    assert (await ask(client, service, **TOMORROW, tag='"another"')).status_code == 200


# --- Never stale -----------------------------------------------------------------------------
async def test_the_next_answer_shows_every_change(
    client: httpx.AsyncClient, business: Business, ada: Caller, admin: Caller
) -> None:
    """Whatever changes what is free, the tag that was given before no longer matches."""
    place = ok(await admin.post("/locations", {"name": "A", "time_zone": "Europe/Paris"}))
    service = await business.service(durations_minutes=[60])
    provider = await business.provider(service, location_ids=[place["id"]])
    question = WEEK | {"location_id": place["id"]}
    service_path, provider_path = f"/services/{service['id']}", f"/providers/{provider['id']}"
    wanted = {"service_id": service["id"], "start": "2026-03-03T09:00:00+01:00"}
    known = await ask(client, service, **question)
    seen = {known.headers["etag"]}

    async def free_now() -> list[str]:
        """The free times, after checking that neither tag nor body is an old one."""
        nonlocal known
        answer = await ask(client, service, **question, tag=known.headers["etag"])
        assert answer.status_code == 200, "the old tag still matches"
        known = answer
        seen.add(answer.headers["etag"])
        return starts(answer.json())

    monday, tuesday = "2026-03-02T09:00:00+01:00", "2026-03-03T09:00:00+01:00"
    assert starts(known.json())[0] == monday
    booking = ok(await ada.post("/bookings", wanted))
    assert tuesday not in await free_now()
    ok(await ada.post(f"/bookings/{booking['id']}/cancel"))
    assert tuesday in await free_now()
    await business.schedule(provider, hours={"tuesday": [("14:00", "16:00")]})
    assert [s[11:16] for s in await free_now()] == ["14:00", "15:00"]
    await business.schedule(provider, zone="UTC", hours={"tuesday": [("14:00", "16:00")]})
    assert [s[11:16] for s in await free_now()] == ["15:00", "16:00"]
    ok(await admin.patch(service_path, {"slot_interval_minutes": 30}))
    assert [s[11:16] for s in await free_now()] == ["15:00", "15:30", "16:00"]
    ok(await admin.patch(service_path, {"booking_window_days": 0}))
    assert await free_now() == []
    ok(await admin.patch(service_path, {"booking_window_days": None}))
    assert len(await free_now()) == 3
    ok(await admin.patch(provider_path, {"is_active": False}))
    assert await free_now() == []
    ok(await admin.patch(provider_path, {"is_active": True}))
    assert len(await free_now()) == 3
    ok(await admin.patch(provider_path, {"location_ids": []}))
    assert await free_now() == []
    ok(await admin.patch(provider_path, {"location_ids": [place["id"]]}))
    assert len(await free_now()) == 3
    ok(await admin.put(f"{service_path}/providers", {"providers": []}))
    assert await free_now() == []
    ok(
        await admin.put(
            f"{service_path}/providers", {"providers": [{"provider_id": provider["id"]}]}
        )
    )
    assert len(await free_now()) == 3
    ok(await admin.patch(f"/locations/{place['id']}", {"time_zone": "Asia/Tokyo"}))
    assert (await free_now())[0] == "2026-03-03T23:00:00+09:00"


async def test_a_booking_for_one_service_is_seen_in_the_providers_others(
    client: httpx.AsyncClient, business: Business, ada: Caller
) -> None:
    cut, colour = await business.service(), await business.service(buffer_before_minutes=30)
    await business.provider(cut, colour, hours={"tuesday": [("09:00", "11:00")]})
    assert len(starts(ok(await ask(client, colour, **WEEK)))) == 4
    ok(await ada.post("/bookings", {"service_id": cut["id"], "start": "2026-03-03T09:30:00+01:00"}))
    left = starts(ok(await ask(client, colour, **WEEK, **PARIS)))
    assert [s[11:16] for s in left] == ["09:00", "10:30"]


async def test_the_answer_changes_when_the_clock_passes_the_notice(
    client: httpx.AsyncClient, business: Business, clock: Hands
) -> None:
    service = await business.service(durations_minutes=[60], min_notice_minutes=60)
    await business.provider(service)
    question = {"start": "2026-03-02", "end": "2026-03-02"} | PARIS

    async def first_free() -> str:
        return starts(ok(await ask(client, service, **question)))[0][11:16]

    assert await first_free() == "10:00"  # it is nine in Paris
    known = (await ask(client, service, **question)).headers["etag"]
    clock.advance(seconds=1)
    assert await first_free() == "11:00"
    assert (await ask(client, service, **question, tag=known)).status_code == 200
    clock.now = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    assert await first_free() == "11:00"
    clock.advance(seconds=1)
    assert await first_free() == "12:00"


async def test_a_new_day_opens_the_window_by_one_more(
    client: httpx.AsyncClient, business: Business, clock: Hands
) -> None:
    service = await business.service(booking_window_days=1)
    await business.provider(service)

    async def last_day() -> str:
        return starts(ok(await ask(client, service, **WEEK, **PARIS)))[-1][:10]

    assert await last_day() == "2026-03-03"
    clock.now = datetime(2026, 3, 2, 22, 59, 59, tzinfo=UTC)
    assert await last_day() == "2026-03-03"
    clock.now = datetime(2026, 3, 2, 23, 0, tzinfo=UTC)  # midnight in Paris
    assert await last_day() == "2026-03-04"


async def test_an_answer_made_while_another_books_is_not_kept_past_the_booking(
    client: httpx.AsyncClient, business: Business, ada: Caller
) -> None:
    service = await business.service(durations_minutes=[60])
    await business.provider(service)
    for hour in range(9, 17):
        start = f"2026-03-03T{hour:02}:00:00+01:00"
        booked, *_ = await asyncio.gather(
            ada.post("/bookings", {"service_id": service["id"], "start": start}),
            *(ask(client, service, **WEEK) for _ in range(10)),
        )
        assert booked.status_code == 201
        assert start not in starts(ok(await ask(client, service, **WEEK, **PARIS)))


# --- Days on which clocks change -------------------------------------------------------------
@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        # 02:00 to 03:00 does not exist: an hour less between midnight and five.
        (
            "Europe/Paris",
            "2026-03-29",
            ["00:00:00+01:00", "01:00:00+01:00", "03:00:00+02:00", "04:00:00+02:00"],
        ),
        # 02:00 to 03:00 comes twice.
        (
            "Europe/Paris",
            "2026-10-25",
            [
                "00:00:00+02:00",
                "01:00:00+02:00",
                "02:00:00+02:00",
                "02:00:00+01:00",
                "03:00:00+01:00",
                "04:00:00+01:00",
            ],
        ),
        # 02:00 to 02:30 does not exist; the grid goes on in elapsed hours, until 04:30.
        (
            "Australia/Lord_Howe",
            "2026-10-04",
            ["00:00:00+10:30", "01:00:00+10:30", "02:30:00+11:00", "03:30:00+11:00"],
        ),
        # 01:30 to 02:00 comes twice.
        (
            "Australia/Lord_Howe",
            "2026-04-05",
            [
                "00:00:00+11:00",
                "01:00:00+11:00",
                "01:30:00+10:30",
                "02:30:00+10:30",
                "03:30:00+10:30",
            ],
        ),
    ],
)
async def test_days_with_a_change_of_clocks_are_offered_and_booked_as_they_are(
    client: httpx.AsyncClient,
    business: Business,
    ada: Caller,
    zone: str,
    day: str,
    expected: list[str],
) -> None:
    service = await business.service(durations_minutes=[60])
    await business.provider(service, zone=zone, hours={"sunday": [("00:00", "05:00")]})
    free = starts(ok(await ask(client, service, start=day, end=day, time_zone=zone)))
    assert free == [f"{day}T{time}" for time in expected]
    for start in free:
        booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": start}))
        assert booking["start"] == start


# --- Offered means bookable ------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(4))
async def test_what_is_offered_can_be_booked_and_what_is_not_is_refused(
    client: httpx.AsyncClient, business: Business, clock: Hands, seed: int
) -> None:
    chance = random.Random(seed)
    ada = await business.customer()
    service = await business.service(
        durations_minutes=[chance.choice([20, 45, 60])],
        slot_interval_minutes=chance.choice([None, 10, 25]),
        buffer_before_minutes=chance.choice([0, 10]),
        buffer_after_minutes=chance.choice([0, 15]),
        min_notice_minutes=chance.choice([0, 90]),
        booking_window_days=chance.choice([None, 20]),
    )
    zone = chance.choice(["Europe/Paris", "America/New_York", "Australia/Lord_Howe"])
    shifts = [("00:00", "03:30"), ("09:00", "12:15"), ("13:00", "17:00"), ("22:00", "24:00")]
    for _ in range(2):
        hours = {d: sorted(chance.sample(shifts, chance.randrange(4))) for d in WEEKDAYS}
        await business.provider(service, zone=zone, hours=hours)

    clock.now = datetime(2026, 3, 20, 8, 7, 30, tzinfo=UTC)  # a week before Paris' summer time
    ada = await business.log_in(ada.user["email"], PASSWORD)
    month = {"start": "2026-03-20", "end": "2026-04-18", "time_zone": zone}

    async def offered() -> dict[datetime, int]:
        answer = ok(await ask(client, service, **month))
        assert starts(answer) == sorted(starts(answer), key=datetime.fromisoformat)
        return {
            datetime.fromisoformat(slot["start"]): len(slot["providers"])
            for day in answer["days"]
            for slot in day["slots"]
        }

    for _ in range(25):
        free = await offered()
        start = chance.choice(list(free))
        wanted = {"service_id": service["id"], "start": start.isoformat()}
        ok(await ada.post("/bookings", wanted))
        after = await offered()
        assert after.get(start, 0) == free[start] - 1
        assert all(after[s] <= free[s] for s in after)

        other = chance.choice(list(free)) + timedelta(minutes=chance.choice([0, 5, 7, 600]))
        answer = await ada.post("/bookings", wanted | {"start": other.isoformat()})
        if other in after:
            assert answer.status_code == 201
        else:
            assert answer.status_code in {409, 422}
            assert answer.json()["code"] in {"slot_taken", "slot_unavailable"}
            assert ("reason" in answer.json()) == (answer.status_code == 422)
