"""What `make check` looks at beyond the code: migrations, the OpenAPI snapshot, the lock files."""

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from alembic import command
from alembic.util import CommandError

from app.core.migrations import alembic_config
from devserver import lock, snapshot
from devserver.postgres import EmbeddedPostgres


def migrations() -> str | None:
    """The models say what the migrations do, from an empty database to the head."""
    with ExitStack() as stack:
        if "POSTGRES_SERVER" not in os.environ:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = stack.enter_context(EmbeddedPostgres(folder / "pg", ephemeral=True))
            os.environ.update(server.environment)
            stack.callback(lambda: [os.environ.pop(name) for name in server.environment])
        config = alembic_config()
        command.upgrade(config, "head")
        try:
            command.check(config)
        except CommandError as error:
            return f"{error} Write a migration (alembic revision --autogenerate)."
    return None


def openapi() -> str | None:
    """The contract that clients generate code from changes knowingly, in a reviewed diff."""
    if not snapshot.is_current():
        return "docs/openapi is not what the code says: run `make openapi`, read the diff."
    return None


def locks() -> str | None:
    """What is installed is what `pyproject.toml` asks for."""
    stale = [name for name in lock.LOCKS if not lock.is_current(name)]
    return (
        f"{', '.join(stale)}: not what pyproject.toml asks for; run `make lock`." if stale else None
    )


CHECKS: dict[str, Callable[[], str | None]] = {
    "migrations match the models": migrations,
    "docs/openapi is current": openapi,
    "lock files are current": locks,
}


def main() -> int:
    failed = False
    for name, check in CHECKS.items():
        problem = check()
        failed |= bool(problem)
        print(f"{name}: {problem or 'ok'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
