"""What the embedded servers have in common: a folder of their own, and a life."""

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from devserver.folders import ServiceFolder
from devserver.processes import Process


class EmbeddedServer(ABC):
    """A server that keeps its data in one folder and is reached through a Unix socket.

    `start` and `stop`, or `with`, for one of them. `launch` and `wait_until_ready` are the halves
    of `start`, so that several can come up at the same time.
    """

    def __init__(self, data_dir: Path, *, ephemeral: bool = False) -> None:
        """Describe a server.

        Args:
            data_dir: A folder for this server only. It need not exist.
            ephemeral: For tests: fast, and the data need not survive a crash.
        """
        self._folder = ServiceFolder(data_dir)
        self._ephemeral = ephemeral
        self._process: Process | None = None

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The settings with which the app finds this server."""

    @abstractmethod
    def wait_until_ready(self) -> None:
        """Wait until the server can be used."""

    @abstractmethod
    def _prepare(self) -> Process:
        """Make the folder, which is ours now, ready and describe the process to start."""

    @property
    def process(self) -> Process:
        if self._process is None:
            raise RuntimeError(f"{type(self).__name__} has not been started.")
        return self._process

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it can be used."""
        try:
            self.launch()
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def launch(self) -> None:
        """Start the server and come back at once; `wait_until_ready` must follow.

        One that runs is left alone, one that died is started anew.
        """
        if self._process is not None and self._process.exit_code is None:
            return
        self.stop()
        self._folder.acquire()
        self._process = self._prepare()
        self._process.start()

    def stop(self) -> None:
        """Stop the server, and let others have the folder. Nothing happens if it does not run."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        self._folder.release()
