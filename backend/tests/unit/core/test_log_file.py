"""A log file that several processes write and rotate."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from app.core.log_file import LogFile
from app.units import Rotation, duration

DAY = 24 * 60 * 60.0
NEVER = Rotation(size=10**9)
A_WEEK = timedelta(days=7)


class Seconds:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(tmp_path: Path) -> Seconds:
    (tmp_path / "now").touch()
    return Seconds((tmp_path / "now").stat().st_mtime)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "oneslot.log"


def rotated(path: Path) -> list[str]:
    """What the files that were put aside hold, the oldest first."""
    return [p.read_text() for p in sorted(path.parent.glob(f"{path.name}.*Z"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100 MB", Rotation(size=100_000_000)),
        ("10KiB", Rotation(size=10_240)),
        ("512", Rotation(size=512)),
        ("1 day", Rotation(every=timedelta(days=1))),
        ("12 hours", Rotation(every=timedelta(hours=12))),
        (" 2 Weeks ", Rotation(every=timedelta(weeks=2))),
    ],
)
def test_rotations_are_written_as_people_write_them(text: str, expected: Rotation) -> None:
    assert Rotation.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "often", "0 MB", "-1 MB", "0 days", "1 fortnight", "1.5 days"]
)
def test_what_is_no_rotation_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|room|number"):
        Rotation.parse(text)
    with pytest.raises(ValueError, match="number"):
        duration(text)


def test_lines_are_appended_to_what_is_there(path: Path, clock: Seconds) -> None:
    for line in (b"one\n", b"two\n"):
        file = LogFile(path, NEVER, A_WEEK, clock)
        file.write(line)
        file.close()
    assert path.read_text() == "one\ntwo\n"


def test_a_full_file_is_put_aside_whole(path: Path, clock: Seconds) -> None:
    file = LogFile(path, Rotation(size=8), A_WEEK, clock)
    for line in (b"one\n", b"two\n", b"three\n"):
        clock.now += 1
        file.write(line)
    assert rotated(path) == ["one\ntwo\n"]
    assert path.read_text() == "three\n"


def test_a_new_day_begins_a_new_file(path: Path, clock: Seconds) -> None:
    clock.now += DAY - clock.now % DAY + 60  # a minute after a midnight that is ahead
    file = LogFile(path, Rotation(every=timedelta(days=1)), A_WEEK, clock)
    file.write(b"early\n")
    clock.now += DAY - 120
    file.write(b"late\n")
    clock.now += 60
    file.write(b"tomorrow\n")
    assert (rotated(path), path.read_text()) == (["early\nlate\n"], "tomorrow\n")


def test_old_files_are_removed_and_others_left(path: Path, clock: Seconds) -> None:
    file = LogFile(path, Rotation(size=1), timedelta(days=2), clock)
    stranger = path.with_name(f"{path.name}.notes")
    stranger.touch()
    os.utime(stranger, (0, 0))
    for day in range(5):
        file.write(f"{day}\n".encode())
        os.utime(path, (clock.now, clock.now))
        clock.now += DAY
    assert rotated(path) == ["2\n", "3\n"]
    assert stranger.exists()


def test_who_did_not_rotate_follows(path: Path, clock: Seconds) -> None:
    one = LogFile(path, Rotation(size=4), A_WEEK, clock)
    other = LogFile(path, Rotation(size=4), A_WEEK, clock)
    one.write(b"one\n")
    one.write(b"two\n")  # puts aside what holds the first line
    clock.now += 2
    other.write(b"three\n")
    assert rotated(path) == ["one\n", "two\n"]
    assert path.read_text() == "three\n"


def test_a_file_that_was_taken_away_is_made_anew(path: Path, clock: Seconds) -> None:
    file = LogFile(path, NEVER, A_WEEK, clock)
    file.write(b"one\n")
    path.unlink()
    clock.now += 2
    file.write(b"two\n")
    assert path.read_text() == "two\n"


WRITING = """
import sys
from datetime import timedelta
from pathlib import Path
from app.core.log_file import LogFile
from app.units import Rotation

file = LogFile(Path(sys.argv[1]), Rotation(size=20_000), timedelta(days=1))
for number in range(2000):
    file.write(f"{sys.argv[2]} {number} {'x' * 20}\\n".encode())
"""


def test_processes_that_rotate_at_once_lose_and_mix_nothing(path: Path) -> None:
    command = [sys.executable, "-c", WRITING, str(path)]
    writers = [subprocess.Popen([*command, name]) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    files = rotated(path)
    assert len(files) > 3
    lines = "".join([*files, path.read_text()]).splitlines()
    expected = {f"{name} {number} {'x' * 20}" for name in "abc" for number in range(2000)}
    assert sorted(lines) == sorted(expected)


def test_a_folder_that_cannot_be_written_is_noticed_at_the_start(
    tmp_path: Path, clock: Seconds
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        LogFile(tmp_path / "file" / "oneslot.log", NEVER, A_WEEK, clock)


def test_a_full_disk_fails_the_write_and_not_those_after(
    path: Path, clock: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = LogFile(path, NEVER, A_WEEK, clock)
    write: Callable[[int, bytes], int] = os.write

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="space"):
        file.write(b"lost\n")
    monkeypatch.setattr(os, "write", write)
    file.write(b"kept\n")
    assert path.read_text() == "kept\n"
