"""Sessions: refresh tokens that rotate, and logging out."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.auth.session_service import REUSE_GRACE
from tests.business import PASSWORD, Business, Caller, Hands, ok, problem

PAST_THE_GRACE = REUSE_GRACE + timedelta(seconds=1)


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/api/v1/auth/refresh", json={"refresh_token": token})


async def access(caller: Caller, tokens: dict[str, Any]) -> httpx.Response:
    return await Caller(caller.client, {}, tokens["access_token"]).get("/auth/me")


def forget(app: FastAPI) -> None:
    """What this process remembers for a second, it now asks Postgres for."""
    app.state.authenticator._standings.clear()


# --- Refreshing -------------------------------------------------------------------------------
async def test_a_refresh_token_gives_the_next_pair_and_dies(
    business: Business, client: httpx.AsyncClient, clock: Hands
) -> None:
    ada = await business.customer()
    second = ok(await refresh(client, ada.refresh_token))
    assert second["token_type"] == "bearer"
    assert second["refresh_token"] != ada.refresh_token
    assert ok(await access(ada, second)) == ada.user
    third = ok(await refresh(client, second["refresh_token"]))
    assert len({ada.refresh_token, second["refresh_token"], third["refresh_token"]}) == 3
    clock.advance(seconds=PAST_THE_GRACE.total_seconds())
    problem(await refresh(client, ada.refresh_token), 401, "invalid_token")


async def test_twenty_refreshes_at_once_give_one_successor_and_log_nobody_out(
    business: Business, client: httpx.AsyncClient
) -> None:
    ada = await business.customer()
    answers = await asyncio.gather(*(refresh(client, ada.refresh_token) for _ in range(20)))
    pairs = [ok(answer) for answer in answers]
    (successor,) = {pair["refresh_token"] for pair in pairs}
    assert ok(await access(ada, pairs[0])) == ada.user
    ok(await refresh(client, successor))


async def test_reuse_within_the_grace_gives_the_same_successor(
    business: Business, client: httpx.AsyncClient, clock: Hands
) -> None:
    ada = await business.customer()
    first = ok(await refresh(client, ada.refresh_token))
    clock.advance(seconds=REUSE_GRACE.total_seconds())
    again = ok(await refresh(client, ada.refresh_token))
    assert again["refresh_token"] == first["refresh_token"]


async def test_reuse_after_the_grace_ends_the_session_for_thief_and_owner(
    app: FastAPI, business: Business, client: httpx.AsyncClient, clock: Hands
) -> None:
    ada = await business.customer()
    successor = ok(await refresh(client, ada.refresh_token))
    clock.advance(seconds=PAST_THE_GRACE.total_seconds())
    problem(await refresh(client, ada.refresh_token), 401, "invalid_token")
    forget(app)
    problem(await access(ada, successor), 401, "invalid_token")
    problem(await refresh(client, successor["refresh_token"]), 401, "invalid_token")
    other = await business.log_in(ada.user["email"], PASSWORD)
    (entry,) = [
        entry
        for entry in ok(
            await (await business.admin()).get(
                "/admin/audit-log", params={"subject_id": ada.user["id"]}
            )
        )["items"]
        if entry["type"] == "user.sessions_ended"
    ]
    assert entry["after"]["reason"] == "refresh_token_reused"
    ok(await refresh(client, other.refresh_token))


@pytest.mark.parametrize(
    "token", ["x", "x" * 200, "\N{SNOWMAN}" * 10], ids=["short", "long", "odd"]
)
async def test_what_was_never_issued_is_no_refresh_token(
    client: httpx.AsyncClient, token: str
) -> None:
    problem(await refresh(client, token), 401, "invalid_token")


async def test_an_access_token_is_no_refresh_token_nor_the_other_way_round(
    business: Business, client: httpx.AsyncClient
) -> None:
    ada = await business.customer()
    assert (await refresh(client, ada.token)).status_code in {401, 422}
    swapped = Caller(client, {}, ada.refresh_token)
    problem(await swapped.get("/auth/me"), 401, "invalid_token")


async def test_a_session_that_is_not_used_runs_out(
    app: FastAPI, business: Business, client: httpx.AsyncClient, clock: Hands
) -> None:
    ada = await business.customer()
    clock.advance(days=app.state.settings.REFRESH_TOKEN_EXPIRE_DAYS)
    problem(await refresh(client, ada.refresh_token), 401, "invalid_token")


async def test_no_refresh_token_lies_in_the_database(
    app: FastAPI, business: Business, client: httpx.AsyncClient
) -> None:
    ada = await business.customer()
    second = ok(await refresh(client, ada.refresh_token))
    async with app.state.database.reading() as session:
        for table in ("sessions", "refresh_tokens", "events"):
            rows = await session.scalars(text(f"SELECT t::text FROM {table} t"))
            dump = "\n".join(rows)
            for token in (ada.refresh_token, second["refresh_token"]):
                assert token not in dump
                assert token.encode().hex() not in dump


# --- Logging in -------------------------------------------------------------------------------
async def test_a_login_that_a_new_password_overtakes_is_refused(
    app: FastAPI, business: Business, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bcrypt takes its time, and the old password is verified against the old hash."""
    ada = await business.customer()
    hasher = app.state.password_hasher
    verify = hasher.verify

    async def overtaken(password: str, hashed: str | None) -> bool:
        monkeypatch.setattr(hasher, "verify", verify)
        matches: bool = await verify(password, hashed)
        change = {"current_password": PASSWORD, "new_password": "a quite different sentence"}
        assert (await ada.post("/auth/me/password", change)).status_code == 204
        return matches

    monkeypatch.setattr(hasher, "verify", overtaken)
    body = {"email": ada.user["email"], "password": PASSWORD}
    problem(await client.post("/api/v1/auth/login", json=body), 401, "invalid_credentials")
    (only,) = ok(await ada.get("/auth/sessions"))["items"]
    assert only["is_current"]


