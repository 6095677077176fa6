"""Child processes that do not outlive the launcher.

Each has its own session, so that Ctrl-C reaches the launcher only, which then stops its children in
order. On Linux the kernel signals them when the launcher dies of a kill -9. Elsewhere they stay,
and the next start finds and stops them (see `postgres.py` and `valkey.py`).
"""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from devserver.identity import Identity, current_user

STOP_SECONDS = 8.0


class Process:
    def __init__(
        self,
        command: Sequence[str],
        *,
        stop_signals: Sequence[signal.Signals] = (signal.SIGTERM,),
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log: Path | None = None,
        identity: Identity | None = None,
    ) -> None:
        """Describe a process.

        Args:
            command: The program, as an absolute path, and its arguments.
            stop_signals: From polite to rude; SIGKILL follows by itself.
            environment: Ours, if absent.
            cwd: Ours, if absent.
            log: Where its output goes, the terminal if absent. It holds the last start only.
            identity: Who it runs as, we ourselves if absent.
        """
        self._command = (identity or current_user()).wrap(command, death_signal=stop_signals[0])
        self._stop_signals = stop_signals
        self._environment = environment
        self._cwd = cwd
        self._log = log
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it may be started again once it has ended."""
        if threading.current_thread() is not threading.main_thread():
            # The kernel's "parent" is the thread that forked: the child would die with it.
            raise RuntimeError("Child processes must be started by the main thread.")
        output = self._log.open("wb") if self._log else None
        try:
            self._popen = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env=self._environment,
                cwd=self._cwd,
                start_new_session=True,
            )
        finally:
            if output:
                output.close()

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen else None

    @property
    def exit_code(self) -> int | None:
        """The exit code of a process that has ended; None before its start and while it runs."""
        return self._popen.poll() if self._popen else None

    @property
    def last_words(self) -> str:
        """The end of its log, for an error message."""
        if self._log is None or not self._log.exists():
            return ""
        lines = self._log.read_text("utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-15:])

    def wait(self) -> int:
        """Wait for the end of a process that ends by itself."""
        if self._popen is None:
            raise RuntimeError("A process that was never started does not end.")
        return self._popen.wait()

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Stop it and wait for its end, giving each signal in turn `timeout` seconds to work."""
        if self._popen is None:
            return
        for number in (*self._stop_signals, signal.SIGKILL):
            if self._popen.poll() is not None:
                return
            self._popen.send_signal(number)
            try:
                self._popen.wait(timeout)
            except subprocess.TimeoutExpired:
                continue
            return


def wait_until(condition: Callable[[], bool], *, timeout: float, interval: float = 0.01) -> bool:
    """Ask until the answer is yes, or the time is over.

    What we wait for (a file, a socket, someone else's child) sends no event on every system.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval)
    return True
