"""A business run through its own API, for tests to set up what they need in a line or two."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from fastapi import FastAPI
from sqlalchemy import text

ADMIN_EMAIL = "admin@example.com"
ADMIN_PASSWORD = "an administrator's password"
PASSWORD = "correct horse battery"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_numbers = itertools.count(1)


class Hands:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Caller:
    """A client that sends one account's token."""

    client: httpx.AsyncClient
    user: dict[str, Any]
    token: str
    refresh_token: str = ""

    async def request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} | (headers or {})
        return await self.client.request(method, f"/api/v1{path}", headers=headers, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.request("GET", path, **options)

    async def post(self, path: str, json: object = None, **options: Any) -> httpx.Response:
        return await self.request("POST", path, json=json, **options)

    async def put(self, path: str, json: object = None, **options: Any) -> httpx.Response:
        return await self.request("PUT", path, json=json, **options)

    async def patch(self, path: str, json: object = None, **options: Any) -> httpx.Response:
        return await self.request("PATCH", path, json=json, **options)

    async def delete(self, path: str, **options: Any) -> httpx.Response:
        return await self.request("DELETE", path, **options)


def ok(response: httpx.Response) -> Any:
    """The answer's body; fails with the problem if it is one."""
    assert response.is_success, response.text
    return response.json()


def problem(response: httpx.Response, status: int, code: str) -> Any:
    """The problem this answer is; fails if it is another one, or none."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    body = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body["request_id"] == response.headers["x-request-id"]
    return body


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that runs as long as the block."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


async def execute(app: FastAPI, statement: str, **values: object) -> None:
    """Change the database behind the application's back, for what has no route yet."""
    async with app.state.database.transaction() as session:
        await session.execute(text(statement), values)
    # Each process remembers accounts for a second.
    app.state.authenticator._standings.clear()


async def calendar_version(app: FastAPI, subject: dict[str, Any]) -> int:
    """The version of a provider's or resource's calendar; 0: it has none."""
    statement = text("SELECT version FROM calendars WHERE subject_id = :subject")
    async with app.state.database.reading() as session:
        version = await session.scalar(statement, {"subject": UUID(subject["id"])})
    return int(version or 0)


async def grant(app: FastAPI, caller: Caller, role: str) -> None:
    await execute(
        app,
        "INSERT INTO user_roles SELECT :user, id FROM roles WHERE name = :role",
        user=UUID(caller.user["id"]),
        role=role,
    )


class Business:
    def __init__(self, client: httpx.AsyncClient, admin: Caller | None = None) -> None:
        self.client = client
        self._admin = admin

    async def log_in(self, email: str, password: str) -> Caller:
        body = {"email": email, "password": password}
        tokens = ok(await self.client.post("/api/v1/auth/login", json=body))
        caller = Caller(self.client, {}, tokens["access_token"], tokens["refresh_token"])
        caller.user = ok(await caller.get("/auth/me"))
        return caller

    async def admin(self) -> Caller:
        if self._admin is None:
            self._admin = await self.log_in(ADMIN_EMAIL, ADMIN_PASSWORD)
        return self._admin

    async def customer(self, name: str = "Ada Lovelace") -> Caller:
        email = f"customer{next(_numbers)}@example.com"
        body = {"name": name, "email": email, "password": PASSWORD}
        ok(await self.client.post("/api/v1/auth/signup", json=body))
        return await self.log_in(email, PASSWORD)

    async def service(self, **fields: Any) -> dict[str, Any]:
        number = next(_numbers)
        body = {"name": f"Service {number}", "durations_minutes": [30]} | fields
        return ok(await (await self.admin()).post("/services", body))

    async def provider(
        self,
        *services: dict[str, Any],
        zone: str = "Europe/Paris",
        hours: dict[str, list[tuple[str, str]]] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """A provider who gives these services; by default from 09:00 to 17:00 on weekdays."""
        admin = await self.admin()
        body = {"display_name": f"Provider {next(_numbers)}", "time_zone": zone} | fields
        provider = ok(await admin.post("/providers", body))
        await self.schedule(provider, zone=zone, hours=hours)
        for service in services:
            path = f"/services/{service['id']}/providers"
            others = ok(await admin.get(path))["providers"]
            ok(await admin.put(path, {"providers": [*others, {"provider_id": provider["id"]}]}))
        return provider

    async def schedule(
        self,
        provider: dict[str, Any],
        *,
        zone: str = "Europe/Paris",
        hours: dict[str, list[tuple[str, str]]] | None = None,
    ) -> dict[str, Any]:
        if hours is None:
            hours = {day: [("09:00", "17:00")] for day in WEEKDAYS[:5]}
        weekly = [
            {
                "weekday": day,
                "intervals": [{"start": start, "end": end} for start, end in day_hours],
            }
            for day, day_hours in hours.items()
        ]
        return ok(
            await (await self.admin()).put(
                f"/providers/{provider['id']}/schedule", {"time_zone": zone, "weekly": weekly}
            )
        )

    async def booking(
        self, service: dict[str, Any], start: str, *, caller: Caller | None = None, **fields: Any
    ) -> dict[str, Any]:
        """A booking of the service at this instant, by a new customer unless said otherwise."""
        caller = caller or await self.customer()
        body = {"service_id": service["id"], "start": start} | fields
        return ok(await caller.post("/bookings", body))

    async def free_times(self, service: dict[str, Any], start: str, end: str, **query: Any) -> Any:
        """Every free start of the range, as text, in order."""
        params = {"service_id": service["id"], "start": start, "end": end} | query
        answer = ok(await self.client.get("/api/v1/availability", params=params))
        return [slot["start"] for day in answer["days"] for slot in day["slots"]]
