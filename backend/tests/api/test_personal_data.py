"""What is known about a person: shown to them whole, and gone when they say so."""

import asyncio
import json
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.auth import repository
from tests.business import ADMIN_PASSWORD, PASSWORD, Business, Caller, execute, grant, ok, problem

NAME, PHONE = "Canary Lovelace", "+33100000042"
EMAIL, NOTES, REASON, DEVICE = "canary@example.com", "canary notes", "canary reason", "Canary/1.0"
CANARY = "canary"

KEY = {"Idempotency-Key": "k1"}


async def dump(app: FastAPI) -> list[str]:
    """Every row of every table as text; bytes as text too, where they are some."""
    dumped = []
    async with app.state.database.reading() as session:
        tables = await session.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
        )
        for table in tables.all():
            rows = await session.execute(text(f'SELECT * FROM "{table}"'))
            for row in rows.all():
                values = (v.decode(errors="replace") if type(v) is bytes else v for v in row)
                dumped.append(f"{table}: {' | '.join(map(str, values))}")
    return dumped


def mentions(dumped: list[str], *needles: str) -> list[str]:
    """The rows in which one of these is found, in whatever case."""
    return [row for row in dumped if any(n.lower() in row.lower() for n in needles)]


async def erase(who: Caller, password: str = PASSWORD, **options: Any) -> httpx.Response:
    return await who.delete("/auth/me", json={"password": password}, **options)


class Canary:
    """Someone who has left traces wherever one can."""

    def __init__(self, caller: Caller, service: dict[str, Any], provider: dict[str, Any]) -> None:
        self.caller = caller
        self.service = service
        self.provider = provider
        self.id = caller.user["id"]
        self.kept: dict[str, Any] = {}
        self.cancelled: dict[str, Any] = {}


@pytest.fixture
async def canary(app: FastAPI, business: Business, client: httpx.AsyncClient) -> Canary:
    service = await business.service(durations_minutes=[30])
    provider = await business.provider(service)
    admin = await business.admin()
    body = {"name": NAME, "email": EMAIL, "password": PASSWORD}
    ok(await client.post("/api/v1/auth/signup", json=body, headers=KEY))
    login = {"email": EMAIL, "password": PASSWORD}
    ok(await client.post("/api/v1/auth/login", json=login, headers={"User-Agent": DEVICE}))
    canary = Canary(await business.log_in(EMAIL, PASSWORD), service, provider)
    me = canary.caller
    ok(await me.patch("/auth/me", {"phone": PHONE, "locale": "fr-FR"}))
    ok(await admin.patch(f"/admin/users/{canary.id}", {"name": f"{NAME} the Second"}))
    mine = {"service_id": service["id"], "start": "2026-03-03T09:00:00Z", "notes": NOTES}
    canary.kept = ok(await me.post("/bookings", mine, headers=KEY))
    # Booked and cancelled by staff, who are answered with the customer's data.
    theirs = mine | {"start": "2026-03-03T10:00:00Z", "customer_id": canary.id}
    other = ok(await admin.post("/bookings", theirs, headers=KEY))
    cancel = f"/bookings/{other['id']}/cancel"
    canary.cancelled = ok(await admin.post(cancel, {"reason": REASON}, headers=KEY))
    return canary


# --- Export -----------------------------------------------------------------------------------
async def test_an_export_holds_all_that_is_known_about_me(canary: Canary) -> None:
    answer = await canary.caller.get("/auth/me/export")
    export = ok(answer)
    for needle in (NAME, PHONE, EMAIL, NOTES, REASON, DEVICE):
        assert needle in answer.text
    assert export["account"] == ok(await canary.caller.get("/auth/me"))
    assert export["account"]["roles"] == ["customer"]
    assert {session["device"] for session in export["sessions"]} > {DEVICE}
    first, second = export["bookings"]
    assert (first["id"], first["notes"]) == (canary.kept["id"], NOTES)
    assert (second["id"], second["cancelled_reason"]) == (canary.cancelled["id"], REASON)
    assert [e["type"] for e in second["history"]] == ["booking.created", "booking.cancelled"]
    kinds = [e["type"] for e in export["events"]]
    assert kinds[0] == "user.created"
    assert kinds.count("user.changed") == 2
    assert [k["key"] for k in export["idempotency_keys"]] == ["k1"]
    assert PASSWORD not in answer.text
    assert "$bcrypt" not in answer.text


