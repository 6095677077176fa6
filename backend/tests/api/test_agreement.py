"""What is listed, what is explained and what can be booked are one truth, at any point in time."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.availability.rules import Reason
from app.config import Settings
from app.core.caching import AnswerCache
from tests.bazaar import MINUTE, Bazaar, open_bazaar
from tests.business import Business, Hands, ok

SEEDS = range(2)
POINTS = 160
BEFORE = (timedelta(), timedelta(), timedelta(minutes=700))
ORDER = list(Reason)
TAKEN = {"busy", "buffer"}
CONFLICTS = {"slot_taken", "slot_held", "no_seats_left"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As everywhere, with tokens that outlive the day on which the test turns the clock."""
    return settings.model_copy(update={"ACCESS_TOKEN_EXPIRE_MINUTES": 1440})


@pytest.fixture
def clock() -> Hands:
    return Hands(datetime(2026, 3, 27, 7, 31, 30, tzinfo=UTC))


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_is_listed_is_explained_so_and_can_be_booked(
    app: FastAPI, business: Business, clock: Hands, seed: int
) -> None:
    bazaar = await open_bazaar(app, business, seed)
    dice, said, moved = bazaar.dice, Counter[str](), 0
    for _ in range(POINTS):
        wish = await _wish(bazaar)
        said[await _asked_everywhere(bazaar, wish)] += 1
        match dice.randrange(12):
            case 0 | 1:
                await bazaar.hold(seats=False)
            case 2 | 3:
                await bazaar.hold(seats=True)
            case 4:
                await bazaar.change_calendar()
            case 5:
                await _cancel_one(bazaar)
            case 6 | 7 | 8:
                moved += await _moved_where_it_may(bazaar)
            case 9:
                clock.advance(seconds=dice.choice([20, 600, 3600]))
    # The test is worth as much as what came up in it.
    assert {"booked", "outside_working_hours", "not_aligned", "not_offered", "slot_taken"} <= set(
        said
    )
    assert moved


async def _wish(bazaar: Bazaar) -> dict[str, Any]:
    """A point in time and all that can be wished with it: near what was had before, or new."""
    dice = bazaar.dice
    if bazaar.booked and dice.random() < 0.6:
        wish = dict(dice.choice(bazaar.booked))
        start = datetime.fromisoformat(wish["start"])
        match dice.randrange(6):
            case 0:
                wish = _wished(bazaar)
            case 1:
                wish.pop("provider_id", None)
            case 2:
                start += dice.choice([-60, -45, -15, -1, 5, 15, 30]) * MINUTE
            case 3:
                start += dice.choice([-2, -1, 1, 3]) * timedelta(days=1)
    else:
        wish, start = _wished(bazaar), bazaar.start()
        if dice.random() < 0.6:
            offered = await _listed(bazaar.business, wish, start, start + timedelta(days=2))
            if offered:
                start = datetime.fromisoformat(dice.choice(sorted(offered)))
        elif dice.random() < 0.1:
            start += timedelta(seconds=30)
    return wish | {"start": start.astimezone(UTC).isoformat()}


def _wished(bazaar: Bazaar) -> dict[str, Any]:
    dice, service = bazaar.dice, bazaar.dice.choice(bazaar.services)
    wish: dict[str, Any] = {"service_id": service["id"]}
    if dice.random() < 0.3:
        wish["provider_id"] = dice.choice(bazaar.providers)["id"]
    if dice.random() < 0.4:
        wish["duration_minutes"] = dice.choice(service["durations_minutes"])
    if dice.random() < 0.2:
        wish["location_id"] = dice.choice(bazaar.places)
    if service["capacity"] > 1 and dice.random() < 0.5:
        wish["seats"] = dice.randint(1, service["capacity"] + 1)
    return wish


async def _asked_everywhere(bazaar: Bazaar, wish: dict[str, Any]) -> str:
    """Ask all three; what the last of them said."""
    slot, reasons, about = await _judged(bazaar.business, wish, bazaar.dice.choice(BEFORE))
    customer = bazaar.dice.choice(bazaar.customers)
    answer = await bazaar.admin.post("/bookings", wish | {"customer_id": customer.user["id"]})
    body = answer.json()
    about += f" {answer.status_code} {body}"
    assert (answer.status_code == 201) == (slot is not None), about
    if slot is not None:
        assert body["provider"]["id"] in slot["providers"], about
        assert body["provider"]["id"] not in reasons, about
        bazaar.booked.append(wish)
        return "booked"
    _refused_for_the_closest(answer, reasons, about)
    return str(body.get("reason", body["code"]))


