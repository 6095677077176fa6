"""What becomes of the servers when launchers die, compete, or are not root."""

import os
import shutil
import sys
import threading
from pathlib import Path

import pytest

from devserver.identity import NOBODY
from devserver.postgres import EmbeddedPostgres
from devserver.processes import Process
from tests.devserver.support import (
    eventually,
    first_line,
    gone,
    is_running,
    kill,
    sql,
    start_launcher,
)

pytest_plugins = ["tests.devserver.fixtures"]

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only the Linux kernel tells children of their parent's death"
)


@on_linux
def test_killing_the_launcher_ends_its_children(folder: Path) -> None:
    launcher = start_launcher(folder)
    state, *pids = first_line(launcher)
    assert state == "running"
    assert all(is_running(int(pid)) for pid in pids)
    kill(launcher)
    assert gone(pids)


@on_linux
def test_the_next_launcher_starts_right_after_a_killed_one(folder: Path) -> None:
    pids: list[str] = []
    for _ in range(3):
        launcher = start_launcher(folder)
        state, *pids = first_line(launcher)
        kill(launcher)
        assert state == "running", pids
    assert gone(pids)


@on_linux
def test_of_launchers_that_start_at_once_exactly_one_wins(folder: Path) -> None:
    launchers = [start_launcher(folder) for _ in range(4)]
    winner, *losers = sorted((first_line(launcher) for launcher in launchers), reverse=True)
    try:
        assert winner[0] == "running"
        assert [" ".join(words[:3]) for words in losers] == ["refused Another launcher"] * 3
        assert sql(EmbeddedPostgres(folder / "postgres").environment, "SELECT 1") == "1"
        assert [path.parent.name for path in folder.glob("*/*/PG_VERSION")] == ["cluster"]
    finally:
        for launcher in launchers:
            kill(launcher)
    assert gone(winner[1:])


@on_linux
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_an_ordinary_user_can_start_it(folder: Path) -> None:
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    # Python and this repository may lie where only root can go.
    reach = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    os.chown(folder, NOBODY, NOBODY)
    launcher = start_launcher(folder, wrapper=[*user, *reach])
    state, *pids = first_line(launcher)
    kill(launcher)
    assert state == "running", pids
    assert (folder / "postgres" / "cluster").stat().st_uid == NOBODY
    assert gone(pids)


def test_a_stubborn_process_is_killed(folder: Path) -> None:
    marker = folder / "ready"
    program = (
        "import signal, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"pathlib.Path({str(marker)!r}).touch(); signal.pause()"
    )
    process = Process([sys.executable, "-c", program])
    process.start()
    assert eventually(marker.exists)
    process.stop(timeout=0.1)
    assert process.exit_code == -9


def test_a_thread_may_not_start_a_process() -> None:
    """The kernel would end the process together with the thread."""
    errors: list[BaseException] = []

    def start() -> None:
        try:
            Process(["/bin/sh", "-c", ":"]).start()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])
