"""`python -m devserver.demo`, which is what `make demo` calls: the main job, end to end, over HTTP.

It starts a server of its own, with a temporary database, and talks to it as clients would. Each
step says what it expects; the first one that finds something else ends the demonstration loudly.
"""

import asyncio
import secrets
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from io import TextIOWrapper
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from devserver.errors import LauncherError
from devserver.throwaway import Server, running_server

CUSTOMERS = 10
CONNECTIONS = 5
RACERS = CUSTOMERS * CONNECTIONS
SERVICE, ZONE = "First consultation", "Europe/Paris"
# Later than the deadline for cancelling, so that the booking can be cancelled.
FIRST_DAY, LAST_DAY = 3, 13

Json = dict[str, Any]


class Failed(Exception):
    """A step that did not go as it should."""


class Teller:
    """Tells the story: numbered steps, then what was found."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._step = 0

    def step(self, title: str) -> None:
        self._step += 1
        self._console.print(f"\n[bold cyan]{self._step}.[/] [bold]{escape(title)}[/]")

    def note(self, text: str) -> None:
        self._console.print(f"   [dim]{escape(text)}[/]")

    def found(self, text: str) -> None:
        self._console.print(f"   [green]✓[/] {escape(text)}")

    def end(self, text: str) -> None:
        self._console.print(f"\n[bold green]{escape(text)}[/]")

    def fail(self, text: str) -> None:
        self._console.print(f"\n[bold red]✗ FAILED:[/] {escape(text)}")


@dataclass(frozen=True)
class Customer:
    name: str
    client: httpx.AsyncClient

    async def book(self, slot: Json, key: str | None = None) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return await self.client.post("/bookings", json=slot, headers=headers)


def main() -> int:
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a log may be in an encoding without check marks
    tell = Teller()
    try:
        tell.step("A server of our own: Postgres, Valkey and the API, with a database that is new")
        started = time.monotonic()
        # The lowest cost of a password's hash that is accepted outside of `local`: twenty
        # signups and logins are not what this is about.
        with running_server(BCRYPT_ROUNDS="10", LOG_LEVEL="WARNING") as server:
            tell.found(f"{server.url} answers after {time.monotonic() - started:.1f} s")
            asyncio.run(Demonstration(server, tell).run())
    except (Failed, LauncherError, httpx.HTTPError) as error:
        tell.fail(str(error) or type(error).__name__)
        return 1
    except KeyboardInterrupt:
        tell.fail("interrupted")
        return 130
    tell.end("One slot, one winner. The server is stopped and its data is gone.")
    return 0


class Demonstration:
    def __init__(self, server: Server, tell: Teller) -> None:
        self._server = server
        self._tell = tell
        self._visitor = self._client()

    async def run(self) -> None:
        async with self._visitor:
            customers = await self._sign_up()
            service = await self._service()
            slot = await self._choose(service)
            winner, booking = await self._race(customers, slot)
            await self._is_gone(slot)
            await self._cancel(winner, booking, slot)
            await self._repeat(customers[0], slot)
            for customer in customers:
                await customer.client.aclose()

    async def _sign_up(self) -> list[Customer]:
        tell = self._tell
        tell.step(f"{CUSTOMERS} customers sign up and log in")
        customers = await asyncio.gather(*(self._customer(n) for n in range(1, CUSTOMERS + 1)))
        me = _json(await customers[0].client.get("/auth/me"))
        _expect(me["roles"] == ["customer"], f"a customer has the roles {me['roles']}")
        tell.found(f"each has a token; the first is {me['name']} <{me['email']}>")
        return customers

    async def _customer(self, number: int) -> Customer:
        email, password = f"racer{number}@example.com", secrets.token_urlsafe(24)
        body = {"name": f"Racer {number}", "email": email, "password": password}
        _json(await self._visitor.post("/auth/signup", json=body), HTTPStatus.CREATED)
        login = {"email": email, "password": password}
        token = _json(await self._visitor.post("/auth/login", json=login))["access_token"]
        return Customer(body["name"], self._client(token))

    async def _service(self) -> Json:
        services = _json(await self._visitor.get("/services"))["items"]
        chosen: list[Json] = [service for service in services if service["name"] == SERVICE]
        _expect(len(chosen) == 1, f"the demo business offers “{SERVICE}” {len(chosen)} times")
        return chosen[0]

    async def _choose(self, service: Json) -> Json:
        tell = self._tell
        tell.step(f"Free times for “{SERVICE}”")
        today = datetime.now(UTC).date()
        first, last = today + timedelta(days=FIRST_DAY), today + timedelta(days=LAST_DAY)
        query = {"service_id": service["id"], "start": f"{first}", "end": f"{last}"}
        query |= {"time_zone": ZONE}
        answer = _json(await self._visitor.get("/availability", params=query))
        slots = [slot for day in answer["days"] for slot in day["slots"]]
        _expect(bool(slots), f"nothing is free from {first} to {last}")
        # In the middle, so that something is free before and after it.
        slot = slots[len(slots) // 2]
        provider_id = answer["provider_ids"][slot["providers"][0]]
        provider = _json(await self._visitor.get(f"/providers/{provider_id}"))
        tell.found(f"{len(slots)} from {first} to {last}, in {answer['time_zone']}")
        tell.note(f"all will want {slot['start']} with {provider['display_name']}")
        return {"service_id": service["id"], "start": slot["start"], "provider_id": provider_id}

    async def _race(self, customers: Sequence[Customer], slot: Json) -> tuple[Customer, Json]:
        tell = self._tell
        tell.step(f"{RACERS} clients want it at the same moment")
        tell.note(f"{CUSTOMERS} customers with {CONNECTIONS} connections each, opened beforehand")
        racers = [customer for customer in customers for _ in range(CONNECTIONS)]
        await asyncio.gather(*(racer.client.get("/auth/me") for racer in racers))
        started = time.perf_counter()
        answers = await asyncio.gather(*(racer.book(slot) for racer in racers))
        milliseconds = (time.perf_counter() - started) * 1000

        outcomes = Counter(_outcome(answer) for answer in answers)
        told = ", ".join(f"{count} x {outcome}" for outcome, count in outcomes.most_common())
        _expect(outcomes == {"201": 1, "409 slot_taken": RACERS - 1}, f"the race ended with {told}")
        winner, won = next(
            (racer, answer)
            for racer, answer in zip(racers, answers, strict=True)
            if answer.status_code == HTTPStatus.CREATED
        )
        booking = _json(won, HTTPStatus.CREATED)
        tell.found(f"{told}, all answered in {milliseconds:.0f} ms")
        tell.found(f"{winner.name} has booking {booking['reference']}")
        await self._expect_one_booking(slot)
        tell.found("the database holds exactly one booking of that time")
        return winner, booking

    async def _expect_one_booking(self, slot: Json) -> None:
        """Ask as the administrator, who sees everyone's."""
        environment = self._server.environment
        login = {
            "email": environment["FIRST_SUPERUSER"],
            "password": environment["FIRST_SUPERUSER_PASSWORD"],
        }
        token = _json(await self._visitor.post("/auth/login", json=login))["access_token"]
        query = {"provider_id": slot["provider_id"], "start_from": slot["start"]}
        query |= {"status": "confirmed", "sort": "start"}
        async with self._client(token) as admin:
            bookings = _json(await admin.get("/bookings", params=query))["items"]
        same = [b for b in bookings if _instant(b["start"]) == _instant(slot["start"])]
        _expect(len(same) == 1, f"the database holds {len(same)} bookings of that time")

    async def _is_gone(self, slot: Json) -> None:
        self._tell.step("Whoever looks now is not offered it any more")
        _expect(not await self._is_offered(slot), "the time that was taken is still offered")
        self._tell.found("the next read does not show it: nothing is cached beyond its truth")

    async def _cancel(self, winner: Customer, booking: Json, slot: Json) -> None:
        self._tell.step("The booking is cancelled, and its time is offered again")
        path = f"/bookings/{booking['id']}/cancel"
        cancelled = _json(await winner.client.post(path, json={"reason": "I am well again"}))
        _expect(cancelled["status"] == "cancelled", f"the booking is {cancelled['status']}")
        _expect(await self._is_offered(slot), "the time of the cancelled booking is not offered")
        self._tell.found(f"{cancelled['reference']} is cancelled, {slot['start']} is free again")

    async def _repeat(self, customer: Customer, slot: Json) -> None:
        tell = self._tell
        tell.step("A request sent twice, as after a broken connection, does its work once")
        key = secrets.token_urlsafe(16)
        first = await customer.book(slot, key)
        again = await customer.book(slot, key)
        _json(first, HTTPStatus.CREATED)
        same = (first.status_code, first.content) == (again.status_code, again.content)
        _expect(same, f"the repetition was answered {again.status_code} {again.text}")
        replayed = again.headers.get("Idempotency-Replayed")
        _expect(replayed == "true", f"the repetition carries Idempotency-Replayed: {replayed}")
        await self._expect_one_booking(slot)
        tell.found("same Idempotency-Key, same answer byte for byte, one booking")
        other = await customer.book(slot | {"notes": "another request"}, key)
        _expect(
            _outcome(other) == "422 idempotency_key_reused",
            f"another request with the same key was answered {_outcome(other)}",
        )
        tell.found("the same key with another request is refused: idempotency_key_reused")

    async def _is_offered(self, slot: Json) -> bool:
        start = _instant(slot["start"])
        query = {
            "service_id": slot["service_id"],
            "provider_id": slot["provider_id"],
            "start": start.isoformat(),
            "end": (start + timedelta(minutes=1)).isoformat(),
        }
        answer = _json(await self._visitor.get("/availability", params=query))
        return any(day["slots"] for day in answer["days"])

    def _client(self, token: str | None = None) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._server.api_url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=30,
            # The proxy that a shell may name is not asked about this machine.
            trust_env=False,
            verify=False,  # noqa: S501 - plain HTTP on this machine: there is nothing to verify
        )


def _json(answer: httpx.Response, status: HTTPStatus = HTTPStatus.OK) -> Json:
    _expect(
        answer.status_code == status,
        f"{answer.request.method} {answer.request.url.path} was answered {answer.status_code} "
        f"instead of {status.value}: {answer.text}",
    )
    body: Json = answer.json()
    return body


def _outcome(answer: httpx.Response) -> str:
    """`201`, or `409 slot_taken`."""
    if answer.is_success:
        return str(answer.status_code)
    try:
        return f"{answer.status_code} {answer.json()['code']}"
    except (ValueError, LookupError):
        return f"{answer.status_code} without a code"


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - the condition itself
    if not holds:
        raise Failed(otherwise)


if __name__ == "__main__":
    sys.exit(main())
