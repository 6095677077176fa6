"""Calendar feeds: secret addresses that calendars read again and again."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from icalendar import Calendar
from sqlalchemy import text

from app.bookings import feed_service
from app.bookings.dependencies import FEEDS
from app.bookings.feed_service import MAXIMUM_FEEDS
from app.config import Settings
from app.core import redis
from app.main import create_app
from tests.business import PASSWORD, Business, Caller, Hands, execute, grant, ok, problem, serving
from tests.statements import statements

NINE, TEN, NOON = (f"2026-03-03T{hour}:00:00+01:00" for hour in ("09", "10", "12"))


async def subscribe(caller: Caller, shows: str = "bookings") -> str:
    """The address of a new feed."""
    return str(ok(await caller.post("/calendar-feeds", {"shows": shows}))["url"])


async def read(client: httpx.AsyncClient, url: str) -> list[Any]:
    """The feed's events; whoever asks has nothing but the address."""
    answer = await client.get(url)
    assert answer.status_code == 200, answer.text
    calendar = Calendar.from_ical(answer.content)
    assert calendar["method"] == "PUBLISH"
    return list(calendar.walk("VEVENT"))


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    return await business.service(allow_guests=True)


@pytest.fixture
async def grace(business: Business, service: dict[str, Any]) -> Caller:
    """Who gives the service."""
    grace = await business.customer("Grace Hopper")
    await business.provider(service, user_id=grace.user["id"], display_name="Grace")
    return grace


@pytest.fixture
async def ada(business: Business) -> Caller:
    return await business.customer()


@pytest.fixture
def told(app: FastAPI) -> Iterator[list[str]]:
    with statements(app) as sent:
        yield sent


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"MAIL_FROM_NAME": "The desk"})


# --- What it shows ---------------------------------------------------------------------------
async def test_a_customers_feed_follows_what_becomes_of_the_bookings(
    client: httpx.AsyncClient,
    business: Business,
    service: dict[str, Any],
    grace: Caller,
    ada: Caller,
) -> None:
    url = await subscribe(ada)
    assert await read(client, url) == []
    booking = await business.booking(service, NINE, caller=ada, notes="Mine")
    await business.booking(service, NOON)
    (event,) = await read(client, url)
    assert event["summary"] == f"{service['name']}, Grace"
    assert event["uid"] == f"{booking['id']}@oneslot"
    assert event["organizer"] == "mailto:no-reply@example.com"
    assert event["organizer"].params["CN"] == "The desk"
    assert event["url"] == f"http://localhost:5173/bookings/{booking['id']}"
    assert event.decoded("dtstart").isoformat() == NINE
    ok(await ada.post(f"/bookings/{booking['id']}/reschedule", {"start": TEN}))
    (moved,) = await read(client, url)
    assert moved.decoded("dtstart").isoformat() == TEN
    assert (moved["uid"], moved["sequence"]) == (event["uid"], event["sequence"] + 1)
    ok(await ada.post(f"/bookings/{booking['id']}/cancel"))
    assert await read(client, url) == []


async def test_a_providers_feed_says_who_comes_and_what_they_wrote(
    client: httpx.AsyncClient,
    business: Business,
    service: dict[str, Any],
    grace: Caller,
    ada: Caller,
) -> None:
    url = await subscribe(grace, "calendar")
    other = await business.service()
    await business.provider(other)
    await business.booking(other, NINE, caller=ada)
    await business.booking(other, NOON, caller=grace)  # as a customer, elsewhere
    await business.booking(service, NINE, caller=ada, notes="On the left")
    guest = {"name": "Mary Shelley", "email": "mary@example.com", "phone": "+33123456789"}
    body = {"service_id": service["id"], "start": TEN, "guest": guest}
    ok(await client.post("/api/v1/bookings", json=body))
    first, second = await read(client, url)
    assert first["summary"] == f"{service['name']}, Ada Lovelace"
    assert ada.user["email"] in first["description"]
    assert first["description"].endswith("On the left")
    assert second["summary"] == f"{service['name']}, Mary Shelley"
    assert "+33123456789" in second["description"]