async def test_an_export_holds_nothing_about_anybody_else(
    canary: Canary, business: Business
) -> None:
    ada = await business.customer()
    body = {"service_id": canary.service["id"], "start": "2026-03-03T11:00:00Z", "notes": "Ada's"}
    booking = ok(await ada.post("/bookings", body))
    mine = (await canary.caller.get("/auth/me/export")).text
    hers = await ada.get("/auth/me/export")
    admin = (await business.admin()).user
    for stranger in (ada.user["id"], ada.user["email"], booking["id"], "Ada's", admin["id"]):
        assert stranger not in mine
    assert not mentions([hers.text], CANARY, canary.id, PHONE)
    assert [b["id"] for b in ok(hers)["bookings"]] == [booking["id"]]


async def test_an_export_shows_the_calendar_that_is_mine(business: Business) -> None:
    ada = await business.customer()
    provider = await business.provider(user_id=ada.user["id"])
    (mine,) = ok(await ada.get("/auth/me/export"))["providers"]
    assert (mine["id"], mine["user_id"]) == (provider["id"], ada.user["id"])


async def test_why_i_was_away_is_exported_and_then_forgotten(
    app: FastAPI, business: Business
) -> None:
    ada, admin = await business.customer(), await business.admin()
    mine, other = await business.provider(user_id=ada.user["id"]), await business.provider()
    off = {"start": "2026-03-03T09:00:00Z", "end": "2026-03-03T12:00:00Z", "reason": CANARY}
    time_off = ok(await admin.post(f"/providers/{mine['id']}/time-off", off, headers=KEY))
    kept = off | {"reason": "Somebody else's"}
    ok(await admin.post(f"/providers/{other['id']}/time-off", kept))
    export = await ada.get("/auth/me/export")
    (exported,) = ok(export)["time_off"]
    assert {name: exported[name] for name in off} == off
    assert "Somebody else" not in export.text
    assert (await erase(ada)).status_code == 204
    left = ok(await admin.get(f"/providers/{mine['id']}/time-off"))["items"]
    assert [(t["id"], t["reason"], t["version"]) for t in left] == [(time_off["id"], "", 2)]
    assert mentions(await dump(app), CANARY) == []
    assert mentions(await dump(app), "Somebody else") != []


async def test_an_export_and_an_erasure_need_a_token(client: httpx.AsyncClient) -> None:
    problem(await client.get("/api/v1/auth/me/export"), 401, "unauthenticated")
    answer = await client.request("DELETE", "/api/v1/auth/me", json={"password": PASSWORD})
    problem(answer, 401, "unauthenticated")


# --- Erasing ----------------------------------------------------------------------------------
async def by_oneself(canary: Canary, business: Business) -> httpx.Response:
    return await erase(canary.caller)


async def by_an_administrator(canary: Canary, business: Business) -> httpx.Response:
    return await (await business.admin()).delete(f"/admin/users/{canary.id}")


WAYS = pytest.mark.parametrize("way", [by_oneself, by_an_administrator])


