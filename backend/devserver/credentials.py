"""The secrets of a local installation: made up once, then the same at every start."""

import fcntl
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

# Long enough for HS256, whose key should have as many bytes as its hash.
MAKERS: dict[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "FIRST_SUPERUSER_PASSWORD": lambda: secrets.token_urlsafe(12),
}


def local_secrets(data_dir: Path) -> dict[str, str]:
    """The secrets kept in `secrets.json`; those that it lacks are made and added."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "secrets.json", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two first starts at once must agree
        kept: dict[str, str] = json.loads(file.read() or "{}")
        missing = {name: make() for name, make in MAKERS.items() if not kept.get(name)}
        if missing:
            kept |= missing
            file.seek(0)
            file.write(json.dumps(kept, indent=2) + "\n")
            file.truncate()
    return {name: kept[name] for name in MAKERS}
