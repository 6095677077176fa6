"""`python -m benchmarks.booking`: bookings and free times over HTTP, beside what they are made of.

One run, one machine, one database: the booking transaction by pgbench and through the API, free
times computed, cached and unchanged, and FastAPI alone.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

import httpx

from app.config import Settings
from app.database import Database
from benchmarks import pgbench
from benchmarks.business import READ_DAYS, BenchBusiness, Slot, open_business
from benchmarks.cpu import cpu_seconds
from benchmarks.load import Plan, Request, Result, send
from benchmarks.report import NOISE, Row, percentile, print_table
from benchmarks.wire import Statement, Wiretap, tapped_application
from devserver.errors import LauncherError
from devserver.launcher import SERVE
from devserver.processes import Process
from devserver.throwaway import Server, free_port, running_server, serve, temporary_folder

CLIENTS = 16
PROVIDERS = 64
WARM_UP_SECONDS = 1.0
HEARD = 3
# More requests than any server here answers in a second; a phase that runs out says so.
PREPARED_PER_SECOND = 4000
BARE = [*SERVE, "benchmarks.bare:create_app"]
PG_BENCH, FASTAPI = "of pgbench", "of FastAPI"


@dataclass(frozen=True)
class Heard:
    """What the application was heard to do, with a customer's token."""

    business: BenchBusiness
    headers: dict[str, str]
    script: str
    round_trips: dict[str, int]
    etag: str
    unchanged_path: str


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.booking", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--providers", type=int, default=PROVIDERS)
    parser.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        help="of the API, and of FastAPI alone",
    )
    options = parser.parse_args(arguments)
    try:
        processes = {"WEB_CONCURRENCY": str(options.processes)}  # uvicorn's own variable
        with (
            running_server(BCRYPT_ROUNDS="10", JOBS_IN_PROCESS="false", **processes) as server,
            temporary_folder() as folder,
        ):
            port = free_port()
            bare = serve(BARE, port, server.environment, folder / "bare.log")
            try:
                heard = asyncio.run(_listen(server, options.providers, options.clients))
                bench = Bench(server, heard, options.clients, options.seconds)
                rows = [*bench.bookings(), *bench.free_times(bare, port)]
            finally:
                bare.stop()
    except LauncherError as error:
        print(error, file=sys.stderr)
        return 1
    what = f"{options.clients} clients, {options.providers} providers to book"
    print_table(f"{what}, {options.processes} processes of the API", rows)
    print("trips: round trips to Postgres. CPU: ms per request. client: its share of one core.")
    print("Durable: Postgres waits for the disk at every commit, as it does by default.")
    print(f"Load: benchmarks/load.py (asyncio, raw HTTP/1.1, its own process). {NOISE}")
    return 0


async def _listen(server: Server, providers: int, clients: int) -> Heard:
    """Set up the business, and hear what the application says to Postgres for each request."""
    environment = dict(server.environment) | {"LOG_LEVEL": "WARNING"}
    known = {name: environment[name] for name in Settings.model_fields if name in environment}
    database = Database.from_settings(Settings.model_validate(known))
    business = await open_business(database, providers)
    await database.dispose()
    async with tapped_application(environment) as tap:
        return await _hear(tap, business, clients)