@WAYS
async def test_an_erased_person_is_in_no_table(
    app: FastAPI, canary: Canary, business: Business, way: Any
) -> None:
    before = await dump(app)
    for place in ("users: ", "sessions: ", "bookings: ", "events: ", "idempotency_keys: "):
        found = mentions(before, CANARY, PHONE)
        assert any(row.startswith(place) for row in found), place
    answer = await way(canary, business)
    assert (answer.status_code, answer.content) == (204, b"")
    after = await dump(app)
    assert mentions(after, CANARY, PHONE, "Lovelace") == []
    # What is left of the person is who did something, once, in the log.
    assert {row.partition(":")[0] for row in mentions(after, canary.id)} == {"events"}


@WAYS
async def test_the_log_still_tells_what_happened(
    app: FastAPI, canary: Canary, business: Business, way: Any
) -> None:
    statement = "SELECT id, type, subject_id, actor_id, occurred_at FROM events ORDER BY id"
    async with app.state.database.reading() as session:
        before = (await session.execute(text(statement))).all()
        await way(canary, business)
        after = (await session.execute(text(statement))).all()
    assert after[: len(before)] == before
    new = [(row.type, str(row.subject_id)) for row in after[len(before) :]]
    assert sorted(new) == sorted(
        [
            ("booking.anonymised", canary.kept["id"]),
            ("booking.anonymised", canary.cancelled["id"]),
            ("user.erased", canary.id),
        ]
    )
    actor = canary.caller if way is by_oneself else await business.admin()
    assert {str(row.actor_id) for row in after[len(before) :]} == {actor.user["id"]}


@WAYS
async def test_bookings_stay_anonymous_and_keep_their_time(
    canary: Canary, business: Business, way: Any
) -> None:
    admin, day = await business.admin(), "2026-03-03"
    params = {"service_id": canary.service["id"], "start": day, "end": day}
    free = await business.client.get("/api/v1/availability", params=params)
    count = len(ok(await admin.get("/bookings"))["items"])
    assert (await way(canary, business)).status_code == 204
    again = await business.client.get("/api/v1/availability", params=params)
    assert (again.content, again.headers["etag"]) == (free.content, free.headers["etag"])
    assert len(ok(await admin.get("/bookings"))["items"]) == count
    kept = ok(await admin.get(f"/bookings/{canary.kept['id']}"))
    assert (kept["customer"], kept["notes"]) == (None, "")
    assert kept["version"] == canary.kept["version"] + 1
    same = ("reference", "status", "start", "end", "provider", "service", "sequence", "source")
    assert {n: kept[n] for n in same} == {n: canary.kept[n] for n in same}
    cancelled = ok(await admin.get(f"/bookings/{canary.cancelled['id']}"))
    assert cancelled["cancelled"] == canary.cancelled["cancelled"] | {"reason": ""}
    taken = {"service_id": canary.service["id"], "start": canary.kept["start"]}
    problem(await admin.post("/bookings", taken), 409, "slot_taken")


async def test_the_log_of_an_anonymous_booking_says_only_when_and_what(
    app: FastAPI, canary: Canary
) -> None:
    async with app.state.database.reading() as session:
        await erase(canary.caller)
        rows = await session.execute(
            text("SELECT type, after FROM events WHERE subject_id = :id ORDER BY id"),
            {"id": UUID(canary.cancelled["id"])},
        )
        created, cancelled, anonymised = rows.all()
    assert set(created.after) == {
        "status",
        "reference",
        "service_id",
        "provider_id",
        "location_id",
        "start",
        "end",
        "time_zone",
        "seats",
    }
    assert cancelled.after == {"status": "cancelled", "by": "staff"}
    assert (anonymised.type, anonymised.after) == ("booking.anonymised", None)


@WAYS
async def test_who_is_erased_is_logged_out_and_can_sign_up_afresh(
    app: FastAPI, client: httpx.AsyncClient, canary: Canary, business: Business, way: Any
) -> None:
    await way(canary, business)
    body = {"refresh_token": canary.caller.refresh_token}
    problem(await client.post("/api/v1/auth/refresh", json=body), 401, "invalid_token")
    app.state.authenticator._standings.clear()  # which a second would do
    problem(await canary.caller.get("/auth/me"), 401, "invalid_token")
    login = {"email": EMAIL, "password": PASSWORD}
    problem(await client.post("/api/v1/auth/login", json=login), 401, "invalid_credentials")
    signup = login | {"name": "Somebody"}
    # The same key as back then: its answer is forgotten.
    again = ok(await client.post("/api/v1/auth/signup", json=signup, headers=KEY))
    assert again["id"] != canary.id