# --- Logging out ------------------------------------------------------------------------------
async def test_logging_out_ends_this_session_only(
    app: FastAPI, business: Business, client: httpx.AsyncClient
) -> None:
    here = await business.customer()
    there = await business.log_in(here.user["email"], PASSWORD)
    assert (await here.post("/auth/logout")).status_code == 204
    forget(app)
    problem(await here.get("/auth/me"), 401, "invalid_token")
    problem(await refresh(client, here.refresh_token), 401, "invalid_token")
    ok(await there.get("/auth/me"))


async def test_logging_out_twice_is_logging_out(business: Business) -> None:
    here = await business.customer()
    # Where the answer to the first one is lost, or within the second for which a token is known.
    assert (await here.post("/auth/logout")).status_code == 204
    assert (await here.post("/auth/logout")).status_code == 204


async def test_logging_out_everywhere_ends_all(
    app: FastAPI, business: Business, client: httpx.AsyncClient
) -> None:
    here = await business.customer()
    there = await business.log_in(here.user["email"], PASSWORD)
    someone_else = await business.customer()
    assert (await here.post("/auth/logout-all")).status_code == 204
    forget(app)
    for caller in (here, there):
        problem(await caller.get("/auth/me"), 401, "invalid_token")
        problem(await refresh(client, caller.refresh_token), 401, "invalid_token")
    ok(await someone_else.get("/auth/me"))


async def test_sessions_are_listed_with_device_and_last_use(
    business: Business, client: httpx.AsyncClient, clock: Hands
) -> None:
    client.headers["User-Agent"] = "Firefox\x1f on a phone"
    here = await business.customer()
    clock.advance(minutes=5)
    there = await business.log_in(here.user["email"], PASSWORD)
    clock.advance(minutes=5)
    ok(await refresh(client, here.refresh_token))
    first, second = ok(await there.get("/auth/sessions"))["items"]
    assert [first["is_current"], second["is_current"]] == [False, True]
    assert first["last_used_at"] == "2026-03-02T08:10:00Z"
    assert first["created_at"] == "2026-03-02T08:00:00Z"
    assert (first["device"], first["address"]) == ("Firefox  on a phone", "127.0.0.1")


async def test_a_session_can_be_ended_from_another_device(app: FastAPI, business: Business) -> None:
    here = await business.customer()
    there = await business.log_in(here.user["email"], PASSWORD)
    sessions = ok(await here.get("/auth/sessions"))["items"]
    (other,) = [session for session in sessions if not session["is_current"]]
    assert (await here.delete(f"/auth/sessions/{other['id']}")).status_code == 204
    forget(app)
    problem(await there.get("/auth/me"), 401, "invalid_token")
    problem(await here.delete(f"/auth/sessions/{other['id']}"), 404, "not_found")


async def test_another_persons_session_looks_absent(business: Business) -> None:
    ada, grace = await business.customer(), await business.customer()
    (session,) = ok(await grace.get("/auth/sessions"))["items"]
    foreign = problem(await ada.delete(f"/auth/sessions/{session['id']}"), 404, "not_found")
    absent = problem(await ada.delete(f"/auth/sessions/{uuid4()}"), 404, "not_found")
    assert foreign["detail"] == absent["detail"]
    ok(await grace.get("/auth/me"))
