"""Prepares a child process and becomes its command. Linux only, started by `processes.py`.

    python -I -S shim.py <launcher's pid> <signal> <plain|namespace> <command...>

The kernel is asked to send the signal once the launcher dies, even of a kill -9. A shim does this,
and not `preexec_fn`, because Python code between fork and exec can deadlock in a process that has
threads, and because the signal must be set after the last change of identity (which clears it).
"""

import ctypes
import os
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
NOBODY = 65534


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _leave_root(libc: ctypes.CDLL) -> None:
    """Become `nobody` in a private user namespace, while every file stays root's outside of it."""
    uid, gid = os.geteuid(), os.getegid()
    _check(libc.unshare(CLONE_NEWUSER))
    this = Path("/proc/self")
    (this / "setgroups").write_text("deny", "ascii")  # the kernel wants this before a gid_map
    (this / "uid_map").write_text(f"{NOBODY} {uid} 1", "ascii")
    (this / "gid_map").write_text(f"{NOBODY} {gid} 1", "ascii")


def main() -> None:
    launcher, signal, identity, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if identity == "namespace":
        _leave_root(libc)
    _check(libc.prctl(PR_SET_PDEATHSIG, int(signal), 0, 0, 0))
    if os.getppid() != int(launcher):
        sys.exit("The launcher died before it could start this process.")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