async def _hear(tap: Wiretap, business: BenchBusiness, clients: int) -> Heard:
    account = {"email": "bench@example.com", "password": "the benchmark's password"}
    signup = {"name": "Bench"} | account
    await tap.statements("POST", "/api/v1/auth/signup", expect=201, json=signup)
    login, _ = await tap.statements("POST", "/api/v1/auth/login", expect=200, json=account)
    headers = {"authorization": f"Bearer {login.json()['access_token']}"}
    me, _ = await tap.statements("GET", "/api/v1/auth/me", expect=200, headers=headers)

    async def book(
        slot: Slot, more: dict[str, str] | None = None
    ) -> tuple[httpx.Response, list[Statement]]:
        return await tap.statements(
            "POST",
            "/api/v1/bookings",
            expect=201,
            headers=headers | (more or {}),
            json=booking_body(business, slot),
        )

    first, second, third = islice(business.slots(), HEARD)
    await book(first)  # introduces the connection to Postgres, and the customer to the process
    booked, said = await book(second)
    script = pgbench.booking_script(
        said,
        slot=second,
        reference=booked.json()["reference"],
        constants=frozenset({business.booked_service, UUID(me.json()["id"])}),
        providers=business.providers,
        clients=clients,
    )
    round_trips = {"booking": len(said)}
    _, said = await book(third, {"idempotency-key": "first"})
    round_trips["idempotent"] = len(said)

    path = next(_reads(business))
    _, said = await tap.statements("GET", path, expect=200)
    round_trips["computed"] = len(said)
    again, said = await tap.statements("GET", path, expect=200)
    round_trips["cached"] = len(said)
    etag = again.headers["etag"]
    _, said = await tap.statements("GET", path, expect=304, headers={"if-none-match": etag})
    round_trips["unchanged"] = len(said)
    return Heard(business, headers, script, round_trips, etag, path)


