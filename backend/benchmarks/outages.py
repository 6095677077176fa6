"""`python -m benchmarks.outages`: what customers feel while Redis or Postgres is away.

The same modest load of bookings in each phase: all well, then Redis killed, back, and frozen, then
Postgres restarted and frozen. Each outage begins a second after its phase.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from time import monotonic, sleep

import httpx
from rich import box
from rich.console import Console
from rich.table import Table

from app.config import Settings
from app.database import Database
from benchmarks.booking import PROVIDERS, booking_body
from benchmarks.business import BenchBusiness, Slot, open_business
from benchmarks.load import Plan, Request, Result, send
from benchmarks.report import NOISE, WIDTH, percentile
from devserver.errors import LauncherError
from devserver.processes import Process
from devserver.throwaway import Server, running_server

CLIENTS = 8
PAUSE = 0.02
BEFORE = 1.0
MOST_PER_SECOND = 1000
READY_SECONDS = 30.0
ACCOUNT = {"email": "bench@example.com", "password": "the benchmark's password"}
# Limits are counted, which is what Redis is asked for, and reached by nobody. No mails: what they
# take would grow from phase to phase.
SETTINGS = {
    "BCRYPT_ROUNDS": "10",
    "JOBS_IN_PROCESS": "false",
    "LOG_LEVEL": "WARNING",
    "RATE_LIMIT_ENABLED": "true",
    "RATE_LIMIT_REQUESTS": "1000000000",
}


@dataclass(frozen=True)
class Phase:
    what: str
    result: Result
    unready_after: float | None = None
    ready_after: float | None = None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.outages", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="of each phase")
    options = parser.parse_args(arguments)
    try:
        with running_server(**SETTINGS) as server:
            phases = list(Outages(server, Customers(server, options.seconds)).phases())
    except LauncherError as error:
        print(error, file=sys.stderr)
        return 1
    _print(phases)
    return 0


async def _open(server: Server) -> BenchBusiness:
    names = Settings.model_fields
    known = {name: value for name, value in server.environment.items() if name in names}
    database = Database.from_settings(Settings.model_validate(known))
    try:
        return await open_business(database, PROVIDERS)
    finally:
        await database.dispose()


class Customers:
    """A few who book, one time after the other, for so many seconds."""

    def __init__(self, server: Server, seconds: float) -> None:
        self._port = server.port
        self._business = asyncio.run(_open(server))
        self._slots = self._business.slots()
        self._seconds = seconds
        with httpx.Client(base_url=server.url) as client:
            signup = client.post("/api/v1/auth/signup", json={"name": "Bench"} | ACCOUNT)
            signup.raise_for_status()
            login = client.post("/api/v1/auth/login", json=ACCOUNT)
        self._headers = {"authorization": f"Bearer {login.json()['access_token']}"}

    def plan(self, *, pause: float = PAUSE) -> Plan:
        """Bookings of other times than before, with so many seconds between a customer's."""
        most = int(self._seconds * (CLIENTS / pause if pause else MOST_PER_SECOND))
        return Plan(
            port=self._port,
            connections=CLIENTS,
            seconds=self._seconds,
            repeat=False,
            requests=[
                self._booking(slot) for slot in islice(self._slots, int(self._seconds * most))
            ],
            pause=pause,
        )

    def _booking(self, slot: Slot) -> Request:
        body = json.dumps(booking_body(self._business, slot))
        return Request("POST", "/api/v1/bookings", self._headers, body)


class Outages:
    def __init__(self, server: Server, customers: Customers) -> None:
        self._server = server
        self._customers = customers
        self._client = httpx.Client(base_url=server.url, timeout=READY_SECONDS)

    def phases(self) -> Iterator[Phase]:
        valkey, postgres = self._server.valkey, self._server.postgres
        self._measure("warm-up")
        yield self._measure("all well")
        yield self._measure("Redis killed", lambda: _end(valkey.process, signal.SIGKILL))
        valkey.start()
        self._until(ready=True)
        yield self._measure("Redis back")
        with _thawing(valkey.process):
            yield self._measure("Redis frozen", lambda: _freeze(valkey.process))
        self._until(ready=True)
        yield self._measure(
            "Postgres restarted",
            lambda: _end(postgres.process, signal.SIGINT),
            mend=postgres.start,
        )
        with _thawing(postgres.process):
            yield self._measure(
                "Postgres frozen",
                lambda: _freeze(postgres.process),
                mend=lambda: _thaw(postgres.process),
            )
        yield self._measure("all well again")

    def _measure(
        self,
        what: str,
        break_it: Callable[[], None] | None = None,
        mend: Callable[[], None] | None = None,
    ) -> Phase:
        """Send bookings; break something amid them and, once that is noticed, mend it."""
        with ThreadPoolExecutor(1) as threads:
            sending = threads.submit(send, self._customers.plan())
            unready = ready = None
            if break_it is not None:
                sleep(BEFORE)
                break_it()
            if mend is not None:
                unready = self._until(ready=False)
                mend()
                ready = self._until(ready=True)
            return Phase(what, sending.result(), unready, ready)

    def _until(self, *, ready: bool) -> float:
        """Ask until the API says so; how many seconds that took."""
        started = monotonic()
        while self._client.get("/health/ready").is_success != ready:
            if monotonic() - started > READY_SECONDS:
                raise LauncherError(f"Readiness did not become {ready}.")
            sleep(0.02)
        return monotonic() - started


def _end(process: Process, number: signal.Signals) -> None:
    os.kill(_pid(process), number)
    process.wait()


def _family(process: Process) -> list[int]:
    """The process, and then its children."""
    pid = _pid(process)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [pid, *map(int, children.split())]


def _freeze(process: Process) -> None:
    os.kill(_pid(process), signal.SIGSTOP)  # first: it makes no more children
    for pid in _family(process):
        os.kill(pid, signal.SIGSTOP)


def _thaw(process: Process) -> None:
    for pid in reversed(_family(process)):
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _thawing(process: Process) -> Iterator[None]:
    try:
        yield
    finally:
        _thaw(process)


def _pid(process: Process) -> int:
    if process.pid is None:
        raise LauncherError("A server ended during the measurement.")
    return process.pid


def _print(phases: list[Phase]) -> None:
    table = Table(title="Bookings during outages", box=box.SIMPLE, title_justify="left")
    table.add_column("", no_wrap=True)
    for name in ("booked", "other answers", "p50 ms", "p99 ms", "p99 rises by", "longest ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("unready after", "ready after"):
        table.add_column(name, justify="right", no_wrap=True)
    first = percentile(phases[0].result.latencies, 0.99)
    for phase in phases:
        latencies, statuses = phase.result.latencies, dict(phase.result.statuses)
        p99 = percentile(latencies, 0.99)
        table.add_row(
            phase.what,
            f"{statuses.pop(str(HTTPStatus.CREATED.value), 0)}",
            ", ".join(f"{number} x {status}" for status, number in statuses.items()) or "-",
            f"{percentile(latencies, 0.5):.1f}",
            f"{p99:.1f}",
            f"{p99 - first:+.1f}",
            f"{max(latencies) * 1000:.1f}",
            "-" if phase.unready_after is None else f"{phase.unready_after:.2f} s",
            "-" if phase.ready_after is None else f"{phase.ready_after:.2f} s",
        )
    Console(width=WIDTH, highlight=False).print(table)
    print(f"{CLIENTS} clients who pause for {PAUSE * 1000:.0f} ms. {NOISE}")


if __name__ == "__main__":
    sys.exit(main())