async def test_all_who_give_a_service_together_have_it_in_their_feeds(
    client: httpx.AsyncClient, business: Business, ada: Caller, grace: Caller
) -> None:
    team = await business.service(assignment="collective")
    await business.provider(team, user_id=ada.user["id"])
    admin = await business.admin()
    (hers,) = [
        p for p in ok(await admin.get("/providers"))["items"] if p["display_name"] == "Grace"
    ]
    path = f"/services/{team['id']}/providers"
    others = ok(await admin.get(path))["providers"]
    ok(await admin.put(path, {"providers": [*others, {"provider_id": hers["id"]}]}))
    customer = await business.customer()
    booking = await business.booking(team, NINE, caller=customer)
    for caller in (ada, grace):
        (event,) = await read(client, await subscribe(caller, "calendar"))
        assert event["uid"].startswith(booking["id"])
    # The customer's says who they are, the second one included.
    url = await subscribe(customer)
    tag = (await client.get(url)).headers["etag"]
    (second,) = [p for p in booking["providers"] if p["id"] != booking["provider"]["id"]]
    ok(await admin.patch(f"/providers/{second['id']}", {"display_name": "Admiral"}))
    answer = await client.get(url, headers={"If-None-Match": tag})
    assert (answer.status_code, b"Admiral" in answer.content) == (200, True)


async def test_requests_are_tentative_until_they_end(
    client: httpx.AsyncClient, business: Business, grace: Caller, ada: Caller, clock: Hands
) -> None:
    service = await business.service(approval="required")
    await business.provider(service)
    await business.booking(service, "2026-03-10T09:00:00+01:00", caller=ada)
    url = await subscribe(ada)
    (event,) = await read(client, url)
    assert event["status"] == "TENTATIVE"
    tag = (await client.get(url)).headers["etag"]
    clock.advance(hours=49)  # nobody has noted that it has expired
    assert (await client.get(url, headers={"If-None-Match": tag})).status_code == 200
    assert await read(client, url) == []


