"""Starts everything the API needs, then the API, and stops it all in order."""

import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from http import HTTPStatus
from typing import NoReturn

from devserver.credentials import local_secrets
from devserver.errors import LauncherError
from devserver.mail import MailCatcher
from devserver.ports import require_free
from devserver.postgres import EmbeddedPostgres
from devserver.processes import Process, wait_until
from devserver.server import EmbeddedServer
from devserver.settings import BACKEND, LauncherSettings, read_settings
from devserver.summary import fetch, summary
from devserver.valkey import EmbeddedValkey

PREPARE = [sys.executable, "-m", "devserver.prepare"]
SERVE = [sys.executable, "-m", "app.server"]
# Streams that stay open must not hold up Ctrl-C.
SERVE_OPTIONS = ["--grace", "3"]
START_SECONDS = 60.0


class StopRequested(BaseException):
    """Ctrl-C or SIGTERM; like KeyboardInterrupt, no `except Exception` holds it up."""


def main() -> int:
    """Run until stopped; returns the exit code."""
    _on_signals(_raise_stop)
    try:
        run(read_settings())
    except StopRequested:
        return 0
    except LauncherError as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        return 1


def run(settings: LauncherSettings) -> NoReturn:
    """Start all, print where it is, and watch. Ends by StopRequested or LauncherError only."""
    require_free(settings.host, settings.port)
    with ExitStack() as stack:
        try:
            _start_and_watch(settings, stack)
        except BaseException:
            # Whatever ended the run, the stack now stops what was started, last things first.
            _on_signals(_ignore)
            print("\nStopping.", flush=True)
            raise


def _start_and_watch(settings: LauncherSettings, stack: ExitStack) -> NoReturn:
    servers = _embedded(settings)
    for server in servers.values():
        stack.callback(server.stop)
        server.launch()
    mail = None if settings.has("MAIL_SERVER") else _mail_catcher(settings)
    if mail:
        stack.callback(mail.stop)
        mail.start()
    for server in servers.values():
        server.wait_until_ready()

    environment = _environment(settings, servers, mail)
    _prepare(environment)
    api = _api(settings, environment)
    stack.callback(api.stop)
    api.start()
    watched = {"The API": api} | {name: server.process for name, server in servers.items()}
    _wait_for_health(settings, watched)
    print(summary(settings, environment, mail.page_url if mail else None), flush=True)
    _watch(watched)


def _embedded(settings: LauncherSettings) -> dict[str, EmbeddedServer]:
    """The servers that nobody else provides, in the order in which they start."""
    servers: dict[str, EmbeddedServer] = {}
    if not settings.has("POSTGRES_SERVER"):
        servers["Postgres"] = EmbeddedPostgres(settings.data_dir / "postgres")
    if not settings.has("REDIS_HOST"):
        servers["Valkey"] = EmbeddedValkey(settings.data_dir / "valkey")
    return servers


def _mail_catcher(settings: LauncherSettings) -> MailCatcher:
    return MailCatcher(
        settings.data_dir / "mail",
        smtp_port=settings.mail_smtp_port,
        page_port=settings.mail_page_port,
    )


def _environment(
    settings: LauncherSettings, servers: Mapping[str, EmbeddedServer], mail: MailCatcher | None
) -> dict[str, str]:
    """What the app's processes get to see."""
    made_up = local_secrets(settings.data_dir)
    chosen = {name: value for name, value in settings.environment.items() if value}
    environment = dict(settings.environment) | made_up | chosen
    for server in servers.values():
        environment |= server.environment
    if mail:
        environment |= mail.environment
    return environment


def _prepare(environment: Mapping[str, str]) -> None:
    """Migrate and fill the database."""
    process = Process(PREPARE, environment=environment, cwd=BACKEND)
    try:
        process.start()
        if process.wait() != 0:
            raise LauncherError("The database could not be prepared; the reason stands above.")
    finally:
        process.stop()


def _api(settings: LauncherSettings, environment: Mapping[str, str]) -> Process:
    address = ["--host", settings.host, "--port", str(settings.port)]
    return Process([*SERVE, *address, *SERVE_OPTIONS], environment=environment, cwd=BACKEND)


def _wait_for_health(settings: LauncherSettings, watched: Mapping[str, Process]) -> None:
    def healthy() -> bool:
        _check(watched)
        answer = fetch(settings.url, "/health")
        return answer is not None and answer.status == HTTPStatus.OK

    if not wait_until(healthy, timeout=START_SECONDS, interval=0.03):
        raise LauncherError(f"The API did not answer on {settings.url} in {START_SECONDS:.0f} s.")


def _watch(watched: Mapping[str, Process]) -> NoReturn:
    def never() -> bool:
        _check(watched)
        return False

    while True:
        wait_until(never, timeout=3600, interval=0.25)


def _check(watched: Mapping[str, Process]) -> None:
    for name, process in watched.items():
        if process.exit_code is not None:
            words = f" Its last words:\n{process.last_words}" if process.last_words else ""
            raise LauncherError(f"{name} ended unexpectedly (exit {process.exit_code}).{words}")


def _raise_stop(_number: int, _frame: object) -> NoReturn:
    # Once is enough: stopping takes seconds at most, and must not be cut short.
    _on_signals(_ignore)
    raise StopRequested


def _ignore(_number: int, _frame: object) -> None:
    # A handler and not SIG_IGN, which children would inherit.
    pass


def _on_signals(handler: Callable[[int, object], object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