async def test_a_provider_who_is_erased_leaves_a_calendar_that_nobody_owns(
    app: FastAPI, business: Business
) -> None:
    ada = await business.customer()
    service = await business.service()
    provider = await business.provider(service, user_id=ada.user["id"])
    free = await business.free_times(service, "2026-03-03", "2026-03-03")
    assert (await erase(ada)).status_code == 204
    admin = await business.admin()
    left = ok(await admin.get(f"/providers/{provider['id']}"))
    assert (left["user_id"], left["display_name"]) == (None, provider["display_name"])
    assert left["version"] == provider["version"] + 1
    assert free == await business.free_times(service, "2026-03-03", "2026-03-03")
    params = {"subject_id": provider["id"]}
    log = json.dumps(ok(await admin.get("/admin/audit-log", params=params)))
    assert ada.user["id"] not in log.replace(f'"actor_id": "{ada.user["id"]}"', "")


async def test_others_keep_what_is_theirs(app: FastAPI, canary: Canary, business: Business) -> None:
    ada = await business.customer()
    body = {"service_id": canary.service["id"], "start": "2026-03-03T11:00:00Z", "notes": "Ada's"}
    first = await ada.post("/bookings", body, headers=KEY)
    export = ok(await ada.get("/auth/me/export"))
    await erase(canary.caller)
    now = ok(await ada.get("/auth/me/export"))
    assert now | {"exported_at": export["exported_at"]} == export
    replayed = await ada.post("/bookings", body, headers=KEY)
    assert replayed.content == first.content


# --- Who may, and when not --------------------------------------------------------------------
async def test_a_wrong_password_erases_nothing(app: FastAPI, canary: Canary) -> None:
    before = await dump(app)
    problem(await erase(canary.caller, "not the password"), 401, "invalid_credentials")
    for body in ({}, {"password": None}, {"password": PASSWORD, "sure": True}):
        answer = await canary.caller.delete("/auth/me", json=body)
        problem(answer, 422, "validation_failed")
    assert await dump(app) == before


@WAYS
async def test_an_erasure_can_be_bound_to_the_version_seen(
    canary: Canary, business: Business, way: Any
) -> None:
    who = canary.caller if way is by_oneself else await business.admin()
    path = "/auth/me" if way is by_oneself else f"/admin/users/{canary.id}"
    options = {"json": {"password": PASSWORD}} if way is by_oneself else {}
    tag = (await canary.caller.get("/auth/me")).headers["etag"]
    stale = await who.delete(path, headers={"If-Match": '"1"'}, **options)
    problem(stale, 412, "version_mismatch")
    ok(await canary.caller.get("/auth/me/export"))
    erased = await who.delete(path, headers={"If-Match": tag}, **options)
    assert erased.status_code == 204


async def test_the_last_active_superuser_stays(business: Business) -> None:
    admin = await business.admin()
    problem(await erase(admin, ADMIN_PASSWORD), 409, "in_use")
    problem(await admin.delete(f"/admin/users/{admin.user['id']}"), 409, "in_use")
    ada = await business.customer()
    ok(await admin.patch(f"/admin/users/{ada.user['id']}", {"is_superuser": True}))
    assert (await erase(admin, ADMIN_PASSWORD)).status_code == 204
    problem(await erase(ada), 409, "in_use")


