"""No secret in any log line, event, error or repr: canaries are planted everywhere, then sought."""

import json
import logging
from collections.abc import AsyncIterator
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
    caplog.set_level(logging.WARNING, "mail.log")  # the test's own mail server, which reads mails
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

    # --- Seek ---
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
        **{f"link {number}": token for number, token in enumerate(links)},
    }
    assert [name for name, secret in secrets.items() if secret in written] == []
