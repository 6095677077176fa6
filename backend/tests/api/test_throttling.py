"""Limits of logins and the like, over HTTP. Time is turned, in Redis too; nothing sleeps."""

import asyncio
import dataclasses
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from limits.aio.storage import memory

from app.auth import throttling
from app.auth.throttling import HOUR, LIMITS, MINUTE, QUARTER
from app.config import Settings
from app.core import breaker, redis
from app.core.rate_limit import Policy
from app.main import create_app
from devserver.valkey import EmbeddedValkey
from tests.business import PASSWORD, Hands, execute, ok, problem
from tests.conftest import make_settings
from tests.mailbox import Mailbox, newest_token
from tests.unit.core.recorder import record_log

HOME, OFFICE = "203.0.113.1", "203.0.113.2"
ADA = "ada@example.com"
WRONG = "not her password"
NEW_PASSWORD = "another good password"


class Visitor:
    """Somebody who calls from one address."""

    def __init__(self, app: FastAPI, address: str) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 50_000))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    async def post(self, path: str, **options: Any) -> httpx.Response:
        return await self.client.post(f"/api/v1/auth{path}", **options)

    async def log_in(self, email: str = ADA, password: str = PASSWORD) -> httpx.Response:
        return await self.post("/login", json={"email": email, "password": password})

    async def log_in_by_form(self, email: str = ADA, password: str = PASSWORD) -> httpx.Response:
        form = {"grant_type": "password", "username": email, "password": password}
        return await self.post("/token", data=form)

    async def sign_up(self, email: str = ADA, **options: Any) -> httpx.Response:
        body = {"name": "Ada Lovelace", "email": email, "password": PASSWORD}
        return await self.post("/signup", json=body, **options)

    async def forget(self, email: str = ADA) -> httpx.Response:
        return await self.post("/password/forgot", json={"email": email})

    async def reset(self, token: str, password: str = NEW_PASSWORD) -> httpx.Response:
        body = {"token": token, "new_password": password}
        return await self.post("/password/reset", json=body)

    async def guess(self, times: int, email: str = ADA) -> list[int]:
        """The statuses of so many wrong passwords, one after the other."""
        return [(await self.log_in(email, WRONG)).status_code for _ in range(times)]


From = Callable[[str], Visitor]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For exact counts in Redis, which a busy machine must not turn into a fallback."""
    monkeypatch.setattr(redis, "TIMEOUT_SECONDS", 20.0)


@pytest.fixture
def limited(settings: Settings) -> Callable[..., Settings]:
    """Makes settings with limits, and with keys of this test's own."""

    def limited(**changes: object) -> Settings:
        own = {
            "POSTGRES_DB": settings.POSTGRES_DB,
            "RATE_LIMIT_ENABLED": True,
            "CACHE_PREFIX": f"test-{uuid.uuid4().hex}",
        }
        return make_settings(**(own | changes))

    return limited


@asynccontextmanager
async def running(settings: Settings, clock: Hands) -> AsyncIterator[FastAPI]:
    app = create_app(settings, clock=clock)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def app(
    limited: Callable[..., Settings], clock: Hands, patient: None
) -> AsyncIterator[FastAPI]:
    async with running(limited(), clock) as app:
        yield app


@pytest.fixture
def visitor(app: FastAPI) -> From:
    return lambda address: Visitor(app, address)


@pytest.fixture
async def ada(app: FastAPI) -> str:
    """An account that was never logged in to."""
    ok(await Visitor(app, "198.51.100.250").sign_up())
    return ADA


async def pass_time(app: FastAPI, seconds: int) -> None:
    """Bring the end of every counter nearer: Redis has no clock that could be turned."""
    limiter = app.state.rate_limiter
    prefix = app.state.settings.CACHE_PREFIX
    keys = [key async for key in limiter._redis.scan_iter(f"{prefix}:*")]
    assert keys
    for key in keys:
        await limiter._redis.pexpire(key, await limiter._redis.pttl(key) - seconds * 1000)


async def statuses(*answers: Awaitable[httpx.Response]) -> dict[int, int]:
    """How many of these, sent at once, got which status."""
    got = [answer.status_code for answer in await asyncio.gather(*answers)]
    return {status: got.count(status) for status in set(got)}


def rate_limited(answer: httpx.Response, policy: str) -> int:
    """The seconds to wait; fails unless this is the refusal of that policy."""
    problem(answer, 429, "rate_limited")
    wait = answer.headers["retry-after"]
    assert answer.headers["ratelimit"] == f'"{policy}";r=0;t={wait}'
    return int(wait)


