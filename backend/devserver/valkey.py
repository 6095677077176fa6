"""A real Valkey (what Redis was) in a folder, reachable through a private Unix socket."""

import socket
from pathlib import Path

from devserver.errors import LauncherError
from devserver.folders import make_private
from devserver.processes import Process, wait_until
from devserver.programs import find_valkey
from devserver.server import EmbeddedServer

SOCKET_NAME = "valkey.sock"
READY_SECONDS = 20.0
ANSWER_SECONDS = 2.0


class EmbeddedValkey(EmbeddedServer):
    """A server with its data in `data_dir`; an ephemeral one keeps nothing."""

    def __init__(self, data_dir: Path, *, ephemeral: bool = False) -> None:
        super().__init__(data_dir, ephemeral=ephemeral)
        self._socket = self._folder.socket_directory(SOCKET_NAME) / SOCKET_NAME

    @property
    def environment(self) -> dict[str, str]:
        # The app takes an absolute path for a Unix socket.
        return {"REDIS_HOST": str(self._socket), "REDIS_PASSWORD": "", "REDIS_SSL": "false"}

    def _prepare(self) -> Process:
        make_private(self._socket.parent)
        self._retire_leftover()
        return Process(
            [str(find_valkey()), *self._options()],
            cwd=self._folder.path,
            log=self._folder.path / "server.log",
        )

    def wait_until_ready(self) -> None:
        process = self.process

        def settled() -> bool:
            return process.exit_code is not None or ask(self._socket, "PING") == "+PONG"

        in_time = wait_until(settled, timeout=READY_SECONDS)
        if not in_time or process.exit_code is not None:
            raise LauncherError(f"Valkey did not start. Its last words:\n{process.last_words}")

    def _options(self) -> list[str]:
        place = ["--dir", str(self._folder.path), "--unixsocket", str(self._socket)]
        private = ["--port", "0", "--unixsocketperm", "700"]
        # The append-only file keeps all but the last second; snapshots would add nothing to it.
        kept = ["--appendonly", "no" if self._ephemeral else "yes", "--save", ""]
        return [*place, *private, *kept]

    def _retire_leftover(self) -> None:
        """Stop the server of a launcher that was killed: two would write to the same files."""
        if ask(self._socket, "PING") is None:
            return
        ask(self._socket, "SHUTDOWN")
        if not wait_until(lambda: ask(self._socket, "PING") is None, timeout=READY_SECONDS):
            raise LauncherError(f"An earlier Valkey in {self._folder.path} does not stop.")


def ask(path: Path, command: str) -> str | None:
    """The first line of a server's answer; None if nobody answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(path))
            connection.sendall(f"{command}\r\n".encode("ascii"))
            answer = connection.recv(256)
        except OSError:
            return None
    return answer.partition(b"\r\n")[0].decode("ascii", "replace")
