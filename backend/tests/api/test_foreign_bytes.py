"""Nobody ever sees a byte of another: every GET there is, asked by everybody about everybody.

Canaries are in all that people say of themselves. They are sought in the answers of two processes
that share what they keep, while rights come and go, all asking at once.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.config import Settings
from app.main import create_app
from tests.business import PASSWORD, Business, Caller, Hands, grant, ok, serving

DAY = "2026-03-03"
QUERY = {
    "start": "2026-03-03T00:00:00Z",
    "end": "2026-03-04T00:00:00Z",
    "service_id": "service",
    "provider_id": "provider",
}
REPORTS = {"start": DAY, "end": DAY}
UNCHANGING = frozenset({"admin_exports_bookings", "system_health", "system_ready"})
"""What is new each time: they have no entity tag."""
IN_FULL = frozenset({"booking_series_get", "manage_get"})
"""What changes with time too: the tag does not tell all, so there is no 304."""


@dataclass
class Person:
    """Someone, and the words that must reach only them and those who may know them."""

    name: str
    caller: Caller | None = None
    canaries: set[str] = field(default_factory=set)
    objects: dict[str, str] = field(default_factory=dict)

    @property
    def word(self) -> str:
        return f"canary{self.name}"

    def keep(self, parameter: str, made: dict[str, Any]) -> None:
        """Remember what is theirs: its id is nobody else's business either."""
        self.objects[parameter] = made["id"]
        self.canaries.add(made["id"])


@dataclass(frozen=True)
class Operation:
    name: str
    path: str
    parameters: tuple[str, ...]
    query: tuple[str, ...]

    def asked(self, owner: Person, shop: dict[str, str]) -> tuple[str, dict[str, str]] | None:
        """The path about this person's objects; None if it is about none of theirs."""
        objects = shop | owner.objects
        if not objects.keys() >= set(self.parameters):
            return None
        path = self.path.format_map(objects)
        given = REPORTS if self.name.startswith(("admin_exports", "admin_reports")) else QUERY
        return path, {name: shop.get(given[name], given[name]) for name in self.query}


@dataclass
class World:
    shop: dict[str, str]
    people: dict[str, Person]
    operations: list[Operation]

    def seen_by(self, caller: str, operation: Operation, owner: Person) -> set[str]:
        """Whose words this caller may be told here."""
        about = operation.name
        seen = {caller}
        if caller == "admin":
            seen |= set(self.people)
        if about == "calendar_feeds_get":  # so may who has this address; pia's says who comes
            seen |= {owner.name, "bob"} if owner.name == "pia" else {owner.name}
        if about == "manage_get":
            seen.add(owner.name)  # who has the link may know whose it is
        of_bookings = about.startswith(
            ("admin_exports_bookings", "bookings_", "booking_series_", "waitlist_")
        )
        if caller == "staff" and of_bookings:
            seen |= set(self.people)
        if caller == "pia" and about.startswith(("bookings_", "booking_series_")):
            seen.add("bob")  # who is booked with her
        return seen


def required(operation: dict[str, Any], document: dict[str, Any], where: str) -> Iterator[str]:
    named = document["components"].get("parameters", {})
    for said in operation.get("parameters", ()):
        parameter = named[said["$ref"].rpartition("/")[2]] if "$ref" in said else said
        if parameter["in"] == where and parameter.get("required"):
            yield parameter["name"]


def reads(app: FastAPI) -> list[Operation]:
    document = app.openapi()
    return [
        Operation(
            operations["get"]["operationId"],
            path,
            tuple(required(operations["get"], document, "path")),
            tuple(required(operations["get"], document, "query")),
        )
        for path, operations in document["paths"].items()
        if "get" in operations
    ]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"API_KEYS_ENABLED": True})


@pytest.fixture
async def there(settings: Settings, clock: Hands) -> AsyncIterator[FastAPI]:
    """Another process."""
    app = create_app(settings, clock=clock)
    async with serving(app) as client:
        app.state.test_client = client
        yield app


