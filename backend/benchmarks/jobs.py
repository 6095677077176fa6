"""`python -m benchmarks.jobs`: how fast mails follow bookings.

Customers book as fast as they are served while nobody does jobs; then one worker does what there
is to do, and another time two. In the end bookings come at leisure, and each mail's arrival is
compared with its booking's beginning.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from time import monotonic

import asyncpg
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.cpu import cpu_seconds
from benchmarks.load import send
from benchmarks.outages import Customers
from benchmarks.report import NOISE, WIDTH, percentile
from devserver.errors import LauncherError
from devserver.mail import HOST, SmtpThread
from devserver.ports import listen
from devserver.processes import Process, wait_until
from devserver.settings import BACKEND
from devserver.throwaway import Server, running_server, temporary_folder

WORKER = [sys.executable, "-m", "app.worker"]
WORKERS = (1, 2)
LEISURE = 0.2
"""Seconds for which each customer pauses when bookings come at leisure."""
PATIENCE_SECONDS = 300.0
SETTINGS = {
    "BCRYPT_ROUNDS": "10",
    "JOBS_IN_PROCESS": "false",
    "LOG_LEVEL": "WARNING",
    "MAIL_SERVER": HOST,
    "SUPPRESS_SEND": "false",
}


@dataclass(frozen=True)
class Run:
    """So many workers doing what a number of bookings left to do."""

    workers: int
    bookings: int
    booking_rate: float
    mail_rate: float
    cpu: float | None
    """Milliseconds of all workers per mail."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.jobs", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4, help="of booking, each time")
    options = parser.parse_args(arguments)
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(temporary_folder())
            smtp = SmtpThread(folder, listen(HOST, 0))
            smtp.start()
            stack.callback(smtp.stop)
            server = stack.enter_context(running_server(**SETTINGS, MAIL_PORT=str(smtp.port)))
            mails = Mails(server, folder, options.seconds)
            runs = [mails.worked_off_by(workers) for workers in WORKERS]
            delays = mails.delays()
    except LauncherError as error:
        print(error, file=sys.stderr)
        return 1
    _print(runs, delays)
    return 0


class Mails:
    def __init__(self, server: Server, folder: Path, seconds: float) -> None:
        self._server = server
        self._folder = folder
        self._seconds = seconds
        self._customers = Customers(server, seconds)

    def worked_off_by(self, workers: int) -> Run:
        """Let mails pile up, and then have them sent."""
        before = len(self._arrived())
        booked = send(self._customers.plan(pause=0.0))
        with self._working(workers) as processes:
            self._wait_for(before + 1)
            started, already = monotonic(), len(self._arrived())
            cpu = [cpu_seconds(_pid(process)) for process in processes]
            self._wait_for(before + booked.answers)
            seconds = monotonic() - started
            used = [
                after - first
                for first, process in zip(cpu, processes, strict=True)
                if first is not None and (after := cpu_seconds(_pid(process))) is not None
            ]
        sent = before + booked.answers - already
        return Run(
            workers,
            booked.answers,
            booked.rate,
            sent / seconds,
            sum(used) / sent * 1000 if used else None,
        )

    def delays(self) -> list[float]:
        """Seconds from a booking's beginning to the arrival of its mail, with one worker."""
        before = {path.name for path in self._arrived()}
        with self._working(1):
            booked = send(self._customers.plan(pause=LEISURE))
            self._wait_for(len(before) + booked.answers)
        made_at = asyncio.run(_bookings(self._server))
        return [
            (arrived_at - made_at[reference]).total_seconds()
            for path in self._arrived()
            if path.name not in before
            for reference, arrived_at in [_mail(path)]
        ]

    def _arrived(self) -> list[Path]:
        return list(self._folder.glob("*.eml"))

    def _wait_for(self, number: int) -> None:
        if not wait_until(
            lambda: len(self._arrived()) >= number, timeout=PATIENCE_SECONDS, interval=0.02
        ):
            raise LauncherError(f"{len(self._arrived())} mails arrived, not {number}.")

    @contextmanager
    def _working(self, workers: int) -> Iterator[Sequence[Process]]:
        processes = [
            Process(
                WORKER,
                environment=self._server.environment,
                cwd=BACKEND,
                log=self._folder / f"worker-{number}.log",
            )
            for number in range(workers)
        ]
        try:
            for process in processes:
                process.start()
            yield processes
        finally:
            for process in processes:
                process.stop()


async def _bookings(server: Server) -> dict[str, datetime]:
    """When each booking's transaction began, by its reference."""
    environment = server.environment
    connection = await asyncpg.connect(
        host=environment["POSTGRES_SERVER"],
        port=int(environment["POSTGRES_PORT"]),
        user=environment["POSTGRES_USER"],
        database=environment["POSTGRES_DB"],
    )
    try:
        rows = await connection.fetch("SELECT reference, created_at FROM bookings")
    finally:
        await connection.close()
    return {row["reference"]: row["created_at"] for row in rows}


def _mail(path: Path) -> tuple[str, datetime]:
    """Which booking a mail is about, by its subject, and when it arrived, by its file's name."""
    arrival = datetime.strptime(path.name[:22], "%Y%m%dT%H%M%S-%f").replace(tzinfo=UTC)
    subject = str(message_from_bytes(path.read_bytes(), policy=policy.default)["Subject"])
    return next(word for word in subject.split() if word.isupper()), arrival


def _pid(process: Process) -> int:
    if process.pid is None:
        raise LauncherError(f"A worker ended:\n{process.last_words}")
    return process.pid


def _print(runs: Sequence[Run], delays: Sequence[float]) -> None:
    table = Table(title="Mails that follow bookings", box=box.SIMPLE, title_justify="left")
    table.add_column("", no_wrap=True)
    for name in ("bookings", "booked / s", "mails / s", "of bookings", "of one worker", "CPU ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        table.add_row(
            f"{run.workers} worker{'s' if run.workers > 1 else ''}",
            f"{run.bookings:,}",
            f"{run.booking_rate:,.0f}",
            f"{run.mail_rate:,.0f}",
            f"{run.mail_rate / run.booking_rate:.2f}",
            f"{run.mail_rate / runs[0].mail_rate:.2f}",
            "-" if run.cpu is None else f"{run.cpu:.1f}",
        )
    Console(width=WIDTH, highlight=False).print(table)
    p50, p99 = (percentile(delays, part) / 1000 for part in (0.5, 0.99))
    print(f"From the booking to its mail's arrival, at leisure: p50 {p50:.2f} s, p99 {p99:.2f} s.")
    print(f"The log is looked at once a second. The mail server is aiosmtpd, in Python. {NOISE}")


if __name__ == "__main__":
    sys.exit(main())
