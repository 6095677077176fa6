"""One row per measurement, and the table of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

NOISE = (
    "Ratios are the result. Absolute numbers are this machine's at this moment: client, server "
    "and database share its cores, and machines are noisy."
)

# Enough for every column, where there is no terminal to ask.
WIDTH = 130


@dataclass(frozen=True)
class Row:
    what: str
    rate: float
    ratio: float | None
    yardstick: str
    p50: float
    p99: float
    round_trips: int | None
    server_cpu: float | None
    database_cpu: float | None
    client_load: float | None


def percentile(latencies: Sequence[float], share: float) -> float:
    """The latency, in milliseconds, that this share of the requests stayed below."""
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


def print_table(title: str, rows: Sequence[Row]) -> None:
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    table.add_column("", no_wrap=True)
    names = ("req/s", "ratio", "p50 ms", "p99 ms", "trips", "API CPU", "DB CPU", "client")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.what,
            f"{row.rate:,.0f}",
            "-" if row.ratio is None else f"{row.ratio:.3f} {row.yardstick}",
            f"{row.p50:.1f}",
            f"{row.p99:.1f}",
            _or_dash(row.round_trips, "d"),
            _or_dash(row.server_cpu, ".2f"),
            _or_dash(row.database_cpu, ".2f"),
            _or_dash(row.client_load, ".0%"),
        )
    Console(width=WIDTH, highlight=False).print(table)


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