async def test_it_reaches_from_30_days_back_to_400_ahead_and_has_so_many_entries(
    client: httpx.AsyncClient,
    business: Business,
    service: dict[str, Any],
    grace: Caller,
    ada: Caller,
    clock: Hands,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = await subscribe(ada)
    for start in (NINE, TEN, NOON):
        await business.booking(service, start, caller=ada)
    clock.advance(days=31)
    assert len(await read(client, url)) == 3
    clock.advance(days=1)
    assert await read(client, url) == []
    clock.advance(days=-32)
    monkeypatch.setattr(feed_service, "MAXIMUM_ENTRIES", 2)
    starts = [event.decoded("dtstart").isoformat() for event in await read(client, url)]
    assert starts == [NINE, TEN]
    clock.advance(days=-400)
    assert await read(client, url) == []


# --- Conditional requests ----------------------------------------------------------------------
async def test_what_has_not_changed_is_not_sent_again_and_takes_one_statement(
    client: httpx.AsyncClient,
    business: Business,
    service: dict[str, Any],
    grace: Caller,
    ada: Caller,
    told: list[str],
) -> None:
    other = await business.service()
    await business.provider(other)
    await business.booking(service, NINE, caller=ada)
    mine, url = await subscribe(ada), await subscribe(grace, "calendar")
    told.clear()
    first = await client.get(url)
    assert len(told) == 2
    assert first.headers["cache-control"] == "private, no-cache"
    tags = [(await client.get(address)).headers["etag"] for address in (mine, url)]
    await business.booking(other, NINE)  # somebody's with somebody else
    assert [(await client.get(address)).headers["etag"] for address in (mine, url)] == tags
    tag = {"If-None-Match": f'"another", {first.headers["etag"]}'}
    told.clear()
    again = await client.get(url, headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["cache-control"] == "private, no-cache"
    assert len(told) == 1
    head = await client.head(url)
    assert (head.status_code, head.headers["etag"]) == (200, first.headers["etag"])
    assert head.content == b""


async def test_the_tag_changes_with_a_name_as_well(
    client: httpx.AsyncClient,
    business: Business,
    service: dict[str, Any],
    grace: Caller,
    ada: Caller,
) -> None:
    admin = await business.admin()
    await business.booking(service, NINE, caller=ada)
    url = await subscribe(grace, "calendar")
    tags = [(await client.get(url)).headers["etag"]]
    ok(await ada.patch("/auth/me", {"name": "Countess Lovelace"}))
    (event,) = await read(client, url)
    assert event["summary"].endswith("Countess Lovelace")
    tags.append((await client.get(url)).headers["etag"])
    (provider,) = ok(await admin.get("/providers"))["items"]
    ok(await admin.patch(f"/providers/{provider['id']}", {"display_name": "Admiral"}))
    tags.append((await client.get(url)).headers["etag"])
    assert len(set(tags)) == 3


# --- Who has it --------------------------------------------------------------------------------
async def test_a_feed_is_listed_without_its_address_and_gone_once_revoked(
    app: FastAPI, client: httpx.AsyncClient, ada: Caller, business: Business
) -> None:
    made = ok(await ada.post("/calendar-feeds", {"name": "My phone"}))
    token = made["url"].rpartition("/")[2].removesuffix(".ics")
    assert made["url"] == f"http://localhost/api/v1/calendar-feeds/{token}.ics"
    assert len(token) == 43
    (listed,) = ok(await ada.get("/calendar-feeds"))["items"]
    assert listed == {name: made[name] for name in ("id", "shows", "name", "created_at")}
    bob = await business.customer()
    assert ok(await bob.get("/calendar-feeds"))["items"] == []
    problem(await bob.delete(f"/calendar-feeds/{made['id']}"), 404, "not_found")
    address = await bob.delete(f"/calendar-feeds/{made['id']}.ics")
    problem(address, 405, "method_not_allowed")
    assert address.headers["allow"] == "GET, HEAD"
    assert await read(client, made["url"]) == []
    assert (await ada.delete(f"/calendar-feeds/{made['id']}")).status_code == 204
    problem(await client.get(made["url"]), 404, "not_found")
    problem(await ada.delete(f"/calendar-feeds/{made['id']}"), 404, "not_found")
    async with app.state.database.reading() as session:
        rows = await session.execute(
            text(
                "SELECT type, before, after FROM events WHERE type LIKE 'user.calendar_feed%'"
                " AND subject_id = :user ORDER BY id"
            ),
            {"user": UUID(ada.user["id"])},
        )
        created, revoked = rows.all()
    assert created == ("user.calendar_feed_created", None, {"calendar_feed": listed})
    assert revoked == ("user.calendar_feed_revoked", {"calendar_feed": listed}, None)


@pytest.mark.parametrize("token", ["x", "A" * 43, "\ud83d\ude00", "%00", "a" * 200])
async def test_an_address_that_is_none_is_not_found(client: httpx.AsyncClient, token: str) -> None:
    token = token.encode("utf-16", "surrogatepass").decode("utf-16")
    problem(await client.get(f"/api/v1/calendar-feeds/{token}.ics"), 404, "not_found")


async def test_problems_and_logs_do_not_repeat_the_token(
    settings: Settings, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    app = create_app(settings.model_copy(update={"LOG_LEVEL": "INFO"}))
    async with serving(app) as client:
        answer = await client.get(f"/api/v1/calendar-feeds/{'A' * 43}.ics")
    assert problem(answer, 404, "not_found")["instance"] == "/api/v1/calendar-feeds/{token}.ics"
    logged = capsysbinary.readouterr().out
    assert b'"route":"/api/v1/calendar-feeds/{token}.ics"' in logged
    assert b"AAAA" not in logged


async def test_full_answers_are_limited_and_others_are_not(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, clock: Hands
) -> None:
    monkeypatch.setattr(redis, "TIMEOUT_SECONDS", 20.0)
    changes = {"RATE_LIMIT_ENABLED": True, "CACHE_PREFIX": settings.POSTGRES_DB}
    app = create_app(settings.model_copy(update=changes), clock=clock)
    async with serving(app) as client:
        ada = await Business(client).customer()
        url = await subscribe(ada)
        first = await client.get(url)
        tag = {"If-None-Match": first.headers["etag"]}
        assert FEEDS.account is not None
        for _ in range(FEEDS.account.quota - 1):
            assert (await client.get(url, headers=tag)).status_code == 304
            assert (await client.get(url)).status_code == 200
        assert (await client.get(url, headers=tag)).status_code == 304
        refused = await client.get(url)
        assert int(refused.headers["retry-after"]) > 0
        problem(refused, 429, "rate_limited")
        assert await read(client, await subscribe(ada)) == []


async def test_nothing_of_the_token_is_kept(app: FastAPI, ada: Caller) -> None:
    key = {"Idempotency-Key": "k"}
    made = ok(await ada.post("/calendar-feeds", {}, headers=key))
    again = ok(await ada.post("/calendar-feeds", {}, headers=key))
    assert again == made
    token = made["url"].rpartition("/")[2].removesuffix(".ics")
    async with app.state.database.reading() as session:
        tables = await session.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        )
        for table in tables.all():
            rows = (await session.execute(text(f'SELECT * FROM "{table}"'))).all()
            assert token not in str(rows)
            assert token.encode().hex() not in str(rows)


async def test_who_is_disabled_or_owns_the_calendar_no_longer_has_no_feed(
    app: FastAPI, client: httpx.AsyncClient, business: Business, grace: Caller, ada: Caller
) -> None:
    admin = await business.admin()
    urls = [await subscribe(grace), await subscribe(grace, "calendar")]
    (provider,) = ok(await admin.get("/providers"))["items"]
    ok(await admin.patch(f"/providers/{provider['id']}", {"user_id": ada.user["id"]}))
    assert [(await client.get(url)).status_code for url in urls] == [200, 404]
    ok(await admin.patch(f"/admin/users/{grace.user['id']}", {"is_active": False}))
    assert [(await client.get(url)).status_code for url in urls] == [404, 404]
    ok(await admin.patch(f"/admin/users/{grace.user['id']}", {"is_active": True}))
    assert [(await client.get(url)).status_code for url in urls] == [200, 404]


async def test_nobody_subscribes_to_a_calendar_they_do_not_own(
    app: FastAPI, ada: Caller, grace: Caller
) -> None:
    await grant(app, ada, "admin")
    refused = await ada.post("/calendar-feeds", {"shows": "calendar"})
    assert problem(refused, 422, "validation_failed")["errors"][0]["pointer"] == "#/shows"


async def test_nobody_has_more_than_so_many(app: FastAPI, ada: Caller) -> None:
    await execute(
        app,
        "INSERT INTO calendar_feeds SELECT gen_random_uuid(), :user, 'bookings', NULL,"
        " sha256(n::text::bytea), now() FROM generate_series(2, :most) n",
        user=UUID(ada.user["id"]),
        most=MAXIMUM_FEEDS,
    )
    ok(await ada.post("/calendar-feeds", {}))
    refused = problem(await ada.post("/calendar-feeds", {}), 422, "policy_violation")
    assert refused["reason"] == "too_many_feeds"


async def test_feeds_are_exported_and_forgotten_with_their_owner(
    client: httpx.AsyncClient, ada: Caller
) -> None:
    made = ok(await ada.post("/calendar-feeds", {"name": "My phone"}))
    export = await ada.get("/auth/me/export")
    (exported,) = ok(export)["calendar_feeds"]
    assert (exported["id"], exported["name"]) == (made["id"], "My phone")
    assert made["url"].rpartition("/")[2] not in export.text
    assert (await ada.delete("/auth/me", json={"password": PASSWORD})).status_code == 204
    problem(await client.get(made["url"]), 404, "not_found")