async def person(business: Business, name: str) -> Person:
    someone = Person(name)
    body = {"name": f"{someone.word} L.", "email": f"{someone.word}@example.com"}
    ok(await business.client.post("/api/v1/auth/signup", json=body | {"password": PASSWORD}))
    someone.caller = await business.log_in(body["email"], PASSWORD)
    someone.keep("user_id", someone.caller.user)
    ok(await someone.caller.patch("/auth/me", {"phone": f"+3310000{sum(name.encode()):04}"}))
    someone.canaries |= {someone.word, f"+3310000{sum(name.encode()):04}"}
    key = {"name": f"{someone.word}'s program", "permissions": [], "expires_at": None}
    ok(await someone.caller.post("/auth/api-keys", key))
    return someone


async def busy(someone: Person, service: str, provider: str, hour: int) -> None:
    """Let them have one of each."""
    caller, word = someone.caller, someone.word
    assert caller is not None
    wish = {"service_id": service, "provider_id": provider, "notes": f"{word} notes"}
    start = f"{DAY}T{hour:02}:00:00+01:00"
    booking = ok(await caller.post("/bookings", wish | {"start": start}))
    someone.keep("booking_id", booking)
    someone.canaries.add(booking["reference"])
    moved = f"{DAY}T{hour:02}:30:00+01:00"
    ok(await caller.post(f"/bookings/{booking['id']}/reschedule", {"start": moved}))
    later = {"start": f"2026-03-10T{hour:02}:00:00+01:00", "rrule": "FREQ=DAILY;COUNT=2"}
    someone.keep("series_id", ok(await caller.post("/booking-series", wish | later)))
    windows = [{"start": f"2026-03-07T{hour:02}:00:00Z", "end": "2026-03-07T23:00:00Z"}]
    entry = {"service_id": service, "windows": windows}
    someone.canaries.add(ok(await caller.post("/waitlist", entry))["id"])
    await subscribe(someone, "bookings")


async def subscribe(someone: Person, shows: str) -> None:
    """Let them have a calendar feed, whose address only they know."""
    assert someone.caller is not None
    feed = {"shows": shows, "name": f"{someone.word}'s phone"}
    made = ok(await someone.caller.post("/calendar-feeds", feed))
    token = made["url"].rpartition("/")[2].removesuffix(".ics")
    someone.canaries |= {made["id"], token}
    someone.objects["token"] = token


@pytest.fixture
async def world(app: FastAPI, business: Business) -> World:
    admin = await business.admin()
    service = await business.service(allow_guests=True)
    ada, bob, pia, staff = [await person(business, name) for name in ("ada", "bob", "pia", "staff")]
    assert pia.caller is not None
    assert staff.caller is not None
    await grant(app, pia.caller, "provider")
    role = {"name": "reception", "permissions": ["bookings:read_all"]}
    role_id = ok(await admin.post("/admin/roles", role))["id"]
    await grant(app, staff.caller, "reception")
    hers = await business.provider(service, user_id=pia.caller.user["id"])
    other = await business.provider(service)
    # Which account gives a service is known to all.
    pia.canaries.discard(pia.caller.user["id"])
    away = {"start": f"{DAY}T20:00:00Z", "end": f"{DAY}T21:00:00Z", "reason": f"{pia.word} away"}
    ok(await pia.caller.post(f"/providers/{hers['id']}/time-off", away))
    await busy(ada, service["id"], other["id"], 10)
    await busy(bob, service["id"], hers["id"], 13)
    await subscribe(pia, "calendar")
    guest = Person("guest")
    guest.canaries.add(guest.word)
    details = {"name": guest.word, "email": f"{guest.word}@example.com"}
    wish = {"service_id": service["id"], "provider_id": other["id"], "guest": details}
    wish |= {"start": f"{DAY}T16:00:00+01:00"}
    booked = ok(await business.client.post("/api/v1/bookings", json=wish))
    guest.keep("booking_id", booked)
    guest.objects["token"] = booked["manage_token"]
    place = ok(await admin.post("/locations", {"name": "Here", "time_zone": "Europe/Paris"}))
    room = ok(await admin.post("/resources", {"name": "Room", "kind": "room"}))
    hook = {"url": "https://example.com/hooks", "events": ["*"]}
    webhook = ok(await admin.post("/webhooks", hook))
    shop = {
        "service_id": service["id"],
        "provider_id": hers["id"],
        "location_id": place["id"],
        "resource_id": room["id"],
        "role_id": role_id,
        "webhook_id": webhook["id"],
        "service": service["id"],
        "provider": hers["id"],
    }
    chief = Person("admin", admin)
    people = {p.name: p for p in (ada, bob, pia, staff, guest, chief)}
    return World(shop, people, reads(app))


