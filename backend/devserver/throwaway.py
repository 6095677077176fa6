"""The whole application on a free port, with data that lasts as long as a `with` block.

For the demonstration and the benchmarks: real servers, real migrations, nothing left behind.
"""

import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn

from devserver.errors import LauncherError
from devserver.launcher import PREPARE, SERVE, SERVE_OPTIONS
from devserver.ports import listen
from devserver.postgres import EmbeddedPostgres
from devserver.processes import Process, wait_until
from devserver.settings import BACKEND
from devserver.summary import fetch
from devserver.valkey import EmbeddedValkey

HOST = "127.0.0.1"
START_SECONDS = 60.0

# Said here, so that neither `.env` nor the shell can make this another application.
SETTINGS = {
    "ENVIRONMENT": "local",
    "API_V1_STR": "/api/v1",
    "FIRST_SUPERUSER": "admin@example.com",
    "BUSINESS_TIME_ZONE": "UTC",
    "ENFORCE_EMAIL_DOMAIN": "false",
    "ALLOWED_HOSTS": "*",
    "SUPPRESS_SEND": "true",
    "LOG_FORMAT": "json",
    # Every request comes from one address, and the point is to send many of them.
    "RATE_LIMIT_ENABLED": "false",
}


@dataclass(frozen=True)
class Server:
    """A server that runs, and how to find its parts."""

    url: str
    port: int
    environment: Mapping[str, str]
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    api: Process

    @property
    def api_url(self) -> str:
        return self.url + self.environment["API_V1_STR"]


@contextmanager
def running_server(**settings: str) -> Iterator[Server]:
    """Start Postgres, Valkey and the API, prepared as `make run` prepares them.

    Raises:
        LauncherError: one of them did not start; the message ends with its last words.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        postgres = EmbeddedPostgres(folder / "postgres")
        valkey = EmbeddedValkey(folder / "valkey")
        for server in (postgres, valkey):
            stack.callback(server.stop)
            server.launch()
        for server in (postgres, valkey):
            server.wait_until_ready()
        made_up = {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "FIRST_SUPERUSER_PASSWORD": secrets.token_urlsafe(24),
        }
        environment = dict(os.environ) | SETTINGS | made_up | settings
        environment |= postgres.environment | valkey.environment
        _prepare(environment, folder)
        port = free_port()
        api = serve(SERVE, port, environment, folder / "api.log")
        stack.callback(api.stop)
        yield Server(f"http://{HOST}:{port}", port, environment, postgres, valkey, api)


def serve(
    command: list[str],
    port: int,
    environment: Mapping[str, str],
    log: Path,
    *,
    options: Sequence[str] = SERVE_OPTIONS,
) -> Process:
    """Start an application under uvicorn, as `make run` does, and wait for its `/health`."""
    process = Process(
        [*command, "--host", HOST, "--port", str(port), *options],
        environment=environment,
        cwd=BACKEND,
        log=log,
    )
    process.start()

    def settled() -> bool:
        answer = fetch(f"http://{HOST}:{port}", "/health")
        return process.exit_code is not None or (
            answer is not None and answer.status == HTTPStatus.OK
        )

    if not wait_until(settled, timeout=START_SECONDS, interval=0.03) or process.exit_code:
        words = process.last_words
        process.stop()
        raise LauncherError(f"The API did not start. Its last words:\n{words}")
    return process


def free_port() -> int:
    """A port that nobody listens on; somebody might before we do, but hardly will."""
    with listen(HOST, 0) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is removed in the end, also when we are told to stop."""
    signal.signal(signal.SIGTERM, _exit)
    # In /tmp itself, where the path of a socket is short enough.
    folder = Path(tempfile.mkdtemp(prefix="oneslot-"))
    # Postgres may run as another user, who must be able to pass.
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(environment: Mapping[str, str], folder: Path) -> None:
    process = Process(PREPARE, environment=environment, cwd=BACKEND, log=folder / "prepare.log")
    try:
        process.start()
        if process.wait() != 0:
            raise LauncherError(f"The database could not be prepared:\n{process.last_words}")
    finally:
        process.stop()


def _exit(_number: int, _frame: object) -> NoReturn:
    sys.exit(1)
