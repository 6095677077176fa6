"""What is kept for many: the same as if nothing were kept, in every process, after every write."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy import text

from app.config import Settings
from app.core import redis
from app.core.redis import create_redis
from app.main import create_app
from tests.business import Business, Caller, Hands, grant, ok, serving
from tests.statements import statements

DAY = "2026-03-03"
WEEK = {"start": DAY, "end": "2026-03-08"}
KEPT = ("services", "locations", "resources", "providers", "schedules")
"""Tags of the operations whose answers are kept, or change what is kept."""
RETIRED = tuple(f"/{name}?is_active=false" for name in ("services", "resources", "providers"))
"""What only staff sees."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not turn a hit into a bypass."""
    monkeypatch.setattr(redis, "TIMEOUT_SECONDS", 20.0)


@pytest.fixture
def prefix(settings: Settings) -> str:
    """Of this test's own keys in Redis."""
    return settings.POSTGRES_DB


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"CACHE_PREFIX": settings.POSTGRES_DB})


@pytest.fixture
async def there(settings: Settings, clock: Hands) -> AsyncIterator[httpx.AsyncClient]:
    """A client of another process."""
    async with serving(create_app(settings, clock=clock)) as client:
        yield client


@pytest.fixture
async def plain(settings: Settings, clock: Hands) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a process that keeps nothing."""
    settings = settings.model_copy(update={"CACHE_TTL": 0})
    async with serving(create_app(settings, clock=clock)) as client:
        yield client


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Redis]:
    client = create_redis(settings)
    yield client
    await client.aclose()


async def settled(app: FastAPI) -> None:
    """What it gave to Redis has been kept."""
    if calling := app.state.answers._shared._commands._calling:
        await asyncio.wait([calling])


def found(answer: httpx.Response) -> str:
    assert answer.status_code in {200, 304}, answer.text
    return answer.headers["x-cache"]


# --- Never stale ------------------------------------------------------------------------------
@dataclass
class Shop:
    """What is offered, while it changes."""

    admin: Caller
    ada: Caller
    service: dict[str, Any]
    provider: dict[str, Any]
    location: dict[str, Any]
    resource: dict[str, Any]
    hold: dict[str, Any] | None = None
    booking: dict[str, Any] | None = None
    time_off: dict[str, Any] | None = None
    spare: dict[str, Any] | None = None

    def paths(self) -> list[str]:
        service, provider = self.service["id"], self.provider["id"]
        times = f"service_id={service}&start={WEEK['start']}&end={WEEK['end']}"
        lists = ("services", "locations", "resources", "providers")
        return [
            *(f"/{name}?sort=created_at" for name in lists),
            f"/providers?service_id={service}",
            f"/services/{service}",
            f"/services/{service}/providers",
            f"/providers/{provider}",
            f"/providers/{provider}/schedule",
            f"/locations/{self.location['id']}",
            f"/resources/{self.resource['id']}",
            f"/availability?{times}",
            f"/availability/days?{times}",
        ]


def _holding(shop: Shop) -> dict[str, Any]:
    return {"service_id": shop.service["id"], "start": f"{DAY}T10:15:00+01:00"}


async def _book(shop: Shop, start: str) -> httpx.Response:
    answer = await shop.ada.post("/bookings", {"service_id": shop.service["id"], "start": start})
    shop.booking = ok(answer)
    return answer


async def _new(shop: Shop, room: str, **body: Any) -> httpx.Response:
    answer = await shop.admin.post(f"/{room}", body)
    shop.spare = ok(answer)
    return answer


async def _hold(shop: Shop) -> httpx.Response:
    answer = await shop.ada.post("/holds", _holding(shop))
    shop.hold = ok(answer)
    return answer


async def _leave(shop: Shop) -> httpx.Response:
    body = {"start": f"{DAY}T12:00:00Z", "end": f"{DAY}T14:00:00Z"}
    answer = await shop.admin.post(f"/providers/{shop.provider['id']}/time-off", body)
    shop.time_off = ok(answer)["time_off"] if "time_off" in ok(answer) else ok(answer)
    return answer


def _spare(room: str) -> Callable[[Shop], Awaitable[httpx.Response]]:
    return lambda shop: shop.admin.delete(f"/{room}/{shop.spare['id']}")  # type: ignore[index]


def _hours(start: str) -> dict[str, Any]:
    intervals = [{"start": start, "end": "15:00"}]
    return {
        "time_zone": "Europe/Paris",
        "weekly": [{"weekday": day, "intervals": intervals} for day in ("tuesday", "friday")],
    }


# Each operation that changes what is kept, in an order in which each finds what it needs.
WRITES: list[tuple[str, Callable[[Shop], Awaitable[httpx.Response]]]] = [
    ("services_create", lambda s: _new(s, "services", name="New", durations_minutes=[20])),
    ("services_delete", _spare("services")),
    (
        "services_update",
        lambda s: s.admin.patch(f"/services/{s.service['id']}", {"durations_minutes": [45]}),
    ),
    ("locations_create", lambda s: _new(s, "locations", name="New", time_zone="Asia/Tokyo")),
    ("locations_delete", _spare("locations")),
    (
        "locations_update",
        lambda s: s.admin.patch(f"/locations/{s.location['id']}", {"time_zone": "Asia/Tokyo"}),
    ),
    ("resources_create", lambda s: _new(s, "resources", name="New", kind="room")),
    ("resources_delete", _spare("resources")),
    (
        "resources_update",
        lambda s: s.admin.patch(f"/resources/{s.resource['id']}", {"name": "Renamed"}),
    ),
    (
        "providers_create",
        lambda s: _new(s, "providers", display_name="New", time_zone="UTC"),
    ),
    ("providers_delete", _spare("providers")),
    (
        "providers_update",
        lambda s: s.admin.patch(f"/providers/{s.provider['id']}", {"display_name": "Renamed"}),
    ),
    (
        "service_providers_put",
        lambda s: s.admin.put(
            f"/services/{s.service['id']}/providers",
            {"providers": [{"provider_id": s.provider["id"], "weight": 7}]},
        ),
    ),
    (
        "schedules_put",
        lambda s: s.admin.put(f"/providers/{s.provider['id']}/schedule", _hours("08:00")),
    ),
    (
        "overrides_put",
        lambda s: s.admin.put(
            f"/providers/{s.provider['id']}/overrides/{DAY}",
            {"intervals": [{"start": "10:00", "end": "20:00"}]},
        ),
    ),
    (
        "overrides_delete",
        lambda s: s.admin.delete(f"/providers/{s.provider['id']}/overrides/{DAY}"),
    ),
    ("time_off_create", _leave),
    (
        "time_off_delete",
        lambda s: s.admin.delete(
            f"/providers/{s.provider['id']}/time-off/{s.time_off['id']}"  # type: ignore[index]
        ),
    ),
    ("holds_create", _hold),
    ("holds_end", lambda s: s.ada.delete(f"/holds/{s.hold['id']}")),  # type: ignore[index]
    ("bookings_create", lambda s: _book(s, f"{DAY}T08:45:00+01:00")),
    (
        "bookings_reschedule",
        lambda s: s.ada.post(
            f"/bookings/{s.booking['id']}/reschedule",  # type: ignore[index]
            {"start": f"{DAY}T11:00:00+01:00"},
        ),
    ),
    (
        "bookings_cancel",
        lambda s: s.ada.post(f"/bookings/{s.booking['id']}/cancel"),  # type: ignore[index]
    ),
    (
        "services_update",
        lambda s: s.admin.patch(f"/services/{s.service['id']}", {"is_active": False}),
    ),
]


async def test_after_every_write_other_processes_answer_as_if_nothing_were_kept(
    app: FastAPI,
    business: Business,
    there: httpx.AsyncClient,
    plain: httpx.AsyncClient,
) -> None:
    admin, ada = await business.admin(), await business.customer()
    service = await business.service()
    provider = await business.provider(service, hours={"tuesday": [("09:00", "17:00")]})
    location = ok(await admin.post("/locations", {"name": "Here", "time_zone": "Europe/Paris"}))
    resource = ok(await admin.post("/resources", {"name": "Room", "kind": "room"}))
    shop = Shop(admin, ada, service, provider, location, resource)

    async def check() -> list[bytes]:
        seen = []
        staff = {"Authorization": f"Bearer {admin.token}"}
        wanted: list[tuple[str, dict[str, str]]] = [(path, {}) for path in shop.paths()]
        wanted += [(path, staff) for path in (*RETIRED, f"/services/{service['id']}")]
        for path, headers in wanted:
            expected = await plain.get(f"/api/v1{path}", headers=headers)
            # Where it was written nothing is known that is not known elsewhere.
            answer = await there.get(f"/api/v1{path}", headers=headers)
            assert answer.status_code == expected.status_code, path
            if answer.is_success:
                assert answer.content == expected.content, path
                assert answer.headers["etag"] == expected.headers["etag"]
                assert expected.headers["x-cache"] == "bypass"
            seen.append(expected.content)
        return seen

    before = await check()
    for name, write in WRITES:
        answer = await write(shop)
        assert answer.is_success, (name, answer.text)
        after = await check()
        assert after != before, f"{name} changes nothing: it shows nothing"
        before = after
    operations = [o for path in app.openapi()["paths"].values() for o in path.items()]
    writing = {o["operationId"] for m, o in operations if m != "get" and o["tags"][0] in KEPT}
    assert writing <= {name for name, _ in WRITES}


async def test_what_changes_behind_the_application_is_read_at_once_and_not_before_it_is_committed(
    app: FastAPI, client: httpx.AsyncClient, business: Business, there: httpx.AsyncClient
) -> None:
    service = await business.service(name="Old")
    path = f"/api/v1/services/{service['id']}"

    async def names() -> list[str]:
        return [ok(await process.get(path))["name"] for process in (client, there)]

    assert await names() == ["Old", "Old"]
    async with app.state.database.transaction() as session:
        await session.execute(text("UPDATE services SET name = 'New'"))
        assert await names() == ["Old", "Old"]
    assert await names() == ["New", "New"]
    async with app.state.database.transaction() as session:
        await session.execute(text("UPDATE services SET name = 'Never'"))
        await session.rollback()
    assert await names() == ["New", "New"]


async def test_who_changes_the_offer_waits_for_nobody_who_does_so_too(
    app: FastAPI, business: Business
) -> None:
    service = await business.service()
    async with app.state.database.transaction() as session:
        await session.execute(text("UPDATE services SET name = 'One'"))
        async with asyncio.timeout(4):  # to wait for a lock takes five seconds at most
            await business.provider()
        # Nor does the first wait for the second.
        await session.execute(text("UPDATE providers SET display_name = 'One'"))
    assert ok(await business.client.get(f"/api/v1/services/{service['id']}"))["name"] == "One"


async def test_an_answer_made_while_something_changed_is_not_kept_for_later(
    app: FastAPI, client: httpx.AsyncClient, business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read the version, and reads the rest only when the change has been answered."""
    service = await business.service(name="Old")
    may_go_on, has_version = asyncio.Event(), asyncio.Event()
    get = app.state.answers.get

    async def get_late(*arguments: Any) -> Any:
        has_version.set()
        await may_go_on.wait()
        return await get(*arguments)

    monkeypatch.setattr(app.state.answers, "get", get_late)
    path = f"/services/{service['id']}"
    reading = asyncio.create_task(client.get(f"/api/v1{path}"))
    await has_version.wait()
    ok(await (await business.admin()).patch(path, {"name": "New"}))
    may_go_on.set()
    assert ok(await reading)["name"] == "New"
    ok(await (await business.admin()).patch(path, {"name": "Newer"}))
    assert ok(await client.get(f"/api/v1{path}"))["name"] == "Newer"


