"""`python -m benchmarks.edge`: what everything between the socket and the endpoint costs.

The same trivial endpoint is served by FastAPI alone and by the whole application, in one run, under
the same server settings, each in one process. The result is CPU time of the server per request,
as a ratio to FastAPI alone: what Starlette's and FastAPI's own layers cost is part of that.
"""

import argparse
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from fastapi import FastAPI
from rich import box
from rich.console import Console
from rich.table import Table

from app.main import create_app
from benchmarks.bare import add_typed_endpoint
from benchmarks.cpu import cpu_seconds
from benchmarks.load import Plan, Request, send
from benchmarks.report import NOISE, WIDTH
from devserver.errors import LauncherError
from devserver.launcher import SERVE
from devserver.processes import Process
from devserver.throwaway import Server, free_port, running_server, serve, temporary_folder

CLIENTS = 8
ROUNDS = 5
WARM_UP_SECONDS = 0.5
BARE = [*SERVE, "benchmarks.bare:create_app"]
WHOLE = [*SERVE, "benchmarks.edge:whole_application"]
ORIGIN = "http://localhost:5173"
# What a browser and a proxy add to a request, beside what is asked.
HEADERS = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "accept": "application/json",
    "accept-language": "en-GB,en;q=0.5",
    "accept-encoding": "gzip, deflate, br",
}
QUIET = {"REQUEST_LOGGING": "false", "RATE_LIMIT_ENABLED": "false"}
LOGGED = {"REQUEST_LOGGING": "true", "RATE_LIMIT_ENABLED": "false", "LOG_LEVEL": "INFO"}
LIMITED = LOGGED | {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_REQUESTS": "1000000000"}


@dataclass
class Case:
    """One way to serve the endpoint, and milliseconds of CPU time per request in each round."""

    what: str
    settings: Mapping[str, str]
    path: str = "/api/v1/bare"
    command: list[str] = field(default_factory=lambda: WHOLE)
    headers: Mapping[str, str] = field(default_factory=dict)
    costs: list[float] = field(default_factory=list)

    @property
    def request(self) -> Request:
        return Request("GET", self.path, HEADERS | dict(self.headers))


def cases() -> list[Case]:
    return [
        Case("FastAPI alone", {}, path="/bare", command=BARE),
        Case("all layers, no logging, no limits", QUIET),
        Case("all layers and logging", LOGGED),
        Case("  and a browser's Origin", LOGGED, headers={"origin": ORIGIN}),
        Case("  and limits, counted in Redis", LIMITED),
    ]


def whole_application() -> FastAPI:
    """The application as it is served, with one endpoint more, which is tried first."""
    app = create_app()
    add_typed_endpoint(app, "/api/v1/bare")
    routes = app.router.routes
    routes.insert(0, routes.pop())
    return app


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.edge", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    measured = cases()
    try:
        with running_server() as server, temporary_folder() as folder, ExitStack() as stack:
            _measure(measured, server, folder, stack, options.rounds, options.seconds)
    except LauncherError as error:
        print(error, file=sys.stderr)
        return 1
    _print(measured)
    return 0


def _measure(
    measured: list[Case],
    server: Server,
    folder: Path,
    stack: ExitStack,
    rounds: int,
    seconds: float,
) -> None:
    served: list[tuple[Case, Process, int]] = []
    for number, case in enumerate(measured):
        port = free_port()
        environment = dict(server.environment) | case.settings
        process = serve(case.command, port, environment, folder / f"{number}.log")
        stack.callback(process.stop)
        served.append((case, process, port))
        _send(case, port, WARM_UP_SECONDS)
    # Round by round, so that whatever else the machine does meets all of them.
    for _ in range(rounds):
        for case, process, port in served:
            before = _cpu(process)
            answers = _send(case, port, seconds)
            case.costs.append((_cpu(process) - before) / answers * 1000)


def _send(case: Case, port: int, seconds: float) -> int:
    plan = Plan(
        port=port, connections=CLIENTS, seconds=seconds, repeat=True, requests=[case.request]
    )
    result = send(plan)
    if set(result.statuses) != {"200"}:
        raise LauncherError(f"{case.what.strip()} was answered {result.statuses}.")
    return result.answers


def _cpu(process: Process) -> float:
    used = None if process.pid is None else cpu_seconds(process.pid)
    if used is None:
        raise LauncherError("There is no /proc to read the CPU time from, or the server ended.")
    return used


def _print(measured: list[Case]) -> None:
    table = Table(title="The edge", box=box.SIMPLE, title_justify="left")
    table.add_column("", no_wrap=True)
    for name in ("CPU", "ratio", "least", "most"):
        table.add_column(name, justify="right", no_wrap=True)
    yardstick = measured[0]
    for case in measured:
        ratios = [c / y for c, y in zip(case.costs, yardstick.costs, strict=True)]
        table.add_row(
            case.what,
            f"{median(case.costs):.3f}",
            f"{median(ratios):.2f}",
            f"{min(ratios):.2f}",
            f"{max(ratios):.2f}",
        )
    Console(width=WIDTH, highlight=False).print(table)
    print(
        f"CPU: ms per request; the ratios are those of the {len(yardstick.costs)} rounds. {NOISE}"
    )


if __name__ == "__main__":
    sys.exit(main())