async def test_of_two_last_superusers_who_leave_at_once_one_stays(
    app: FastAPI, business: Business
) -> None:
    admin, ada = await business.admin(), await business.customer()
    ok(await admin.patch(f"/admin/users/{ada.user['id']}", {"is_superuser": True}))
    answers = await asyncio.gather(erase(admin, ADMIN_PASSWORD), erase(ada))
    assert sorted(answer.status_code for answer in answers) == [204, 409]


async def test_nobody_erases_an_account_that_may_do_more(app: FastAPI, business: Business) -> None:
    admin, ada, grace = [
        await business.admin(),
        await business.customer(),
        await business.customer(),
    ]
    role = {"name": "manager", "permissions": ["users:read", "users:write", "bookings:create"]}
    ok(await admin.post("/admin/roles", role))
    await grant(app, ada, "manager")
    await grant(app, grace, "provider")
    for more in (admin.user["id"], grace.user["id"]):
        problem(await ada.delete(f"/admin/users/{more}"), 403, "forbidden")
    await execute(app, "DELETE FROM user_roles WHERE user_id = :id", id=UUID(grace.user["id"]))
    assert (await ada.delete(f"/admin/users/{grace.user['id']}")).status_code == 204
    problem(await ada.delete(f"/admin/users/{grace.user['id']}"), 404, "not_found")


async def test_customers_erase_nobody(business: Business) -> None:
    ada, grace = await business.customer(), await business.customer()
    problem(await ada.delete(f"/admin/users/{grace.user['id']}"), 403, "forbidden")
    ok(await grace.get("/auth/me"))


# --- Races ------------------------------------------------------------------------------------
async def test_what_is_booked_at_that_very_moment_is_anonymous_or_refused(
    app: FastAPI, canary: Canary, business: Business
) -> None:
    bodies = [
        {
            "service_id": canary.service["id"],
            "start": f"2026-03-04T{9 + n // 2:02}:{n % 2 * 30:02}:00Z",
            "notes": NOTES,
        }
        for n in range(10)
    ]
    answers = await asyncio.gather(
        *(canary.caller.post("/bookings", body) for body in bodies[:5]),
        erase(canary.caller),
        *(canary.caller.post("/bookings", body) for body in bodies[5:]),
    )
    codes = [answer.status_code for answer in answers]
    assert codes[5] == 204
    assert {*codes[:5], *codes[6:]} <= {201, 401, 422}
    assert mentions(await dump(app), CANARY, PHONE) == []
    found = ok(await (await business.admin()).get("/bookings"))["items"]
    assert {booking["customer"] for booking in found} == {None}
    assert len(found) == 2 + codes.count(201)


async def test_who_is_erased_while_logging_in_is_refused(
    app: FastAPI, client: httpx.AsyncClient, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the account and the session, bcrypt leaves time for it."""
    hasher = app.state.password_hasher
    verify = hasher.verify

    async def erased_meanwhile(password: str, hashed: str | None) -> bool:
        monkeypatch.setattr(hasher, "verify", verify)
        matches: bool = await verify(password, hashed)
        assert (await erase(canary.caller)).status_code == 204
        return matches

    monkeypatch.setattr(hasher, "verify", erased_meanwhile)
    login = {"email": EMAIL, "password": PASSWORD}
    problem(await client.post("/api/v1/auth/login", json=login), 401, "invalid_credentials")


async def test_an_account_that_changes_meanwhile_is_looked_at_again(
    app: FastAPI, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change between the look at the account and the lock on it: everything once more."""
    lock_version, locked = repository.lock_version, []

    async def changed_before(*arguments: Any) -> bool:
        if not locked:
            ok(await canary.caller.patch("/auth/me", {"phone": "+33100000043"}))
        locked.append(await lock_version(*arguments))
        return locked[-1]

    monkeypatch.setattr(repository, "lock_version", changed_before)
    assert (await erase(canary.caller)).status_code == 204
    assert locked == [False, True]
    assert mentions(await dump(app), CANARY, PHONE, "+33100000043") == []