async def walk(
    app: FastAPI, world: World, callers: dict[str, Caller | None]
) -> dict[tuple[str, str], int]:
    """Ask everything about everybody, all callers at once; how many were answered, by whom."""
    answered: dict[tuple[str, str], int] = {}
    client: httpx.AsyncClient = app.state.test_client
    asked = set()
    for operation in world.operations:
        for owner in world.people.values():
            question = operation.asked(owner, world.shop)
            if question is None or (key := (question[0], str(question[1]))) in asked:
                continue
            asked.add(key)
            path, query = question
            headers = [
                {} if caller is None else {"Authorization": f"Bearer {caller.token}"}
                for caller in callers.values()
            ]
            answers = await asyncio.gather(
                *(client.get(path, params=query, headers=sent) for sent in headers)
            )
            for name, answer in zip(callers, answers, strict=True):
                told = f"{answer.headers} {answer.text}"
                may = world.seen_by(name, operation, owner)
                foreign = {
                    canary
                    for someone in world.people.values()
                    for canary in someone.canaries
                    if someone.name not in may and canary in told and canary not in path
                }
                assert not foreign, (operation.name, path, name, answer.text)
                assert answer.status_code < 500, answer.text
                if answer.status_code == 200:
                    key = operation.name, name
                    answered[key] = answered.get(key, 0) + 1
    return answered


async def test_nobody_sees_what_is_anothers_whatever_is_kept_and_whose_rights_have_changed(
    app: FastAPI, client: httpx.AsyncClient, there: FastAPI, business: Business, world: World
) -> None:
    app.state.test_client = client
    everybody: dict[str, Caller | None] = {p.name: p.caller for p in world.people.values()}
    del everybody["guest"]
    everybody["nobody"] = None
    before = await walk(app, world, everybody)
    # It was asked, and something was told: else this would show nothing.
    names = {operation.name for operation in world.operations}
    assert len(names) >= 40
    assert {operation for operation, _ in before} == names
    for caller in everybody:
        assert before["services_list", caller] == 1
    assert ("bookings_get", "nobody") not in before
    assert before["bookings_get", "ada"] == 1
    assert before["bookings_get", "admin"] == 3
    assert await walk(there, world, everybody) == before

    # Bob may do everything for a while: what he is shown then is kept for those who may, too.
    bob, admin = world.people["bob"], world.people["admin"].caller
    assert bob.caller is not None
    assert admin is not None
    roles = f"/admin/users/{bob.caller.user['id']}/roles"
    ok(await admin.put(roles, {"roles": ["admin"]}))
    for process in (app, there):
        process.state.authenticator._standings.clear()  # which a second would do
    raised = await walk(app, world, {"admin": bob.caller, "nobody": None})
    assert raised["bookings_get", "admin"] == 3
    ok(await admin.put(roles, {"roles": ["customer"]}))
    for process in (app, there):
        process.state.authenticator._standings.clear()
        some = {name: everybody[name] for name in ("bob", "ada", "nobody")}
        after = await walk(process, world, some)
        assert after == {key: n for key, n in before.items() if key[1] in some}


async def test_whatever_can_be_read_has_a_tag_and_is_not_sent_twice(
    app: FastAPI, client: httpx.AsyncClient, world: World
) -> None:
    full = set()
    callers = [world.people["admin"].caller, world.people["ada"].caller, None]
    for operation in world.operations:
        for owner in world.people.values():
            question = operation.asked(owner, world.shop)
            for caller in callers if question is not None else ():
                assert question is not None
                headers = {} if caller is None else {"Authorization": f"Bearer {caller.token}"}
                answer = await client.get(question[0], params=question[1], headers=headers)
                if answer.status_code != 200:
                    continue
                tag = answer.headers.get("etag")
                assert (tag is None) == (operation.name in UNCHANGING), operation.name
                if tag is None:
                    continue
                headers["If-None-Match"] = f'"another", {tag}'
                again = await client.get(question[0], params=question[1], headers=headers)
                if again.status_code == 200:
                    full.add(operation.name)
                else:
                    assert (again.status_code, again.content) == (304, b"")
                    assert again.headers["etag"] == tag
    assert full == IN_FULL