async def _moved_where_it_may(bazaar: Bazaar) -> bool:
    """Move a booking: its own time counts as free, for all who are asked."""
    page = ok(await bazaar.admin.get("/bookings?limit=200&status=confirmed&status=pending"))
    ahead = [b for b in page["items"] if datetime.fromisoformat(b["start"]) > bazaar.now]
    if not ahead:
        return False
    booking, minutes = bazaar.dice.choice(ahead), bazaar.dice.choice([-60, -15, 15, 20, 60, 1440])
    start = datetime.fromisoformat(booking["start"]).astimezone(UTC) + minutes * MINUTE
    wish = {
        "service_id": booking["service"]["id"],
        "start": start.isoformat(),
        "duration_minutes": booking["duration_minutes"],
        "seats": booking["seats"],
        "exclude_booking_id": booking["id"],
    }
    if booking["location"]:
        wish["location_id"] = booking["location"]["id"]
    slot, reasons, about = await _judged(bazaar.business, wish, bazaar.dice.choice(BEFORE))
    path = f"/bookings/{booking['id']}/reschedule"
    answer = await bazaar.admin.post(path, {"start": wish["start"]})
    about += f" {answer.status_code} {answer.text}"
    assert (answer.status_code == 200) == (slot is not None), about
    if slot is None:
        _refused_for_the_closest(answer, reasons, about)
        assert ok(await bazaar.admin.get(f"/bookings/{booking['id']}")) == booking, about
        return False
    assert answer.json()["provider"]["id"] in slot["providers"], about
    return True


async def _judged(
    business: Business, wish: dict[str, Any], before: timedelta
) -> tuple[dict[str, Any] | None, dict[str, str], str]:
    """The slot, if it is listed; the reason of each who cannot give it; and all that was said."""
    client, start = business.client, datetime.fromisoformat(wish["start"])
    explained = ok(await client.get("/api/v1/availability/explain", params=wish))
    reasons = {r["provider_id"]: r["reason"] for r in explained["reasons"]}
    slots = await _listed(business, wish, start - before, start + MINUTE)
    slot = slots.get(wish["start"])
    about = f"{wish}: {explained} {slot}"
    assert explained["available"] == (slot is not None), about
    if slot is not None:
        assert not set(slot["providers"]) & set(reasons), about
    return slot, reasons, about


def _refused_for_the_closest(answer: httpx.Response, reasons: dict[str, str], about: str) -> None:
    body, closest = answer.json(), max(reasons.values(), key=lambda why: ORDER.index(Reason(why)))
    if closest in TAKEN:
        assert answer.status_code == 409, about
        assert body["code"] in CONFLICTS, about
    else:
        assert (answer.status_code, body["code"]) == (422, "slot_unavailable"), about
        assert body["reason"] == closest, about


async def _listed(
    business: Business, wish: dict[str, Any], start: datetime, end: datetime
) -> dict[str, dict[str, Any]]:
    """The slots of the range by their start, with the ids of those who are free then."""
    params = wish | {"start": start.isoformat(), "end": end.isoformat(), "time_zone": "UTC"}
    answer = ok(await business.client.get("/api/v1/availability", params=params))
    slots = [slot for day in answer["days"] for slot in day["slots"]]
    starts = [slot["start"] for slot in slots]
    assert starts == sorted(set(starts))
    assert all(slot["seats_left"] >= wish.get("seats", 1) for slot in slots)
    ids = answer["provider_ids"]
    return {s["start"]: s | {"providers": [ids[n] for n in s["providers"]]} for s in slots}