class Bench:
    def __init__(self, server: Server, heard: Heard, clients: int, seconds: float) -> None:
        self._server = server
        self._heard = heard
        self._clients = clients
        self._seconds = seconds
        # The first ones were booked while we listened.
        self._slots = islice(heard.business.slots(), HEARD, None)

    def bookings(self) -> Iterator[Row]:
        """pgbench first: it is the yardstick."""
        most = self._pgbench()
        if most is not None:
            yield most
        best = most.rate if most else None
        for what, key, with_keys in (
            ("POST /bookings", "booking", False),
            ("  with Idempotency-Key", "idempotent", True),
        ):
            self._send(self._bookings(WARM_UP_SECONDS, with_keys=with_keys), WARM_UP_SECONDS)
            requests = self._bookings(self._seconds, with_keys=with_keys)
            yield self._measure(what, requests, "201", best, PG_BENCH, self._heard.round_trips[key])

    def free_times(self, bare: Process, bare_port: int) -> Iterator[Row]:
        heard = self._heard
        once = [Request("GET", "/bare", {})]
        self._send(once, WARM_UP_SECONDS, port=bare_port)
        yardstick = self._measure(
            "FastAPI alone, a typed answer", once, "200", None, FASTAPI, 0, api=bare, port=bare_port
        )
        yield replace(yardstick, ratio=1)
        best = yardstick.rate
        trips = heard.round_trips

        reads = _reads(heard.business)
        warm = [Request("GET", path, {}) for path in islice(reads, 1, PREPARED_PER_SECOND)]
        self._send(warm, WARM_UP_SECONDS)
        count = int(self._seconds * PREPARED_PER_SECOND)
        paths = [Request("GET", path, {}) for path in islice(reads, count)]
        yield self._measure(
            "GET /availability, 1 x 7 days", paths, "200", best, FASTAPI, trips["computed"]
        )
        again = [Request("GET", heard.unchanged_path, {})]
        self._send(again, WARM_UP_SECONDS)
        yield self._measure("  cached", again, "200", best, FASTAPI, trips["cached"])
        unchanged = [Request("GET", heard.unchanged_path, {"if-none-match": heard.etag})]
        yield self._measure("  304", unchanged, "304", best, FASTAPI, trips["unchanged"])

    def _pgbench(self) -> Row | None:
        program = pgbench.find_pgbench()
        if program is None:
            print("pgbench was not found beside Postgres or on PATH: its row is left out.")
            return None
        environment = dict(self._server.environment)
        where = (program, self._heard.script, environment)
        pgbench.run(*where, clients=self._clients, seconds=WARM_UP_SECONDS, first=0)
        before = cpu_seconds(_pid(self._server.postgres.process))
        measured = pgbench.run(
            *where, clients=self._clients, seconds=self._seconds, first=1_000_000
        )
        after = cpu_seconds(_pid(self._server.postgres.process))
        return Row(
            what="the transaction, by pgbench",
            rate=measured.rate,
            ratio=1,
            yardstick=PG_BENCH,
            p50=percentile(measured.latencies, 0.5),
            p99=percentile(measured.latencies, 0.99),
            round_trips=self._heard.round_trips["booking"],
            server_cpu=None,
            database_cpu=_per_request(before, after, measured.transactions),
            client_load=None,
        )

    def _measure(
        self,
        what: str,
        requests: list[Request],
        status: str,
        best: float | None,
        yardstick: str,
        round_trips: int,
        *,
        api: Process | None = None,
        port: int | None = None,
    ) -> Row:
        pids = [_pid(api or self._server.api), _pid(self._server.postgres.process)]
        before = [cpu_seconds(pid) for pid in pids]
        result = self._send(requests, self._seconds, port=port)
        after = [cpu_seconds(pid) for pid in pids]
        if set(result.statuses) != {status}:
            raise LauncherError(f"{what.strip()} was answered {result.statuses}, not {status}.")
        if result.exhausted:
            print(f"{what.strip()}: all prepared requests were sent before the time was over.")
        server_cpu, database_cpu = (
            _per_request(b, a, result.answers) for b, a in zip(before, after, strict=True)
        )
        return Row(
            what=what,
            rate=result.rate,
            ratio=result.rate / best if best else None,
            yardstick=yardstick,
            p50=percentile(result.latencies, 0.5),
            p99=percentile(result.latencies, 0.99),
            round_trips=round_trips,
            server_cpu=server_cpu,
            database_cpu=database_cpu if round_trips else None,
            client_load=result.cpu_seconds / result.seconds,
        )

    def _bookings(self, seconds: float, *, with_keys: bool) -> list[Request]:
        """Each books another time, and its neighbours in the queue other providers."""
        count = int(seconds * PREPARED_PER_SECOND)
        requests = []
        for slot in islice(self._slots, count):
            name = f"{slot.provider_id}/{slot.start.isoformat()}"
            key = {"idempotency-key": name} if with_keys else {}
            body = json.dumps(booking_body(self._heard.business, slot))
            requests.append(Request("POST", "/api/v1/bookings", self._heard.headers | key, body))
        return requests

    def _send(self, requests: list[Request], seconds: float, port: int | None = None) -> Result:
        """A single request is sent over and over, several once each."""
        return send(
            Plan(
                port=port or self._server.port,
                connections=self._clients,
                seconds=seconds,
                repeat=len(requests) == 1,
                requests=requests,
            )
        )


def booking_body(business: BenchBusiness, slot: Slot) -> dict[str, str]:
    return {
        "service_id": str(business.booked_service),
        "provider_id": str(slot.provider_id),
        "start": slot.start.isoformat(),
    }


def _reads(business: BenchBusiness) -> Iterator[str]:
    """Questions about seven full days of one provider, no two of which are the same."""
    query = f"/api/v1/availability?service_id={business.read_service}"
    for minutes in range(24 * 60):
        for day in range(1, READ_DAYS - 8):
            start = business.today + timedelta(days=day, minutes=minutes)
            span = f"start={_utc(start)}&end={_utc(start + timedelta(days=7))}"
            for reader in business.readers:
                yield f"{query}&provider_id={reader}&{span}"


def _utc(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _pid(process: Process) -> int:
    if process.pid is None:
        raise LauncherError("A server ended during the measurement.")
    return process.pid


def _per_request(before: float | None, after: float | None, requests: int) -> float | None:
    """Milliseconds."""
    if before is None or after is None or not requests:
        return None
    return (after - before) / requests * 1000


if __name__ == "__main__":
    sys.exit(main())
