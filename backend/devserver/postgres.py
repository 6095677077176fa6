"""A real Postgres in a folder, reachable through a private Unix socket and by nobody else."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from devserver.errors import LauncherError
from devserver.folders import make_private
from devserver.identity import Identity, not_root
from devserver.processes import Process, wait_until
from devserver.programs import command_line, find_postgres, postgres_environment
from devserver.server import EmbeddedServer

PORT = 5432
USER = "app"
DATABASE = "app"
READY_SECONDS = 60.0
LEFTOVER_SECONDS = 20.0
# Postgres's words for "the processes of the last server are not all gone yet".
LEFTOVER_MESSAGES = ('lock file "', "is still in use")

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "jit": "off",  # compiling costs more than the short queries of an API take
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# For data that nobody would miss: no wait for the disk, and few checkpoints between the clones.
EPHEMERAL_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
}


class EmbeddedPostgres(EmbeddedServer):
    """A cluster in `data_dir` with an empty database `app`, created at the first start."""

    def __init__(self, data_dir: Path, *, ephemeral: bool = False) -> None:
        super().__init__(data_dir, ephemeral=ephemeral)
        self._cluster = self._folder.path / "cluster"
        self._pid_file = self._cluster / "postmaster.pid"
        self._sockets = self._folder.socket_directory(f".s.PGSQL.{PORT}")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "POSTGRES_SERVER": str(self._sockets),
            "POSTGRES_PORT": str(PORT),
            "POSTGRES_USER": USER,
            "POSTGRES_PASSWORD": "",
            "POSTGRES_DB": DATABASE,
        }

    def _prepare(self) -> Process:
        binaries = find_postgres()
        make_private(self._sockets)
        if self._cluster.exists():
            make_private(self._cluster)  # as root, don't take away an ordinary user's cluster
        identity = not_root(binaries / "postgres", self._folder.path)
        self._retire_leftover()
        if not self._cluster.exists():
            self._create_cluster(binaries, identity)
        identity.own(self._cluster)
        identity.own(self._sockets)
        return Process(
            [str(binaries / "postgres"), "-D", str(self._cluster), *self._options()],
            # Fast shutdown, then immediate; the default, SIGTERM, would wait for idle clients.
            stop_signals=(signal.SIGINT, signal.SIGQUIT),
            environment=postgres_environment(),
            cwd=self._folder.path,
            log=self._folder.path / "server.log",
            identity=identity,
        )

    def wait_until_ready(self) -> None:
        """Wait until the server takes connections, and see that it has the database."""
        process = self.process
        give_up = time.monotonic() + LEFTOVER_SECONDS

        def settled() -> bool:
            if process.exit_code is None:
                return self._is_ready(process)
            if time.monotonic() > give_up or not self._met_leftover(process):
                return True
            time.sleep(0.2)  # the processes of the last server see that it is gone, then end
            process.start()
            return False

        in_time = wait_until(settled, timeout=READY_SECONDS)
        if not in_time or process.exit_code is not None:
            reason = "did not start" if in_time else f"was not ready after {READY_SECONDS:.0f} s"
            raise LauncherError(f"Postgres {reason}. Its last words:\n{process.last_words}")
        self._ensure_database()

    def _options(self) -> list[str]:
        # The setting is a list of names, in which quotes protect the spaces of a path.
        settings = SETTINGS | {"unix_socket_directories": f'"{self._sockets}"'}
        if self._ephemeral:
            settings |= EPHEMERAL_SETTINGS
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _create_cluster(self, binaries: Path, identity: Identity) -> None:
        """Run initdb under another name, so that a cluster is complete or not there at all."""
        for unfinished in self._folder.path.glob("unfinished-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        cluster = Path(tempfile.mkdtemp(prefix="unfinished-", dir=self._folder.path))
        identity.own(cluster)
        # "C.UTF-8" sorts alike on every Linux; macOS has had it for a few years only.
        locale = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"
        options = ["--auth=trust", "--encoding=UTF8", f"--locale={locale}", "--no-sync"]
        initdb = Process(
            [str(binaries / "initdb"), "-D", str(cluster), "-U", USER, *options],
            environment=postgres_environment(),
            cwd=self._folder.path,
            log=self._folder.path / "initdb.log",
            identity=identity,
        )
        try:
            initdb.start()
            if initdb.wait() != 0:
                raise LauncherError(
                    f"The Postgres cluster could not be created:\n{initdb.last_words}"
                )
            cluster.rename(self._cluster)
        finally:
            initdb.stop()

    def _retire_leftover(self) -> None:
        """Stop the server of a launcher that was killed, or forget a pid that means nothing now.

        After a crash the pid in the file can be any other process's, and Postgres would refuse to
        start because of it. Should processes of the old server be left, Postgres notices them by
        their shared memory.
        """
        first = self._pid_lines()[0:1]
        pid = int(first[0]) if first and first[0].isdecimal() else None
        ours = f"-D {self._cluster}"
        if pid is None or ours not in command_line(pid):
            self._pid_file.unlink(missing_ok=True)
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        if not wait_until(lambda: ours not in command_line(pid), timeout=LEFTOVER_SECONDS):
            raise LauncherError(f"An earlier Postgres (process {pid}) does not stop; kill it.")

    def _pid_lines(self) -> list[str]:
        try:
            return self._pid_file.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []

    def _is_ready(self, process: Process) -> bool:
        lines = self._pid_lines()
        # Eight lines: pid, data, start time, port, socket, address, shared memory, state.
        return lines[0:1] == [str(process.pid)] and [x.strip() for x in lines[7:8]] == ["ready"]

    def _met_leftover(self, process: Process) -> bool:
        return any(message in process.last_words for message in LEFTOVER_MESSAGES)

    def _ensure_database(self) -> None:
        exists = self._psql(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'")  # noqa: S608
        if not exists:
            self._psql(f"CREATE DATABASE {DATABASE}")

    def _psql(self, statement: str) -> str:
        where = ["-h", str(self._sockets), "-p", str(PORT), "-U", USER, "-d", "postgres"]
        done = subprocess.run(
            [str(find_postgres() / "psql"), "-X", "-A", "-t", "-q", *where, "-c", statement],
            check=False,
            capture_output=True,
            text=True,
            env=postgres_environment(),
        )
        if done.returncode != 0:
            raise LauncherError(f"Postgres refused {statement!r}:\n{done.stderr.strip()}")
        return done.stdout.strip()
