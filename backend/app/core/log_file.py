"""A log file that several processes write, and that is rotated without a restart.

Each line is one `write` to a file opened for appending, which the system keeps whole. The library
handlers that rotate for several processes take a lock for each line; here only a rotation takes
one, and who was not the one to rotate notices within a second that the file has another name.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time

from app.units import Rotation

try:
    import fcntl
except ImportError:  # Windows, where one process may write
    fcntl = None  # type: ignore[assignment]  # asked for before it is used

_LOOK_SECONDS = 1.0


class LogFile:
    """Opened when it is made: a file that cannot be written is noticed at the start.

    Args:
        path: of the file; its folder is made where there is none.
        rotation: when the file is put aside, under its name and the time.
        retention: how long files that were put aside are kept.
        clock: seconds since the epoch.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        rotation: Rotation,
        retention: timedelta,
        clock: Callable[[], float] = time,
    ) -> None:
        self._path = path
        self._rotation = rotation
        self._retention = retention
        self._clock = clock
        self._written_at = 0.0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()
        self._remove_old()

    def write(self, line: bytes) -> None:
        """Append a whole line.

        Raises:
            OSError: the disk is full, or the file is out of reach.
        """
        now = self._clock()
        if now >= self._look_at:
            self._follow(now)
        if self._rotation.is_due(self._size, self._written_at, now):
            self._rotate(now)
        self._size += os.write(self._file, line)
        self._written_at = now

    def close(self) -> None:
        os.close(self._file)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        self._file = os.open(self._path, flags, 0o640)
        self._look_at = self._clock() + _LOOK_SECONDS
        self._measure()

    def _measure(self) -> None:
        found = os.fstat(self._file)
        self._size = found.st_size
        self._written_at = max(self._written_at, found.st_mtime)

    def _follow(self, now: float) -> None:
        """Go where the others write, and see how much they have written."""
        self._look_at = now + _LOOK_SECONDS
        if self._is_current():
            self._measure()
        else:
            self._reopen()

    def _reopen(self) -> None:
        before = self._file
        self._open()
        os.close(before)

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False

    def _rotate(self, now: float) -> None:
        beside = self._path.with_name(f"{self._path.name}.lock")
        lock = os.open(beside, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX)
            if self._is_current():  # else another process was faster
                when = datetime.fromtimestamp(now, UTC)
                aside = f"{self._path.name}.{when:%Y%m%dT%H%M%S.%fZ}"
                self._path.rename(self._path.with_name(aside))
            self._reopen()
        finally:
            os.close(lock)
        self._remove_old()

    def _remove_old(self) -> None:
        oldest = self._clock() - self._retention.total_seconds()
        for path in self._path.parent.glob(f"{self._path.name}.????????T*Z"):
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:  # another process removed it
                continue
