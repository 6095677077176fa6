"""`python -m benchmarks.availability`: a whole request for many providers, and what it is made of.

Each case is a service with so many providers who have twenty bookings a day. In one run, of one
database: the bare fetch of their busy rows by asyncpg, the engine alone on what that brought, and
`GET /availability` from the first byte sent to the last byte read, computed anew each time.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from uuid import UUID

import asyncpg
import httpx
from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy.dialects.postgresql import Range

from app.availability.rules import SlotRules, WorkingHours, free_slots, merge_providers
from app.config import Settings
from app.database import Database
from app.postgres import Connection, connect
from benchmarks.business import BOOKINGS_A_DAY, CLOSES, OPENS, READ_MINUTES, open_calendars
from benchmarks.cpu import cpu_seconds
from benchmarks.report import NOISE, WIDTH
from devserver.errors import LauncherError
from devserver.throwaway import Server, running_server

CASES = ((1, 7), (10, 30), (100, 30), (1000, 30))
REPEATS = 5
FETCH = """
SELECT subject_id, during FROM allocations WHERE subject_id = ANY ($1) AND during && $2
"""


@dataclass(frozen=True)
class Calendars:
    """A service and those who give it, from the first full day on."""

    service_id: UUID
    provider_ids: list[UUID]
    start: datetime
    days: int

    @property
    def end(self) -> datetime:
        return self.start + timedelta(days=self.days)


@dataclass(frozen=True)
class Measured:
    calendars: Calendars
    rows: int
    fetch: float
    engine: float
    request: float
    kilobytes: float
    server_cpu: float | None
    database_cpu: float | None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.availability", description=__doc__)
    parser.add_argument("--providers", type=int, default=1000, help="leave larger cases out")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if case[0] <= options.providers]
    try:
        with running_server(LOG_LEVEL="WARNING", RATE_LIMIT_ENABLED="false") as server:
            measured = asyncio.run(_measure_all(server, cases))
    except LauncherError as error:
        print(error, file=sys.stderr)
        return 1
    _print(measured)
    return 0


async def _measure_all(server: Server, cases: list[tuple[int, int]]) -> list[Measured]:
    known = {n: server.environment[n] for n in Settings.model_fields if n in server.environment}
    settings = Settings.model_validate(known)
    database = Database.from_settings(settings)
    connection = await connect(settings)
    try:
        async with httpx.AsyncClient(base_url=server.api_url, timeout=60) as client:
            measured = []
            for providers, days in cases:
                service_id, ids, start = await open_calendars(database, providers, days)
                calendars = Calendars(service_id, ids, start, days)
                measured.append(await _measure(server, connection, client, calendars))
            return measured
    finally:
        connection.terminate()
        await database.dispose()


async def _measure(
    server: Server,
    connection: Connection,
    client: httpx.AsyncClient,
    calendars: Calendars,
) -> Measured:
    during = Range(calendars.start, calendars.end)
    wanted = asyncpg.Range(during.lower, during.upper)
    sizes: list[int] = []

    async def fetch() -> int:
        rows = await connection.fetch(FETCH, calendars.provider_ids, wanted)
        return len(rows)

    async def request() -> None:
        # Another range each time, by minutes that change nothing: none is remembered.
        start = calendars.start + timedelta(minutes=len(sizes) + 1)
        answer = await client.get(
            "/availability",
            params={
                "service_id": str(calendars.service_id),
                "start": start.isoformat(),
                "end": calendars.end.isoformat(),
            },
        )
        answer.raise_for_status()
        sizes.append(len(answer.content))

    rows = await fetch()
    fetched = await _best(fetch)
    engine = _engine(calendars)
    await request()
    pids = [_pid(server.api.pid), _pid(server.postgres.process.pid)]
    before = [cpu_seconds(pid) for pid in pids]
    requested = await _best(request)
    after = [cpu_seconds(pid) for pid in pids]
    cpu = [
        None if b is None or a is None else (a - b) / REPEATS
        for b, a in zip(before, after, strict=True)
    ]
    return Measured(calendars, rows, fetched, engine, requested, sizes[0] / 1000, *cpu)


def _engine(calendars: Calendars) -> float:
    """The arithmetic alone, on integers."""
    start, end = (int(m.timestamp()) // 60 for m in (calendars.start, calendars.end))
    rules = SlotRules(duration=READ_MINUTES, interval=READ_MINUTES)
    hours = WorkingHours("UTC", (((OPENS, CLOSES),),) * 7)
    every = (CLOSES - OPENS) // BOOKINGS_A_DAY
    busy = [
        (
            start + day * 1440 + OPENS + n * every,
            start + day * 1440 + OPENS + n * every + READ_MINUTES,
        )
        for day in range(calendars.days)
        for n in range(BOOKINGS_A_DAY)
    ]
    now = datetime.now(UTC).timestamp()

    def once() -> float:
        began = perf_counter()
        merge_providers(
            [free_slots(rules, hours, busy, (), now, start, end) for _ in calendars.provider_ids]
        )
        return perf_counter() - began

    return min(once() for _ in range(REPEATS))


async def _best(work: Callable[[], Awaitable[object]]) -> float:
    """The shortest time: what the others took longer was other people's work."""
    times = []
    for _ in range(REPEATS):
        began = perf_counter()
        await work()
        times.append(perf_counter() - began)
    return min(times)


def _pid(pid: int | None) -> int:
    if pid is None:
        raise LauncherError("A server ended during the measurement.")
    return pid


def _print(rows: list[Measured]) -> None:
    table = Table(title="GET /availability", box=box.SIMPLE, title_justify="left")
    names = ("providers x days", "rows", "fetch ms", "engine ms", "request ms", "request / fetch")
    for name in (*names, "trips", "API CPU", "DB CPU", "kB"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            f"{len(row.calendars.provider_ids):,} x {row.calendars.days}",
            f"{row.rows:,}",
            f"{row.fetch * 1000:,.1f}",
            f"{row.engine * 1000:,.1f}",
            f"{row.request * 1000:,.1f}",
            f"{row.request / row.fetch:.2f}",
            "2",
            "-" if row.server_cpu is None else f"{row.server_cpu * 1000:,.1f}",
            "-" if row.database_cpu is None else f"{row.database_cpu * 1000:,.1f}",
            f"{row.kilobytes:,.0f}",
        )
    Console(width=WIDTH, highlight=False).print(table)
    print(f"{BOOKINGS_A_DAY} bookings a day each. CPU: ms per request. {NOISE}")
    print("trips: round trips to Postgres; tests/api/test_round_trips.py counts them.")


if __name__ == "__main__":
    sys.exit(main())
