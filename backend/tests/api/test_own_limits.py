"""What a customer may have: who asks with a token is told what booking would say."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.config import Settings
from tests.business import WEEKDAYS, Business, Caller, Hands, ok, problem

NINE = "2026-03-03T09:00:00+01:00"
TEN = NINE.replace("T09", "T10")
ROUND_THE_CLOCK = {day: [("00:00", "24:00")] for day in WEEKDAYS}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Tokens outlive the days on which the test turns the clock."""
    return settings.model_copy(update={"ACCESS_TOKEN_EXPIRE_MINUTES": 7 * 1440})


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    """Once a day and customer, and twice at a time; by two who live on other days."""
    limits = {"per_customer_per_day": 1, "per_customer_active": 2}
    service = await business.service(durations_minutes=[60], limits=limits)
    for zone in ("Asia/Tokyo", "America/Los_Angeles"):
        await business.provider(service, zone=zone, hours=ROUND_THE_CLOCK)
    return service


@pytest.fixture
async def ada(business: Business) -> Caller:
    return await business.customer("Ada Lovelace")


async def explained(caller: Caller, service: dict[str, Any], start: str, **more: Any) -> Any:
    params = {"service_id": service["id"], "start": start} | more
    return ok(await caller.get("/availability/explain", params=params))


def refusal(answer: httpx.Response) -> str:
    return str(answer.json().get("reason", answer.json()["code"]))


async def test_who_has_enough_is_told_so_and_nobody_else(
    client: httpx.AsyncClient, business: Business, ada: Caller, service: dict[str, Any]
) -> None:
    first = ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
    provider = first["provider"]["id"]
    params = {"service_id": service["id"], "start": TEN, "provider_id": provider}
    anybody = ok(await client.get("/api/v1/availability/explain", params=params))
    assert anybody == {"available": True, "reasons": []}
    same = {"provider_id": provider}
    assert await explained(await business.customer(), service, TEN, **same) == anybody
    told = await explained(ada, service, TEN, **same)
    assert told["available"] is False
    assert {r["provider_id"]: r["reason"] for r in told["reasons"]} == {provider: "limit_reached"}
    answer = await ada.post("/bookings", params)
    assert problem(answer, 422, "slot_unavailable")["reason"] == "limit_reached"
    # To move what one has, one needs no more than that.
    moving = await explained(ada, service, TEN, exclude_booking_id=first["id"], **same)
    assert moving["available"]
    ok(await ada.post(f"/bookings/{first['id']}/reschedule", {"start": TEN} | same))


async def test_a_token_that_is_no_good_is_refused_here_too(
    client: httpx.AsyncClient, service: dict[str, Any]
) -> None:
    params = {"service_id": service["id"], "start": NINE}
    headers = {"Authorization": "Bearer nonsense"}
    answer = await client.get("/api/v1/availability/explain", params=params, headers=headers)
    problem(answer, 401, "invalid_token")


async def test_staff_who_ask_about_anothers_booking_are_not_told_of_limits_of_their_own(
    business: Business, ada: Caller, service: dict[str, Any]
) -> None:
    admin = await business.admin()
    for day in ("03", "05"):
        start = NINE.replace("03T", f"{day}T")
        ok(await admin.post("/bookings", {"service_id": service["id"], "start": start}))
    assert not (await explained(admin, service, TEN))["available"]
    hers = ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
    assert (await explained(admin, service, TEN, exclude_booking_id=hers["id"]))["available"]
    ok(await admin.post(f"/bookings/{hers['id']}/reschedule", {"start": TEN}))


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_asked_booking_and_moving_say_the_same(
    business: Business, clock: Hands, ada: Caller, service: dict[str, Any], seed: int
) -> None:
    dice, callers = random.Random(seed), [ada, await business.customer()]
    said: Counter[str] = Counter()
    first = datetime(2026, 3, 3, tzinfo=UTC)
    for _ in range(40):
        caller = dice.choice(callers)
        start = (first + timedelta(hours=dice.randrange(72))).isoformat()
        mine = ok(await caller.get("/bookings?status=confirmed"))["items"]
        if mine and dice.random() < 0.5:
            booking = dice.choice(mine)
            told = await explained(caller, service, start, exclude_booking_id=booking["id"])
            path = f"/bookings/{booking['id']}/reschedule"
            answer = await caller.post(path, {"start": start})
        else:
            told = await explained(caller, service, start)
            answer = await caller.post("/bookings", {"service_id": service["id"], "start": start})
        assert answer.is_success == told["available"], (told, answer.text)
        reasons = {r["provider_id"]: r["reason"] for r in told["reasons"]}
        if answer.is_success:
            assert answer.json()["provider"]["id"] not in reasons
            said["ok"] += 1
        else:
            said[refusal(answer)] += 1
            if refusal(answer) == "limit_reached":
                assert "limit_reached" in reasons.values()
        if mine and dice.random() < 0.2:
            ok(await caller.post(f"/bookings/{dice.choice(mine)['id']}/cancel"))
    assert said["ok"] > 3
    assert said["limit_reached"] > 3