# --- Exact under race ---------------------------------------------------------------------------
async def test_of_fifty_guesses_at_once_ten_are_judged(visitor: From, ada: str) -> None:
    guesses = (visitor(f"198.51.100.{i}").log_in(ada, WRONG) for i in range(50))
    assert await statuses(*guesses) == {401: 10, 429: 40}


async def test_of_fifty_at_once_from_one_address_thirty_are_judged(visitor: From) -> None:
    guesses = (visitor(HOME).log_in(f"user{i}@example.com", WRONG) for i in range(50))
    assert await statuses(*guesses) == {401: 30, 429: 20}


async def test_of_fifty_at_once_all_in_all_the_overall_number_is_judged(
    visitor: From, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, "login", overall=Policy("login-overall", 12, MINUTE))
    guesses = (visitor(f"198.51.100.{i}").log_in(f"user{i}@example.com", WRONG) for i in range(50))
    assert await statuses(*guesses) == {401: 12, 429: 38}
    rate_limited(await visitor(HOME).log_in(), "login-overall")


async def test_the_form_counts_with_the_login(visitor: From, ada: str) -> None:
    both = (
        way(ada, WRONG)
        for i in range(10)
        for way in (visitor(f"198.51.100.{i}").log_in, visitor(f"192.0.2.{i}").log_in_by_form)
    )
    assert await statuses(*both) == {401: 10, 429: 10}


async def test_processes_count_together(
    limited: Callable[..., Settings], clock: Hands, patient: None
) -> None:
    settings = limited()
    async with running(settings, clock) as one, running(settings, clock) as other:
        guesses = (
            Visitor((one, other)[i % 2], f"198.51.100.{i}").log_in(ADA, WRONG) for i in range(30)
        )
        assert await statuses(*guesses) == {401: 10, 429: 20}


# --- Whose failures count, and for whom -----------------------------------------------------------
async def test_successes_do_not_count_for_the_account(visitor: From, ada: str) -> None:
    for i in range(25):
        ok(await visitor(f"198.51.100.{i}").log_in())
    assert await visitor(HOME).guess(11) == [401] * 10 + [429]


async def test_a_success_makes_up_for_failures_of_the_same_place_only(
    visitor: From, ada: str
) -> None:
    assert await visitor(OFFICE).guess(9) == [401] * 9
    assert ok(await visitor(HOME).log_in())
    assert await visitor(OFFICE).guess(2) == [401, 429]
    assert await visitor(HOME).guess(9) == [401] * 9
    ok(await visitor(HOME).log_in())
    assert await visitor(HOME).guess(10) == [401] * 10


async def test_who_locks_an_account_locks_it_not_where_its_owner_logged_in(
    visitor: From, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, "login", overall=Policy("login-overall", 15, MINUTE))
    ok(await visitor(HOME).log_in())
    await visitor(OFFICE).guess(12)
    rate_limited(await visitor("192.0.2.1").log_in(), "login")
    for i in range(10):
        await visitor(f"198.51.100.{i}").guess(1)
    rate_limited(await visitor("192.0.2.1").log_in(), "login-overall")
    ok(await visitor(HOME).log_in())


async def test_a_known_place_has_no_more_guesses_than_others(visitor: From, ada: str) -> None:
    ok(await visitor(HOME).log_in())
    assert await visitor(HOME).guess(11) == [401] * 10 + [429]
    rate_limited(await visitor(HOME).log_in(), "login")


async def test_a_locked_account_opens_after_a_quarter_of_an_hour(
    app: FastAPI, visitor: From, ada: str
) -> None:
    await visitor(OFFICE).guess(15)
    wait = rate_limited(await visitor(HOME).log_in(), "login")
    assert QUARTER - 120 < wait <= QUARTER
    await pass_time(app, wait - 120)
    rate_limited(await visitor(HOME).log_in(), "login")
    await pass_time(app, 120)
    ok(await visitor(HOME).log_in())