# --- How it was come by -----------------------------------------------------------------------
@pytest.mark.parametrize("what", ["services", "availability"])
async def test_the_first_makes_it_and_all_others_find_it(
    app: FastAPI,
    client: httpx.AsyncClient,
    business: Business,
    there: httpx.AsyncClient,
    plain: httpx.AsyncClient,
    what: str,
) -> None:
    service = await business.service()
    await business.provider(service)
    params = WEEK | {"service_id": service["id"]} if what == "availability" else {}
    path = f"/api/v1/{what}"
    first = await client.get(path, params=params)
    await settled(app)
    assert found(first) == "miss"
    assert found(await client.get(path, params=params)) == "hit"
    elsewhere = await there.get(path, params=params)
    assert (found(elsewhere), elsewhere.content) == ("hit", first.content)
    assert found(await plain.get(path, params=params)) == "bypass"
    tag = {"If-None-Match": first.headers["etag"]}
    for process in (client, there, plain):
        known = await process.get(path, params=params, headers=tag)
        assert (known.status_code, known.content) == (304, b"")
        assert known.headers["etag"] == first.headers["etag"]
        assert "no-cache" in known.headers["cache-control"]


async def test_browsers_and_proxies_are_told_who_may_keep_it(
    client: httpx.AsyncClient, business: Business
) -> None:
    service = await business.service()
    admin = await business.admin()
    for path in ("/services", f"/services/{service['id']}", "/locations"):
        public = await client.get(f"/api/v1{path}")
        assert public.headers["cache-control"] == "no-cache"
        staff = await admin.get(path)
        assert staff.headers["cache-control"] == "private, no-cache"
        for answer in (public, staff):
            assert {"Authorization", "X-API-Key"} <= set(
                ", ".join(answer.headers.get_list("vary")).split(", ")
            )


