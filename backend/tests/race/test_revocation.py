"""What is taken away is gone within a second, in every process.

Two of them serve one database. A change is made at the one, while the other, which remembers the
caller, is asked over and over with the old token.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from time import perf_counter
from typing import Any

import httpx
import pytest

from app.config import Settings
from tests.business import PASSWORD, Business, Caller, ok
from tests.race.support import Server

PROMISED_SECONDS = 1.0  # the contract: sessions
ASKED_AT_ONCE = 3


@pytest.fixture
async def other_client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a second process on the same database."""
    server = Server(settings)
    server.start()
    async with server.client() as client:
        yield client
    await server.stop()


class Holder:
    """Somebody who keeps using a token at the other process, and notes what came of it."""

    def __init__(self, caller: Caller, client: httpx.AsyncClient, path: str) -> None:
        self.caller = Caller(client, {}, caller.token)
        self.path = path
        self.revoked_at: float | None = None
        self.accepted_after: list[float] = []
        self.refused_after: list[float] = []

    async def lose_it_by(self, change: Awaitable[httpx.Response]) -> None:
        """Have the token revoked, and go on until what is sent must be refused."""
        assert (await self.caller.get(self.path)).status_code == 200
        users = [asyncio.create_task(self._keep_using()) for _ in range(ASKED_AT_ONCE)]
        answer = await change
        self.revoked_at = perf_counter()
        assert answer.is_success, answer.text
        await asyncio.gather(*users)

    async def _keep_using(self) -> None:
        after = 0.0
        while after <= PROMISED_SECONDS:
            sent = perf_counter()
            answer = await self.caller.get(self.path)
            # What was sent before the change was answered may be judged either way.
            after = sent - self.revoked_at if self.revoked_at is not None else 0.0
            if after > 0:
                (self.accepted_after if answer.is_success else self.refused_after).append(after)


async def logged_in(business: Business, name: str, **fields: Any) -> Caller:
    email = f"{name}@example.com"
    body = {"name": "Ada Lovelace", "email": email, "password": PASSWORD} | fields
    ok(await (await business.admin()).post("/admin/users", body))
    return await business.log_in(email, PASSWORD)


async def test_a_revoked_token_is_refused_within_a_second_by_a_process_that_remembers_it(
    business: Business, other_client: httpx.AsyncClient
) -> None:
    admin = await business.admin()
    ada, grace, joan, mary = [
        await logged_in(business, name, roles=roles)
        for name, roles in (("ada", []), ("grace", []), ("joan", []), ("mary", ["admin"]))
    ]
    at_home = await business.log_in(grace.user["email"], PASSWORD)
    passwords = {"current_password": PASSWORD, "new_password": "another good password"}
    changes = {
        "logout": (ada, "/auth/me", ada.post("/auth/logout")),
        "new password": (grace, "/auth/me", at_home.post("/auth/me/password", passwords)),
        "disabling": (
            joan,
            "/auth/me",
            admin.patch(f"/admin/users/{joan.user['id']}", {"is_active": False}),
        ),
        "role removal": (
            mary,
            "/admin/users",
            admin.put(f"/admin/users/{mary.user['id']}/roles", {"roles": []}),
        ),
    }
    late = {}
    for name, (caller, path, change) in changes.items():
        holder = Holder(caller, other_client, path)
        await holder.lose_it_by(change)
        assert holder.refused_after, f"{name}: never refused"
        late[name] = [after for after in holder.accepted_after if after > PROMISED_SECONDS]
    assert late == {"logout": [], "new password": [], "disabling": [], "role removal": []}
