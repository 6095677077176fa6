"""Who a server runs as. Postgres refuses root, and containers and CI often are root."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devserver.errors import LauncherError

SHIM = Path(__file__).with_name("shim.py")
NOBODY = 65534


@dataclass(frozen=True)
class Identity:
    """The way to start a server, and the user that its files must belong to."""

    owner: int
    shim_mode: str = "plain"
    wrapper: tuple[str, ...] = ()

    def wrap(self, command: Sequence[str], *, death_signal: int) -> list[str]:
        """The command, run as this identity, to be sent `death_signal` when we die."""
        if sys.platform != "linux":
            return list(command)
        shim = [sys.executable, "-I", "-S", str(SHIM), str(os.getpid()), str(int(death_signal))]
        return [*self.wrapper, *shim, self.shim_mode, *command]

    def own(self, tree: Path) -> None:
        """Give a folder with all it holds to this identity; nothing to do in the usual case."""
        if os.geteuid() != 0 or tree.stat().st_uid == self.owner:
            return
        for folder, _, files in os.walk(tree, topdown=False):
            for name in files:
                os.chown(Path(folder, name), self.owner, -1, follow_symlinks=False)
            # The top folder comes last: while it has its old owner, an interrupted walk is redone.
            os.chown(folder, self.owner, -1)


def current_user() -> Identity:
    return Identity(owner=os.geteuid())


def not_root(executable: Path, folder: Path) -> Identity:
    """An identity other than root that can run the executable and write to the folder."""
    if os.geteuid() != 0:
        return current_user()
    namespace = Identity(owner=0, shim_mode="namespace")
    if namespace_works(namespace, executable, folder):
        return namespace
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise LauncherError(
            "Postgres refuses to run as root, and this machine offers neither user namespaces nor "
            "`setpriv`. Run as an ordinary user, or point POSTGRES_SERVER to a server of yours."
        )
    # `nobody` keeps one capability of root's: to reach the binaries and the data folder where
    # they lie, as in /root, without their modes being changed.
    user = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    capabilities = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    return Identity(owner=NOBODY, wrapper=(setpriv, *user, *capabilities, "--"))


def namespace_works(namespace: Identity, executable: Path, folder: Path) -> bool:
    """Whether a private user namespace is allowed here, and what we need is reachable from it."""
    if sys.platform != "linux":
        return False
    question = ["/bin/sh", "-c", 'test -x "$1" && test -w "$2"', "sh", executable, folder]
    command = namespace.wrap([str(part) for part in question], death_signal=9)
    return subprocess.run(command, check=False, capture_output=True, cwd="/").returncode == 0