async def test_what_is_personal_is_kept_nowhere(
    client: httpx.AsyncClient, business: Business, store: Redis, prefix: str
) -> None:
    service = await business.service()
    await business.provider(service)
    ada = await business.customer("Canary Lovelace")
    booking = await business.booking(service, f"{DAY}T10:00:00+01:00", caller=ada)
    personal = ("/auth/me", "/bookings", f"/bookings/{booking['id']}", "/waitlist")
    for path in personal:
        answer = await ada.get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert "x-cache" not in answer.headers
    kept = [await store.get(key) async for key in store.scan_iter(f"{prefix}:*")]
    assert not any(b"Canary" in value for value in kept if isinstance(value, bytes))


# --- A crowd ----------------------------------------------------------------------------------
async def test_a_crowd_that_misses_an_answer_has_it_made_once(
    app: FastAPI, client: httpx.AsyncClient, business: Business
) -> None:
    service = await business.service()
    await business.provider(service)
    params = WEEK | {"service_id": service["id"]}
    with statements(app) as sent:
        answers = await asyncio.gather(
            *(client.get("/api/v1/availability", params=params) for _ in range(40)),
            *(client.get("/api/v1/services") for _ in range(40)),
        )
    assert sorted(map(found, answers)) == ["hit"] * 78 + ["miss"] * 2
    assert len({answer.content for answer in answers}) == 2
    made = [s for s in sent if "unnest($" in s or s.endswith(" LIMIT $1::INTEGER")]
    assert len(made) == 2, made
    # The versions were asked for once by the first, and once for all who came meanwhile.
    assert len(sent) <= 2 + 4


