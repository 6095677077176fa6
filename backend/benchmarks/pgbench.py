"""The booking transaction without the application: its own statements, sent by pgbench.

The statements are those the application was heard to send (see `wire.py`), with expressions in
place of what differs from booking to booking.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from asyncpg import Range

from benchmarks.business import BOOKED_MINUTES, Slot
from benchmarks.wire import Statement
from devserver.programs import find_postgres, postgres_environment

# Far from the days that are booked over HTTP.
FIRST_START = int(datetime(2040, 1, 1, tzinfo=UTC).timestamp())
IDS_PER_BOOKING = 8

VARIABLES = """\
\\set i :i + 1
\\set n :i * {clients} + :client_id
\\set provider :n % {providers} + 1
\\set start {first_start} + :n / {providers} * {seconds}
\\set fresh (:client_id + 1) * 1099511627776 + :i * {ids}
"""


@dataclass(frozen=True)
class Measured:
    rate: float
    transactions: int
    latencies: list[float]


def find_pgbench() -> Path | None:
    """Beside the other programs of Postgres, else on PATH."""
    beside = find_postgres() / "pgbench"
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which("pgbench")
    return Path(found) if found else None


def run(
    pgbench: Path,
    script: str,
    environment: dict[str, str],
    *,
    clients: int,
    seconds: float,
    first: int,
) -> Measured:
    """Book for so long, beginning with each client's booking number `first`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "booking.sql").write_text(script)
        where = ["-h", environment["POSTGRES_SERVER"], "-p", environment["POSTGRES_PORT"]]
        where += ["-U", environment["POSTGRES_USER"]]
        how = ["-n", "-M", "prepared", "-c", str(clients), "-j", "2", "-T", str(round(seconds))]
        how += ["-D", f"i={first}", "-l", f"--log-prefix={folder / 'log'}"]
        done = subprocess.run(
            [pgbench, *where, *how, "-f", folder / "booking.sql", environment["POSTGRES_DB"]],
            check=False,
            capture_output=True,
            text=True,
            env=postgres_environment(),
        )
        if done.returncode != 0:
            raise RuntimeError(f"pgbench failed:\n{done.stderr[-2000:]}")
        rate = re.search(r"tps = ([\d.]+)", done.stdout)
        if rate is None:
            raise RuntimeError(f"pgbench said something else:\n{done.stdout}")
        # client, number, microseconds, ...
        lines = [line for path in folder.glob("log.*") for line in path.read_text().splitlines()]
    latencies = [int(line.split()[2]) / 1e6 for line in lines]
    return Measured(float(rate[1]), len(latencies), latencies)


def booking_script(
    statements: Sequence[Statement],
    *,
    slot: Slot,
    reference: str,
    constants: frozenset[UUID],
    providers: int,
    clients: int,
) -> str:
    """A script that books another time with each run.

    Args:
        statements: what the application said for one booking, BEGIN and COMMIT included.
        slot: what was booked.
        reference: the booking's, which is unique.
        constants: ids that are the same for every booking.
        providers: how many are booked in turn.
        clients: how many run the script at once.
    """
    variables = VARIABLES.format(
        clients=clients,
        providers=providers,
        first_start=FIRST_START,
        seconds=BOOKED_MINUTES * 60,
        ids=IDS_PER_BOOKING,
    )
    template = _Template(slot, reference, constants)
    return variables + "".join(f"{template.fill(statement)};\n" for statement in statements)


class _Template:
    def __init__(self, slot: Slot, reference: str, constants: frozenset[UUID]) -> None:
        self._slot = slot
        self._reference = reference
        self._constants = constants
        self._fresh: dict[UUID, int] = {}

    def fill(self, statement: Statement) -> str:
        def argument(match: re.Match[str]) -> str:
            return self._expression(statement.arguments[int(match[1]) - 1])

        return re.sub(r"\$(\d+)", argument, statement.sql.strip().rstrip(";"))

    def _expression(self, value: Any) -> str:  # noqa: ANN401, PLR0911 - one line per type
        match value:
            case None:
                return "NULL"
            case UUID():
                return self._id(value)
            case datetime():
                return self._instant(value)
            case date():
                return f"DATE '{value}'"
            case Range():
                return f"tstzrange({self._instant(value.lower)}, {self._instant(value.upper)})"
            case int() | float():
                return str(value)
            case str() if value == self._reference:
                return "to_hex(:fresh::bigint)"
            case str():
                return _literal(value)
            case list() | tuple():
                items = ", ".join(self._expression(item) for item in value)
                return f"ARRAY[{items}]"
        raise TypeError(f"pgbench cannot be told a {type(value).__name__}")

    def _id(self, value: UUID) -> str:
        if value in self._constants:
            return f"'{value}'"
        number = ":provider::bigint"
        if value != self._slot.provider_id:
            number = f":fresh::bigint + {self._fresh.setdefault(value, len(self._fresh))}"
        return f"lpad(to_hex({number}), 32, '0')"

    def _instant(self, value: datetime) -> str:
        """As far from the booking's start as it was in the booking that was heard."""
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        offset = int((aware - self._slot.start).total_seconds())
        instant = f"to_timestamp(:start::bigint + {offset})"
        return instant if value.tzinfo else f"({instant} AT TIME ZONE 'UTC')"


def _literal(text: str) -> str:
    # pgbench reads a colon before a name as a variable, in a literal too.
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace(":", "\\x3a")
    return f"E'{escaped}'"
