"""What a role needs in order to get anywhere: an account, things of its own, everybody's ids."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.permissions import ADMIN, CUSTOMER, PROVIDER
from app.auth.repository import add_user
from app.auth.role_repository import ids_named
from app.auth.session_repository import open_session
from app.auth.tokens import Claims, TokenSigner
from app.config import Settings
from app.core.security import PasswordHasher
from app.database import Database
from devserver.throwaway import Server

ANONYMOUS, SUPERUSER = "anonymous", "superuser"
ROLES = (ANONYMOUS, CUSTOMER, PROVIDER, ADMIN, SUPERUSER)
PASSWORD = "correct horse battery fuzz"  # noqa: S105 - of accounts that live for minutes
_ROUNDS = 4
_HOOK = "https://example.com/hook"
_DAY = timedelta(days=1)
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_HOW_MANY = 40

# Where ids of what there is are asked for: by the name of the parameter or of the body's field.
_TABLES = {
    "booking_id": "bookings",
    "customer_id": "users",
    "delivery_id": "webhook_deliveries",
    "entry_id": "waitlist_entries",
    "exclude_booking_id": "bookings",
    "feed_id": "calendar_feeds",
    "hold_id": "holds",
    "location_id": "locations",
    "provider_id": "providers",
    "resource_id": "resources",
    "role_id": "roles",
    "series_id": "booking_series",
    "service_id": "services",
    "user_id": "users",
    "webhook_id": "webhooks",
}
# What becomes the account's own.
_OWNED = ("holds", "booking_series", "waitlist_entries")


def log_in(role: str, environment: Mapping[str, str]) -> str | None:
    """Open an account with this role and things of its own; return a token for it.

    None: the role needs none.
    """
    return None if role == ANONYMOUS else asyncio.run(_log_in(role, _settings(environment)))


def likely_values(server: Server) -> dict[str, list[str]]:
    """Make one of each thing that there can be, and return values that mean something.

    They go by the name of the parameter or of the body's field that takes them.
    """
    with httpx.Client(base_url=server.api_url, timeout=20) as client:
        services = [
            _open_service(client, server, approval) for approval in ("automatic", "required")
        ]
        found = {
            "If-Match": ["*"],
            "current_password": [PASSWORD],
            "password": [PASSWORD],
            "url": [_HOOK],
            **_things_of_a_customer(client, server, services),
        }
    found |= asyncio.run(_ids(_settings(server.environment)))
    return {name: values for name, values in found.items() if values}


def _open_service(client: httpx.Client, server: Server, approval: str) -> str:
    """A service that hardly refuses anybody: every quarter of an hour, day and night, also guests.

    Those of the demonstration have notices, limits and hours, by which most requests are refused.
    """
    client.headers = _bearer(SUPERUSER, server)
    day = {"start": "00:00", "end": "24:00"}
    offer = {
        "name": f"Approval {approval}",
        "durations_minutes": [15, 30],
        "approval": approval,
        "allow_guests": True,
    }
    service = _made(client.post("/services", json=offer))
    provider = _made(client.post("/providers", json={"display_name": "Fuzz", "time_zone": "UTC"}))
    weekly = [{"weekday": weekday, "intervals": [day]} for weekday in _WEEKDAYS]
    hours = {"time_zone": "UTC", "weekly": weekly}
    client.put(f"/providers/{provider}/schedule", json=hours).raise_for_status()
    given = {"providers": [{"provider_id": provider}]}
    client.put(f"/services/{service}/providers", json=given).raise_for_status()
    webhook = _made(client.post("/webhooks", json={"url": _HOOK, "events": ["booking.*"]}))
    client.post(f"/webhooks/{webhook}/test").raise_for_status()
    return service


def _things_of_a_customer(
    client: httpx.Client, server: Server, services: Sequence[str]
) -> dict[str, list[str]]:
    """Book, hold and wait; return free times, and the secrets of what is there."""
    starts: list[str] = []
    tokens: list[str] = []
    for service in services:
        wanted = {"service_id": service}
        answer = client.get("/availability/next", params={**wanted, "count": 50})
        free = [slot["start"] for slot in answer.raise_for_status().json()["slots"]]
        starts += free[30:]
        client.headers = _bearer(CUSTOMER, server)
        for number in range(8):
            _made(client.post("/bookings", json={**wanted, "start": free[number]}))
        for number in range(8, 12):
            held = {**wanted, "start": free[number], "ttl_seconds": 900}
            _made(client.post("/holds", json=held))
        repeated = {**wanted, "start": free[12], "rrule": "FREQ=WEEKLY;COUNT=2"}
        _made(client.post("/booking-series", json=repeated))
        feed = client.post("/calendar-feeds", json={}).raise_for_status().json()
        tokens.append(feed["url"].rpartition("/")[2].removesuffix(".ics"))
        client.headers = {}
        for number in range(13, 18):
            guest = {"name": "Guest", "email": f"guest{number}@example.com"}
            body = {**wanted, "start": free[number], "guest": guest}
            booked = client.post("/bookings", json=body).raise_for_status()
            tokens.append(booked.json()["manage_token"])
        # Last, for whoever waits may be offered any of these times.
        window = {"start": free[0], "end": _after(free[0], days=2)}
        waiting = {**wanted, "windows": [window]}
        _made(client.post("/waitlist", json=waiting, headers=_bearer(CUSTOMER, server)))
    return {"start": starts, "token": tokens}


def _bearer(role: str, server: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {log_in(role, server.environment)}"}


def _made(answer: httpx.Response) -> str:
    return str(answer.raise_for_status().json()["id"])


def _after(instant: str, days: int) -> str:
    return (datetime.fromisoformat(instant) + days * _DAY).isoformat()


def _settings(environment: Mapping[str, str]) -> Settings:
    known = {name: environment[name] for name in Settings.model_fields if name in environment}
    return Settings(_env_file=None, **known)  # type: ignore[arg-type]  # any setting, by name


async def _log_in(role: str, settings: Settings) -> str:
    now = datetime.now(UTC)
    database = Database.from_settings(settings)
    try:
        async with database.transaction() as session:
            user_id = await add_user(
                session,
                email=f"{uuid.uuid4().hex}@example.com",
                name="Fuzz",
                hashed_password=await PasswordHasher(rounds=_ROUNDS).hash(PASSWORD),
                role_ids=[] if role == SUPERUSER else await ids_named(session, [role]),
                is_superuser=role == SUPERUSER,
                email_verified=True,
            )
            if user_id is None:
                raise LookupError(role)
            session_id = await open_session(
                session, user_id=user_id, device="", address="", now=now, expires_at=now + _DAY
            )
            await _give(session, user_id, role)
            return TokenSigner(settings).issue(Claims(user_id, session_id), now)
    finally:
        await database.dispose()


async def _give(session: AsyncSession, user_id: uuid.UUID, role: str) -> None:
    """Hand over some bookings and all else that customers have; to a provider, a calendar."""
    user = {"user": user_id}
    for table in _OWNED:
        await session.execute(text(f"UPDATE {table} SET customer_id = :user"), user)
    await session.execute(text("UPDATE calendar_feeds SET user_id = :user"), user)
    await session.execute(
        text(
            "UPDATE bookings SET customer_id = :user WHERE id IN (SELECT id FROM bookings"
            " WHERE customer_id IS NOT NULL ORDER BY random() LIMIT 8)"
        ),
        user,
    )
    if role == PROVIDER:
        await session.execute(
            text(
                "UPDATE providers SET user_id = :user WHERE id ="
                " (SELECT provider_id FROM bookings GROUP BY 1 ORDER BY count(*) DESC LIMIT 1)"
            ),
            user,
        )


async def _ids(settings: Settings) -> dict[str, list[str]]:
    database = Database.from_settings(settings)
    try:
        async with database.reading() as session:
            return {
                name: [
                    str(found)
                    for found in await session.scalars(
                        text(f"SELECT id FROM {table} ORDER BY id DESC LIMIT {_HOW_MANY}")
                    )
                ]
                for name, table in _TABLES.items()
            }
    finally:
        await database.dispose()