async def test_each_of_a_crowd_is_judged_for_itself(
    client: httpx.AsyncClient, business: Business
) -> None:
    admin, ada = await business.admin(), await business.customer()
    path, nobody = "/services?is_active=false", {"Authorization": "Bearer nobody"}
    answers = await asyncio.gather(
        *(
            asked
            for _ in range(10)
            for asked in (
                client.get(f"/api/v1{path}"),
                client.get(f"/api/v1{path}", headers=nobody),
                ada.get(path),
                admin.get(path),
            )
        )
    )
    assert [answer.status_code for answer in answers] == [403, 401, 403, 200] * 10


async def test_what_staff_sees_others_do_not_and_who_is_no_longer_staff_neither(
    app: FastAPI, client: httpx.AsyncClient, business: Business
) -> None:
    admin = await business.admin()
    role = {"name": "shopkeeper", "permissions": ["services:write"]}
    ok(await admin.post("/admin/roles", role))
    ada = await business.customer()
    await grant(app, ada, "shopkeeper")
    hidden = await business.service(name="Hidden", is_active=False)
    path = f"/services/{hidden['id']}"
    assert found(await admin.get(path)) == "miss"
    assert ok(await ada.get(path))["name"] == "Hidden"
    assert (await client.get(f"/api/v1{path}")).status_code == 404
    ok(await admin.put(f"/admin/users/{ada.user['id']}/roles", {"roles": ["customer"]}))
    app.state.authenticator._standings.clear()  # which a second would do
    assert (await ada.get(path)).status_code == 404
    assert found(await admin.get(path)) == "hit"


