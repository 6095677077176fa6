"""The private folder of one server: who may use it, and where its socket stands."""

import fcntl
import hashlib
import os
import shutil
import stat
from pathlib import Path

from devserver.errors import LauncherError
from devserver.identity import NOBODY

# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the closing NUL included.
LONGEST_SOCKET_PATH = 103


class ServiceFolder:
    """A folder that one launcher at a time owns.

    The lock lives as long as the launcher and goes with it, however it dies. So whoever holds it
    knows: a server that still runs in this folder has lost its launcher, and may be stopped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        # Others can write to /tmp as well, so `make_private` checks whose folder it is.
        self._outside = Path("/tmp", f"devserver-{os.geteuid()}-{digest}")  # noqa: S108
        self._lock: int | None = None

    def acquire(self) -> None:
        """Create the folder if need be and lock it, or say who else has it."""
        make_private(self.path)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode("ascii", "replace") or "unknown"
            os.close(lock)
            raise LauncherError(
                f"Another launcher (process {holder}) is using {self.path}. "
                "Stop it first, or set DATA_DIR to another folder."
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode("ascii"), 0)
        self._lock = lock

    def release(self) -> None:
        """Let others have the folder; nothing happens if we don't."""
        if self._lock is None:
            return
        if self._outside.exists():
            shutil.rmtree(self._outside, ignore_errors=True)
        # Unlocking, unlike closing alone, also frees the copies that a fork of ours may hold.
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        os.close(self._lock)
        self._lock = None

    def socket_directory(self, socket_name: str) -> Path:
        """Where the socket goes: into the folder, or into /tmp where its path would not do."""
        inside = self.path / "run"
        text = str(inside / socket_name)
        # Postgres and its clients read a comma as "and" between two directories.
        if len(os.fsencode(text)) <= LONGEST_SOCKET_PATH and not {",", '"'} & set(text):
            return inside
        return self._outside


def make_private(path: Path) -> None:
    """Create a folder that only its owner may enter; refuse one that is someone else's."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.lstat()
    ours = {os.geteuid()} | ({NOBODY} if os.geteuid() == 0 else set())
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in ours:
        raise LauncherError(
            f"{path} belongs to user {status.st_uid}. Run as that user, remove it, "
            "or set DATA_DIR to another folder."
        )
    if stat.S_IMODE(status.st_mode) != 0o700:  # noqa: PLR2004 - a mode is best read as such
        path.chmod(0o700)
