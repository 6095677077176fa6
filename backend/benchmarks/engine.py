"""`python -m benchmarks.engine`: the arithmetic of free times alone, without HTTP.

Beside it: the same question answered a datetime per slot, and the time Postgres and asyncpg take
to hand over the rows that say what is taken. The engine should cost less than its own input.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
from rich import box
from rich.console import Console
from rich.table import Table

from app.availability.rules import SlotRules, WorkingHours, free_slots, merge_providers
from app.availability.wall_clock import day_start
from benchmarks import naive
from benchmarks.report import NOISE, WIDTH
from devserver.errors import LauncherError
from devserver.postgres import EmbeddedPostgres
from devserver.throwaway import temporary_folder

CASES = ((1, 7), (10, 30), (100, 30), (1000, 30))
BOOKINGS_A_DAY = 20
BOOKED, EVERY, DURATION = 15, 36, 30
OPENS, CLOSES = 8 * 60, 20 * 60
ZONE = "Europe/Paris"
FIRST = date(2026, 11, 23)
NOW = datetime(2026, 11, 20, tzinfo=UTC)
# Of the naive way only so many provider-days are timed, and the rest is reckoned from them.
MOST_NAIVE = 60
REPEATS = 5

Minutes = list[tuple[int, int]]

TABLE = f"""
CREATE EXTENSION btree_gist;
CREATE TABLE allocations (subject_id uuid, during tstzrange);
INSERT INTO allocations
SELECT lpad(to_hex(provider), 32, '0')::uuid, tstzrange(start, start + interval '{BOOKED} minutes')
FROM generate_series(1, $1) AS provider,
     generate_series(0, $2 - 1) AS day,
     generate_series(0, {BOOKINGS_A_DAY - 1}) AS number,
     LATERAL (SELECT to_timestamp($3) + day * interval '1 day'
              + number * interval '{EVERY} minutes' AS start) AS times;
CREATE INDEX ON allocations USING gist (subject_id, during);
ANALYZE allocations
"""
TAKEN = """
SELECT subject_id, lower(during), upper(during) FROM allocations
WHERE subject_id = ANY($1) AND during && tstzrange(to_timestamp($2), to_timestamp($3))
"""


@dataclass(frozen=True)
class Measured:
    providers: int
    days: int
    engine: float
    naive: float
    naive_is_reckoned: bool
    fetch: float


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.engine", description=__doc__)
    parser.add_argument(
        "--providers", type=int, default=CASES[-1][0], help="leave larger cases out"
    )
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if case[0] <= options.providers]
    try:
        with temporary_folder() as folder:
            rows = _run(cases, folder)
    except LauncherError as error:
        print(error, file=sys.stderr)
        return 1
    _print(rows)
    return 0


def _run(cases: list[tuple[int, int]], folder: Path) -> list[Measured]:
    with EmbeddedPostgres(folder / "postgres", ephemeral=True) as postgres:
        fetches = asyncio.run(_fetches(postgres.environment, cases))
    return [
        _measure(providers, days, fetch)
        for (providers, days), fetch in zip(cases, fetches, strict=True)
    ]


def _measure(providers: int, days: int, fetch: float) -> Measured:
    start = day_start(ZONE, FIRST)
    end = day_start(ZONE, FIRST + timedelta(days=days))
    rules = SlotRules(duration=DURATION, interval=DURATION)
    hours = WorkingHours(ZONE, (((OPENS, CLOSES),),) * 7)
    busy = _busy(days)
    now = NOW.timestamp()

    def engine() -> list[tuple[int, tuple[int, ...]]]:
        return merge_providers(
            [free_slots(rules, hours, busy, (), now, start, end) for _ in range(providers)]
        )

    naive_providers = max(1, min(providers, MOST_NAIVE // days))
    taken = [(_instant(s), _instant(e)) for s, e in busy]

    def per_slot() -> list[list[datetime]]:
        hours = [(time(OPENS // 60), time(CLOSES // 60))]
        duration = timedelta(minutes=DURATION)
        return [
            naive.free_slots(ZoneInfo(ZONE), hours, duration, taken, NOW, FIRST, days)
            for _ in range(naive_providers)
        ]

    ours = [slot for slot, _ in engine()]
    theirs = [int(slot.timestamp()) // 60 for slot in per_slot()[0]]
    if ours != theirs:
        raise LauncherError("The engine and the naive loop disagree: one of them is wrong.")
    return Measured(
        providers,
        days,
        engine=_best(engine),
        naive=_best(per_slot, repeats=2) * providers / naive_providers,
        naive_is_reckoned=naive_providers < providers,
        fetch=fetch,
    )


def _busy(days: int) -> Minutes:
    opens = day_start(ZONE, FIRST) + OPENS
    starts = [
        opens + day * 24 * 60 + number * EVERY
        for day in range(days)
        for number in range(BOOKINGS_A_DAY)
    ]
    return [(start, start + BOOKED) for start in starts]


def _instant(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)


def _best(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The shortest time: what the others took longer was other people's work."""
    return min(_timed(work) for _ in range(repeats))


def _timed(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


async def _fetches(environment: dict[str, str], cases: list[tuple[int, int]]) -> list[float]:
    connection = await asyncpg.connect(
        host=environment["POSTGRES_SERVER"],
        port=int(environment["POSTGRES_PORT"]),
        user=environment["POSTGRES_USER"],
        database=environment["POSTGRES_DB"],
    )
    try:
        start = day_start(ZONE, FIRST) * 60
        await _fill(connection, max(cases), start)
        return [
            await _fetch(connection, providers, start, start + days * 86_400)
            for providers, days in cases
        ]
    finally:
        await connection.close()


async def _fill(connection: Any, most: tuple[int, int], start: int) -> None:  # noqa: ANN401
    providers, days = most
    for statement in TABLE.split(";"):
        values = (providers, days, start + OPENS * 60) if "$1" in statement else ()
        await connection.execute(statement, *values, timeout=60)


async def _fetch(connection: Any, providers: int, start: int, end: int) -> float:  # noqa: ANN401
    ids = [UUID(int=number) for number in range(1, providers + 1)]
    times = []
    for _ in range(REPEATS):
        started = perf_counter()
        await connection.fetch(TAKEN, ids, start, end)
        times.append(perf_counter() - started)
    return min(times)


def _print(rows: list[Measured]) -> None:
    table = Table(title="Free times", box=box.SIMPLE, title_justify="left")
    names = ("providers x days", "engine ms", "naive ms", "naive / engine", "fetch ms")
    for name in (*names, "engine / fetch"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        about = "~" if row.naive_is_reckoned else ""
        table.add_row(
            f"{row.providers:,} x {row.days}",
            f"{row.engine * 1000:,.2f}",
            f"{about}{row.naive * 1000:,.0f}",
            f"{about}{row.naive / row.engine:,.0f}",
            f"{row.fetch * 1000:,.2f}",
            f"{row.engine / row.fetch:.2f}",
        )
    Console(width=WIDTH, highlight=False).print(table)
    print(f"{BOOKINGS_A_DAY} bookings a day each. ~: reckoned from {MOST_NAIVE} provider-days.")
    print(f"fetch: the rows of what is taken, by asyncpg. {NOISE}")


if __name__ == "__main__":
    sys.exit(main())