# --- The way in that guessing cannot close --------------------------------------------------------
class Siege:
    """Strangers in several networks who never stop guessing, and ask for links from ever more."""

    def __init__(self, app: FastAPI, clock: Hands) -> None:
        self.app = app
        self.clock = clock
        self.strangers = [Visitor(app, f"198.51.100.{i}") for i in range(5)]
        self.networks = (f"192.0.2.{i}" for i in range(1, 255))

    async def go_on(self, *, minutes: int) -> None:
        for _ in range(minutes):
            await pass_time(self.app, MINUTE)
            self.clock.advance(seconds=MINUTE)
            for stranger in self.strangers:
                await stranger.guess(3)
            assert (await Visitor(self.app, next(self.networks)).forget()).status_code == 202


@pytest.fixture
async def besieged(
    limited: Callable[..., Settings], clock: Hands, mailbox: Mailbox, patient: None
) -> AsyncIterator[Siege]:
    """Ada's account, which has been under attack for twenty minutes."""
    async with running(limited(**mailbox.settings), clock) as app:
        ok(await Visitor(app, "198.51.100.250").sign_up())
        siege = Siege(app, clock)
        await Visitor(app, OFFICE).guess(1)  # there are counters before the first minute passes
        await siege.go_on(minutes=20)
        yield siege


async def read_newest_link(siege: Siege, mailbox: Mailbox) -> str:
    await siege.app.state.jobs.run_due()
    return newest_token(mailbox.to(ADA))


async def test_the_owner_gets_in_by_mail_however_long_strangers_go_on(
    besieged: Siege, mailbox: Mailbox
) -> None:
    owner = Visitor(besieged.app, HOME)
    rate_limited(await owner.log_in(), "login")
    assert (await owner.forget()).status_code == 202
    token = await read_newest_link(besieged, mailbox)
    assert (await owner.reset(token)).status_code == 204
    for _ in range(2):
        ok(await owner.log_in(ADA, NEW_PASSWORD))
        await besieged.go_on(minutes=16)


async def test_an_owner_who_reads_mail_late_finds_a_link_that_works(
    besieged: Siege, mailbox: Mailbox
) -> None:
    owner = Visitor(besieged.app, HOME)
    assert (await owner.forget()).status_code == 202
    await besieged.app.state.jobs.run_due()
    await besieged.go_on(minutes=13)
    assert (await owner.reset(await read_newest_link(besieged, mailbox))).status_code == 204
    ok(await owner.log_in(ADA, NEW_PASSWORD))


async def test_a_reset_opens_the_lock_where_it_was_done_and_nowhere_else(
    besieged: Siege, mailbox: Mailbox
) -> None:
    owner = Visitor(besieged.app, HOME)
    await owner.forget()
    assert (await owner.reset(await read_newest_link(besieged, mailbox))).status_code == 204
    rate_limited(await Visitor(besieged.app, OFFICE).log_in(ADA, NEW_PASSWORD), "login")
    assert [await stranger.guess(1) for stranger in besieged.strangers] == [[429]] * 5
    assert await owner.guess(11) == [401] * 10 + [429]


async def test_a_reset_makes_up_for_failures_at_the_place_itself(
    besieged: Siege, mailbox: Mailbox
) -> None:
    owner = Visitor(besieged.app, HOME)
    for password in (NEW_PASSWORD, "yet another good password"):
        await owner.forget()
        token = await read_newest_link(besieged, mailbox)
        assert (await owner.reset(token, password)).status_code == 204
        assert await owner.guess(11) == [401] * 10 + [429]
    await owner.forget()
    token = await read_newest_link(besieged, mailbox)
    assert (await owner.reset(token, "the last of the passwords")).status_code == 204
    ok(await owner.log_in(ADA, "the last of the passwords"))


async def test_a_reset_that_fails_makes_no_place_known(besieged: Siege, mailbox: Mailbox) -> None:
    owner = Visitor(besieged.app, HOME)
    await owner.forget()
    token = await read_newest_link(besieged, mailbox)
    problem(await owner.reset(token, "short"), 422, "validation_failed")
    problem(await owner.reset("x" * 43), 422, "validation_failed")
    rate_limited(await owner.log_in(), "login")


async def test_strangers_cannot_flood_the_mailbox(besieged: Siege, mailbox: Mailbox) -> None:
    await besieged.app.state.jobs.run_due()
    mailbox.mails.clear()
    for _ in range(6):
        await besieged.go_on(minutes=10)
        await besieged.app.state.jobs.run_due()
    assert len(mailbox.to(ADA)) == 4


