"""CPU time of processes and their children, from /proc."""

import os
from pathlib import Path

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float | None:
    """What a process, its living children and those it has waited for have used so far.

    None where there is no /proc. A tick is usually 10 ms: measure over seconds.
    """
    if not Path("/proc/self/stat").exists():
        return None
    ticks = sum(_ticks(fields) for fields in _family(pid))
    return ticks * _TICK_SECONDS


def _family(pid: int) -> list[list[str]]:
    fields = [_fields(path) for path in Path("/proc").glob("[0-9]*/stat")]
    return [f for f in fields if f and (f[0] == str(pid) or f[2] == str(pid))]


def _fields(path: Path) -> list[str]:
    """The pid, state, parent and so on; the name, which may hold spaces, is left out."""
    try:
        text = path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    before, _, after = text.rpartition(")")
    return [before.split(" ", 1)[0], *after.split()]


def _ticks(fields: list[str]) -> int:
    # utime, stime, cutime, cstime: fields 14 to 17 of proc(5), here without the name.
    return sum(int(value) for value in fields[12:16])
