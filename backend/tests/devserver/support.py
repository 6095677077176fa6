"""What the tests of the embedded servers do to them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from devserver.programs import command_line, find_postgres

BACKEND = Path(__file__).parents[2]
PATIENCE = 30.0

# A launcher in small: it starts both servers, says so, and lives until it is killed.
LAUNCHER = """
import sys, signal
from pathlib import Path
from devserver.errors import LauncherError
from devserver.postgres import EmbeddedPostgres
from devserver.valkey import EmbeddedValkey

folder = Path(sys.argv[1])
postgres = EmbeddedPostgres(folder / "postgres", ephemeral=True)
valkey = EmbeddedValkey(folder / "valkey", ephemeral=True)
try:
    postgres.start()
    valkey.start()
except LauncherError as error:
    print("refused", error, flush=True)
    sys.exit(3)
print("running", postgres.process.pid, valkey.process.pid, flush=True)
signal.pause()
"""


def start_launcher(folder: Path, *, wrapper: Sequence[str] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*wrapper, sys.executable, "-c", LAUNCHER, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        env=os.environ | {"PYTHONPATH": str(BACKEND), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def first_line(launcher: subprocess.Popen[str]) -> list[str]:
    """`running` and the two servers' pids, or `refused` and why."""
    assert launcher.stdout is not None
    return launcher.stdout.readline().split()


def kill(launcher: subprocess.Popen[str]) -> None:
    launcher.kill()
    launcher.communicate()


def gone(pids: Sequence[str]) -> bool:
    """Whether the processes come to their end."""
    return eventually(lambda: not any(is_running(int(pid)) for pid in pids))


def sql(settings: Mapping[str, str], statement: str) -> str:
    """What Postgres, found by its settings, answers to a statement."""
    where = ["-h", settings["POSTGRES_SERVER"], "-p", settings["POSTGRES_PORT"]]
    who = ["-U", settings["POSTGRES_USER"], "-d", settings["POSTGRES_DB"]]
    psql = str(find_postgres() / "psql")
    command = [psql, "-X", "-A", "-t", "-q", *where, *who, "-c", statement]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_running(pid: int) -> bool:
    """Whether a process lives; a zombie, which nobody has buried yet, does not."""
    return bool(command_line(pid))