async def test_counts_and_first_times_are_those_of_the_list(
    app: FastAPI, business: Business, clock: Hands
) -> None:
    bazaar = await open_bazaar(app, business, seed=100)
    for service in bazaar.services:
        wish = {"service_id": service["id"], "time_zone": "Europe/Paris"}
        days = {"start": "2026-03-27", "end": "2026-05-10"}
        answer = ok(await business.client.get("/api/v1/availability", params=wish | days))
        counts = ok(await business.client.get("/api/v1/availability/days", params=wish | days))
        assert counts == [{"date": d["date"], "slots": len(d["slots"])} for d in answer["days"]]
        first = ok(
            await business.client.get("/api/v1/availability/next", params=wish | {"count": 50})
        )
        listed = [slot for day in answer["days"] for slot in day["slots"]]
        assert first["provider_ids"] == answer["provider_ids"]
        assert first["slots"] == listed[:50] or len(listed) < 50
        assert first["slots"][: len(listed)] == listed[:50]


async def test_answers_about_one_place_or_person_are_not_those_about_another(
    app: FastAPI, business: Business
) -> None:
    """The questions differ in one thing, and are asked one after the other: answers are kept."""
    bazaar = await open_bazaar(app, business, seed=101)
    days = {"start": "2026-03-27", "end": "2026-04-10", "time_zone": "UTC"}
    for service in bazaar.services:
        wishes: list[dict[str, Any]] = [{"service_id": service["id"]}]
        wishes += [wishes[0] | {"location_id": place} for place in bazaar.places]
        wishes += [wishes[0] | {"provider_id": p["id"]} for p in bazaar.providers]
        wishes += [wishes[0] | {"seats": 2}]
        kept = [
            (await business.client.get("/api/v1/availability", params=wish | days)).content
            for wish in wishes
        ]
        keeper, app.state.answers = app.state.answers, AnswerCache(None, ttl=0)
        for wish, body in zip(wishes, kept, strict=True):
            fresh = await business.client.get("/api/v1/availability", params=wish | days)
            assert fresh.content == body, wish
        app.state.answers = keeper


async def _cancel_one(bazaar: Bazaar) -> None:
    page = ok(await bazaar.admin.get("/bookings?limit=200&status=confirmed&status=pending"))
    if page["items"]:
        booking = bazaar.dice.choice(page["items"])
        ok(await bazaar.admin.post(f"/bookings/{booking['id']}/cancel"))


async def test_time_off_is_time_off_whoever_had_the_time_before(
    app: FastAPI, business: Business, clock: Hands
) -> None:
    """A hold that ends, and a booking that moves, leave behind what was declared meanwhile."""
    talk = await business.service(durations_minutes=[60], slot_interval_minutes=30)
    provider = await business.provider(talk, zone="UTC")
    admin, ada = await business.admin(), await business.customer()
    day = "2026-03-30"
    wish = {"service_id": talk["id"], "start": f"{day}T09:00:00+00:00"}
    booked = ok(await ada.post("/bookings", wish | {"start": f"{day}T14:00:00+00:00"}))
    ok(await ada.post("/holds", wish))
    away = {"start": f"{day}T08:00:00+00:00", "end": f"{day}T16:00:00+00:00"}
    ok(await admin.post(f"/providers/{provider['id']}/time-off", away))
    clock.advance(minutes=30)

    free = ["16:00"]
    assert [s[11:16] for s in await business.free_times(talk, day, day, time_zone="UTC")] == free
    for start in ("09:00", "14:00", "14:30", "10:30"):
        asked = wish | {"start": f"{day}T{start}:00+00:00", "exclude_booking_id": booked["id"]}
        slot, reasons, about = await _judged(business, asked, timedelta())
        assert slot is None, about
        assert reasons == {provider["id"]: "time_off"}, about
    answer = await ada.post("/bookings", wish)
    assert (answer.status_code, answer.json()["reason"]) == (422, "time_off")
    answer = await ada.post(
        f"/bookings/{booked['id']}/reschedule", {"start": f"{day}T14:30:00+00:00"}
    )
    assert (answer.status_code, answer.json().get("reason")) == (422, "time_off")
    # Whoever books at the end of the day removes the hold that has ended, and nothing else.
    ok(await ada.post("/bookings", wish | {"start": f"{day}T16:00:00+00:00"}))
    assert await business.free_times(talk, day, day, time_zone="UTC") == []
