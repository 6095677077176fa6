"""No secret in any log line, event, error or repr: canaries are planted everywhere, then sought."""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pyotp
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.auth.models import User
from app.core.middleware import access_log, errors
from app.main import create_app
from tests.business import Business, Hands, ok, serving
from tests.conftest import make_settings
from tests.mailbox import Mailbox, token_of
from tests.unit.core.recorder import record_log

PASSWORD = "canary-password-Zx81 sings"
NEW_PASSWORD = "canary-renewed-Zx82 sings"
WRONG_PASSWORD = "canary-wrong-Zx83 sings"


@pytest.fixture
async def app(settings: Any, mailbox: Mailbox, clock: Hands) -> AsyncIterator[FastAPI]:
    loud = make_settings(
        POSTGRES_DB=settings.POSTGRES_DB,
        API_KEYS_ENABLED=True,
        LOG_LEVEL="DEBUG",
        MAIL_DEBUG=True,
        **mailbox.settings,
    )
    app = create_app(loud, clock=clock)
    async with serving(app) as client:
        app.state.test_client = client
        yield app


@pytest.fixture
def client(app: FastAPI) -> httpx.AsyncClient:
    made: httpx.AsyncClient = app.state.test_client
    return made


async def contents(app: FastAPI, *tables: str) -> list[str]:
    """Every row of these tables as text, and what the kept answers say."""
    kept = "SELECT encode(body, 'escape') FROM idempotency_keys"
    statements = [*(f"SELECT t::text FROM {table} t" for table in tables), kept]
    async with app.state.database.reading() as session:
        return [str(row[0]) for s in statements for row in await session.execute(text(s))]


async def plant_guests(
    client: httpx.AsyncClient, business: Business, refused: Callable[..., Awaitable[None]]
) -> dict[str, str]:
    """A visitor holds, books, moves and cancels; and is refused wherever a secret is sent."""
    service = await business.service(durations_minutes=[60], allow_guests=True)
    await business.provider(service)

    def at(hour: int) -> dict[str, Any]:
        return {"service_id": service["id"], "start": f"2026-03-03T{hour}:00:00+01:00"}

    first, second = [
        ok(
            await client.post(
                "/api/v1/holds", json=at(hour), headers={"Idempotency-Key": f"{hour}"}
            )
        )
        for hour in (10, 11)
    ]
    path = f"/holds/{second['id']}"
    for wrong in (second["secret"][:-1], first["secret"]):
        await refused("DELETE", path, headers={"X-Hold-Secret": wrong})
    body = {
        "guest": {"name": "Canary", "email": "guest@example.com"},
        "hold_id": second["id"],
        "hold_secret": second["secret"],
    }
    await refused("POST", "/bookings", json=at(10) | body)
    once = {"Idempotency-Key": "once"}
    answer = await client.post("/api/v1/bookings", json=at(11) | body, headers=once)
    old = ok(answer)["manage_token"]
    path, move = f"/manage/{old}", {"start": at(13)["start"]}
    answer = await client.post(f"/api/v1{path}/reschedule", json=move, headers=once)
    new = ok(answer)["manage_token"]
    await refused("GET", path)
    await refused("POST", f"/manage/{new}/reschedule", json={"start": "soon"})
    ok(await client.post(f"/api/v1/manage/{new}/cancel", headers=once))
    await refused("POST", f"/manage/{new}/cancel")
    return {
        "secret of a hold": first["secret"],
        "secret of a used hold": second["secret"],
        "first manage token": old,
        "second manage token": new,
    }


async def test_no_secret_is_written_anywhere(
    app: FastAPI,
    client: httpx.AsyncClient,
    business: Business,
    mailbox: Mailbox,
    clock: Hands,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    for own in ("mail.log", "httpx"):  # the test's mail server, and its client, know secrets
        caplog.set_level(logging.WARNING, own)
    lines = record_log(monkeypatch, access_log), record_log(monkeypatch, errors)
    refusals: list[str] = []

    async def refused(method: str, path: str, **options: Any) -> None:
        answer = await client.request(method, f"/api/v1{path}", **options)
        assert answer.is_error
        refusals.append(answer.text)

    # --- Plant ---
    address = "canary@example.com"
    body = {"name": "Canary", "email": address, "password": PASSWORD}
    ok(await client.post("/api/v1/auth/signup", json=body, headers={"Idempotency-Key": "k"}))
    await refused("POST", "/auth/signup", json=body)
    await refused("POST", "/auth/signup", json={"password": PASSWORD})
    await refused("POST", "/auth/login", json={"email": address, "password": WRONG_PASSWORD})
    caller = await business.log_in(address, PASSWORD)
    refreshed = ok(
        await client.post("/api/v1/auth/refresh", json={"refresh_token": caller.refresh_token})
    )
    key = ok(await caller.post("/auth/api-keys", {"name": "k", "permissions": []}))["key"]
    await refused("GET", "/bookings", headers={"X-API-Key": key[:-1] + "~"})
    await client.get("/api/v1/auth/me", headers={"X-API-Key": key})
    await refused("GET", "/auth/me", headers={"Authorization": f"Bearer {caller.token}x"})
    totp = ok(await caller.post("/auth/mfa/totp", {"password": PASSWORD}))
    code = pyotp.TOTP(totp["secret"]).at(clock())
    recovery = ok(await caller.post("/auth/mfa/totp/confirm", {"code": code}))["recovery_codes"]
    await refused("POST", "/auth/login", json={"email": address, "password": PASSWORD})
    wrong_code = {"email": address, "password": PASSWORD, "code": "000000"}
    await refused("POST", "/auth/login", json=wrong_code)
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert (await caller.post("/auth/me/password", change)).status_code == 204
    await client.post("/api/v1/auth/password/forgot", json={"email": address})
    await app.state.jobs.run_due()
    links = [token_of(mail) for mail in mailbox.to(address) if "#token=" in str(mail)]
    assert links

    of_guests = await plant_guests(client, business, refused)
    await app.state.jobs.run_due()

    # --- Seek ---
    tables = await contents(app, "holds", "bookings", "idempotency_keys", "pgqueuer")
    async with app.state.database.reading() as session:
        events = [row for (row,) in await session.execute(text("SELECT e::text FROM events e"))]
        hashed = await session.scalar(
            text("SELECT hashed_password FROM users WHERE email = :email"), {"email": address}
        )
        user = await session.scalar(
            text("SELECT id FROM users WHERE email = :email"), {"email": address}
        )
        entity = await session.get(User, user)
    assert len(events) >= 5
    output = capsys.readouterr()
    written = "\n".join(
        [
            *(json.dumps(line, default=repr) for recorded in lines for line in recorded),
            caplog.text,
            output.out,
            output.err,
            *events,
            *tables,
            *refusals,
            repr(entity),
            repr(app.state.settings),
            repr(app.state.signer),
            repr(app.state.authenticator._standings._answers),
        ]
    )
    assert "/api/v1/auth/login" in written
    secrets = {
        "password": PASSWORD,
        "new password": NEW_PASSWORD,
        "wrong password": WRONG_PASSWORD,
        "hash": hashed,
        "signature of an access token": caller.token.rpartition(".")[2],
        "refresh token": caller.refresh_token,
        "second refresh token": refreshed["refresh_token"],
        "API key": key,
        "TOTP secret": totp["secret"],
        "SECRET_KEY": app.state.settings.SECRET_KEY.get_secret_value(),
        **{f"recovery code {number}": code for number, code in enumerate(recovery)},
        **of_guests,
        **{f"link {number}": token for number, token in enumerate(links)},
    }
    assert [name for name, secret in secrets.items() if secret in written] == []