@pytest.mark.parametrize("email", [ADA, "nobody@example.com"])
async def test_who_asks_for_links_is_limited_where_they_are(
    visitor: From, ada: str, email: str
) -> None:
    answers = [await visitor(OFFICE).forget(email) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [202] * 5 + [429]
    rate_limited(answers[-1], "password-forgot")
    elsewhere = [await visitor(f"198.51.100.{i}").forget(email) for i in range(20)]
    assert {answer.status_code for answer in elsewhere} == {202}
    assert len({answer.content for answer in elsewhere}) == 1


async def test_a_locked_account_costs_no_hash_and_no_query(
    app: FastAPI, visitor: From, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await visitor(OFFICE).guess(10)
    await app.state.database.dispose()
    monkeypatch.delattr(app.state.password_hasher.__class__, "verify")
    rate_limited(await visitor(HOME).log_in(), "login")


@pytest.mark.parametrize("spelling", ["ADA@EXAMPLE.COM", " Ada@Example.com ", "ada@EXAMPLE.com"])
async def test_an_address_is_one_account_however_it_is_written(
    visitor: From, ada: str, spelling: str
) -> None:
    await visitor(OFFICE).guess(5)
    assert await visitor(OFFICE).guess(6, spelling) == [401] * 5 + [429]
    rate_limited(await visitor(HOME).log_in_by_form(spelling), "login")


async def test_a_network_of_ipv6_is_one_address(visitor: From) -> None:
    guesses = (
        visitor(f"2001:db8:1:2::{i:x}").log_in(f"user{i}@example.com", WRONG) for i in range(40)
    )
    assert await statuses(*guesses) == {401: 30, 429: 10}
    assert await visitor("2001:db8:1:3::1").guess(1) == [401]


async def test_one_address_cannot_use_up_what_all_share(
    visitor: From, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(
        monkeypatch,
        "login",
        address=Policy("login-address", 3, MINUTE),
        overall=Policy("login-overall", 5, MINUTE),
    )
    assert await visitor(OFFICE).guess(20) == [401] * 3 + [429] * 17
    assert await visitor(HOME).guess(2) == [401] * 2


async def test_what_is_no_address_counts_for_where_it_comes_from(visitor: From) -> None:
    answers = [await visitor(HOME).log_in_by_form("no address") for _ in range(31)]
    assert [answer.status_code for answer in answers] == [401] * 30 + [429]
    rate_limited(answers[-1], "login-address")


async def test_a_disabled_account_is_not_locked_by_its_right_password(
    app: FastAPI, visitor: From, ada: str
) -> None:
    await execute(app, "UPDATE users SET is_active = false")
    for _ in range(15):
        problem(await visitor(HOME).log_in(), 403, "account_disabled")


# --- The other actions ------------------------------------------------------------------------
async def test_thirty_sign_up_in_an_hour_from_one_address(app: FastAPI, visitor: From) -> None:
    signups = (visitor(HOME).sign_up(f"user{i}@example.com") for i in range(35))
    assert await statuses(*signups) == {201: 30, 429: 5}
    assert rate_limited(await visitor(HOME).sign_up(), "signup") > HOUR - 300
    ok(await visitor(OFFICE).sign_up())
    await pass_time(app, HOUR)
    ok(await visitor(HOME).sign_up("late@example.com"))


async def test_one_account_is_signed_up_for_ten_times_an_hour_whether_it_exists_or_not(
    visitor: From,
) -> None:
    answers = [await visitor(f"198.51.100.{i}").sign_up() for i in range(12)]
    assert [answer.status_code for answer in answers] == [201] + [409] * 9 + [429] * 2
    rate_limited(answers[-1], "signup-account")


async def test_a_refused_signup_can_be_sent_again_with_its_key(
    app: FastAPI, visitor: From, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, "signup", account=Policy("signup-account", 1, HOUR))
    key = {"Idempotency-Key": "once"}
    ok(await visitor(HOME).sign_up())
    rate_limited(await visitor(HOME).sign_up(headers=key), "signup-account")
    await pass_time(app, HOUR)
    await pass_time(app, HOUR)
    problem(await visitor(HOME).sign_up(headers=key), 409, "already_exists")


async def test_an_address_refreshes_sixty_times_a_minute(app: FastAPI, visitor: From) -> None:
    body = {"refresh_token": "never issued"}
    refreshes = (visitor(HOME).post("/refresh", json=body) for _ in range(70))
    assert await statuses(*refreshes) == {401: 60, 429: 10}
    rate_limited(await visitor(HOME).post("/refresh", json=body), "refresh")
    assert await statuses(visitor(OFFICE).post("/refresh", json=body)) == {401: 1}


async def test_a_stolen_token_does_not_help_to_guess_the_password(visitor: From, ada: str) -> None:
    token = ok(await visitor(HOME).log_in())["access_token"]

    async def change(current: str, new: str, address: str) -> httpx.Response:
        body = {"current_password": current, "new_password": new}
        headers = {"Authorization": f"Bearer {token}"}
        return await visitor(address).post("/me/password", json=body, headers=headers)

    for _ in range(12):  # the password is right, the new one is not
        problem(await change(PASSWORD, "short", HOME), 422, "validation_failed")
    guesses = (change(WRONG, "another good password", f"198.51.100.{i}") for i in range(30))
    assert await statuses(*guesses) == {401: 10, 429: 20}
    rate_limited(await change(PASSWORD, "another good password", OFFICE), "password-check")


# --- What is said --------------------------------------------------------------------------------
async def test_a_success_names_the_tightest_policy(visitor: From, ada: str) -> None:
    first = await visitor(HOME).log_in()
    ok(first)
    assert first.headers["ratelimit-policy"] == '"login";q=10;w=900'
    assert first.headers["ratelimit"].startswith('"login";r=10;t=')
    for _ in range(24):
        last = await visitor(HOME).log_in()
    assert last.headers["ratelimit-policy"] == '"login-address";q=30;w=60'
    assert last.headers["ratelimit"].startswith('"login-address";r=5;t=')
    assert "retry-after" not in last.headers
    refreshed = await visitor(HOME).post(
        "/refresh", json={"refresh_token": ok(first)["refresh_token"]}
    )
    ok(refreshed)
    assert refreshed.headers["ratelimit-policy"] == '"refresh";q=60;w=60'
    assert refreshed.headers["ratelimit"].startswith('"refresh";r=59;t=')


async def test_a_refusal_can_be_read_by_a_single_page_app(visitor: From) -> None:
    await visitor(HOME).guess(10)
    answer = await visitor(HOME).post(
        "/login",
        json={"email": ADA, "password": WRONG},
        headers={"Origin": "http://localhost:5173"},
    )
    rate_limited(answer, "login")
    assert answer.headers["ratelimit-policy"] == '"login";q=10;w=900'
    exposed = answer.headers["access-control-expose-headers"].lower().replace(" ", "").split(",")
    assert {"retry-after", "ratelimit", "ratelimit-policy"} <= set(exposed)


async def test_a_wrong_password_learns_nothing_of_other_peoples_failures(
    visitor: From, ada: str
) -> None:
    await visitor(OFFICE).guess(5)
    answer = await visitor(HOME).log_in(ada, WRONG)
    problem(answer, 401, "invalid_credentials")
    assert answer.headers["ratelimit-policy"] == '"default";q=300;w=60'
    assert "retry-after" not in answer.headers


async def test_known_and_unknown_addresses_are_answered_alike_to_the_byte(
    limited: Callable[..., Settings],
    clock: Hands,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Counted by the process, whose clock can be stopped: the seconds to wait are the same.
    monkeypatch.setattr(memory.time, "time", lambda: 1_800_000_000.0)
    async with running(limited(REDIS_HOST=str(tmp_path / "absent")), clock) as app:
        for email in ("known1@example.com", "known2@example.com"):
            ok(await Visitor(app, "198.51.100.250").sign_up(email))

        async def conversation(email: str, network: str) -> list[tuple[int, bytes, Any]]:
            visitor = Visitor(app, network)
            visitor.client.headers["X-Request-ID"] = "0199f0c0-0000-7000-8000-000000000000"
            answers = [await visitor.log_in(email, WRONG) for _ in range(13)]
            answers += [await visitor.log_in_by_form(email, WRONG) for _ in range(2)]
            return [(a.status_code, a.content, sorted(a.headers.multi_items())) for a in answers]

        known = await conversation("known1@example.com", "198.51.100.1")
        assert [status for status, _, _ in known] == [401] * 10 + [429] * 5
        assert known == await conversation("known2@example.com", "198.51.100.2")
        assert known == await conversation("unknown@example.com", "198.51.100.3")


async def test_redis_learns_neither_who_nor_where(app: FastAPI, visitor: From, ada: str) -> None:
    ok(await visitor(HOME).log_in())
    await visitor(OFFICE).guess(2)
    await visitor(HOME).post("/refresh", json={"refresh_token": "x"})
    client, prefix = app.state.rate_limiter._redis, app.state.settings.CACHE_PREFIX
    keys = [key.decode() async for key in client.scan_iter("*") if prefix.encode() in key]
    assert len(keys) >= 5
    assert [key for key in keys if not key.startswith(f"{prefix}:")] == []
    told = " ".join([*keys, *[str(await client.get(key)) for key in keys]])
    assert [word for word in ("ada@", "example", "203.0") if word in told] == []
    assert [key for key in keys if await client.pttl(key) < 0] == []


async def test_where_limits_are_off_nothing_is_counted(
    limited: Callable[..., Settings], clock: Hands
) -> None:
    async with running(limited(RATE_LIMIT_ENABLED=False), clock) as app:
        ok(await Visitor(app, HOME).sign_up())
        assert await Visitor(app, HOME).guess(35) == [401] * 35
        answer = await Visitor(app, HOME).log_in()
        ok(answer)
        assert "ratelimit" not in answer.headers


def test_limited_operations_say_so(app: FastAPI) -> None:
    limited = {
        operation["operationId"]
        for operations in app.openapi()["paths"].values()
        for operation in operations.values()
        if "429" in operation["responses"]
    }
    expected = {"auth_login", "auth_token", "auth_signup", "auth_refresh", "auth_me_password"}
    assert limited >= expected


# --- Without Redis --------------------------------------------------------------------------------
@pytest.fixture(params=["dead", "frozen"])
def unwell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Redis that is not there, and one that takes connections and says nothing."""
    if request.param == "dead":
        yield {"REDIS_HOST": str(tmp_path / "absent")}
        return
    with EmbeddedValkey(tmp_path / "valkey", ephemeral=True) as valkey:
        assert valkey.process.pid is not None
        os.kill(valkey.process.pid, signal.SIGSTOP)
        try:
            yield valkey.environment
        finally:
            os.kill(valkey.process.pid, signal.SIGCONT)


async def test_without_redis_logins_work_and_limits_hold(
    limited: Callable[..., Settings],
    clock: Hands,
    unwell: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = record_log(monkeypatch, breaker)
    async with running(limited(**unwell), clock) as app:
        ok(await Visitor(app, HOME).sign_up())
        login = await Visitor(app, HOME).log_in()
        ok(login)
        assert login.headers["ratelimit-policy"] == '"login";q=10;w=900'
        guesses = (Visitor(app, f"198.51.100.{i}").log_in(ADA, WRONG) for i in range(50))
        assert await statuses(*guesses) == {401: 10, 429: 40}
        rate_limited(await Visitor(app, OFFICE).log_in(), "login")
        ok(await Visitor(app, HOME).log_in())
        guesses = (Visitor(app, OFFICE).log_in(f"u{i}@example.com", WRONG) for i in range(40))
        assert await statuses(*guesses) == {401: 29, 429: 11}
    assert [line["event"] for line in lines] == ["rate_limits_counted_per_process"]


# --- The numbers ----------------------------------------------------------------------------------
def replace(monkeypatch: pytest.MonkeyPatch, action: throttling.Action, **policies: Policy) -> None:
    """Give an action other policies for this test."""
    monkeypatch.setitem(LIMITS, action, dataclasses.replace(LIMITS[action], **policies))


def test_every_policy_has_a_name_of_its_own() -> None:
    names = [policy.name for policy in every_policy()]
    assert len(names) == len(set(names)) >= 20
    assert [name for name in names if not name.replace("-", "").isalpha()] == []


def test_no_password_can_be_locked_longer_than_a_quarter_of_an_hour() -> None:
    for action in ("login", "password_check"):
        limits = LIMITS[action]
        assert limits.account is not None
        windows = [limits.account, limits.address, limits.overall]
        assert max(policy.window_seconds for policy in windows) <= 900


def every_policy() -> list[Policy]:
    policies = ((limits.address, limits.overall, limits.account) for limits in LIMITS.values())
    return [policy for three in policies for policy in three if policy is not None]


async def test_an_action_without_accounts_refuses_to_count_for_one(app: FastAPI) -> None:
    throttle = throttling.Throttle(None, LIMITS["refresh"], HOME, httpx.Response(200))  # type: ignore[arg-type]  # a stand-in
    with pytest.raises(ValueError, match="no limit per account"):
        await throttle.admit(ADA)