# --- Redis ------------------------------------------------------------------------------------
async def test_without_redis_all_is_answered_and_nothing_is_looked_for(
    settings: Settings, clock: Hands, tmp_path: Path
) -> None:
    away = settings.model_copy(update={"REDIS_HOST": str(tmp_path / "absent")})
    async with serving(create_app(away, clock=clock)) as client:
        business = Business(client)
        service = await business.service()
        await business.provider(service)
        params = WEEK | {"service_id": service["id"]}
        for path, query in (("services", {}), ("availability", params)):
            answer = await client.get(f"/api/v1/{path}", params=query)
            assert found(answer) == "bypass"
            again = await client.get(f"/api/v1/{path}", params=query)
            assert (found(again), again.content) == ("hit", answer.content)  # its own
        times = await business.free_times(service, DAY, DAY)
        await business.booking(service, times[0])
        assert await business.free_times(service, DAY, DAY) == times[1:]


async def test_what_somebody_put_there_is_believed_by_nobody(
    app: FastAPI,
    client: httpx.AsyncClient,
    business: Business,
    there: httpx.AsyncClient,
    store: Redis,
    prefix: str,
) -> None:
    service = await business.service()
    await business.provider(service)
    params = WEEK | {"service_id": service["id"]}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("services", {}),
        ("providers", {}),
        ("availability", params),
    ]
    answers = [await client.get(f"/api/v1/{path}", params=query) for path, query in asked]
    await settled(app)
    keys = [key async for key in store.scan_iter(f"{prefix}:answer:*")]
    assert len(keys) >= len(asked)
    values = [await store.get(key) for key in keys]
    for key, value in zip(keys, [*values[1:], values[0]], strict=True):
        await store.set(key, value)  # each has another's
    for (path, query), answer in zip(asked, answers, strict=True):
        again = await there.get(f"/api/v1/{path}", params=query)
        assert (found(again), again.content) == ("miss", answer.content)


async def test_answers_live_as_long_as_is_said(
    settings: Settings, clock: Hands, store: Redis, prefix: str
) -> None:
    brief = settings.model_copy(update={"CACHE_TTL": 7})
    app = create_app(brief, clock=clock)
    async with serving(app) as client:
        await client.get("/api/v1/services")
        await settled(app)
    (key,) = [key async for key in store.scan_iter(f"{prefix}:answer:*")]
    assert 0 < await store.ttl(key) <= 7
