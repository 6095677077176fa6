"""The lock files: every package that is installed, with its hash.

`python -m devserver.lock` writes them from `pyproject.toml` (`--upgrade` for newer versions);
`is_current` tells whether they still say what `pyproject.toml` asks for.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

BACKEND = Path(__file__).resolve().parents[1]
# For each lock file, what it holds besides the application's own dependencies.
EXTRAS = ("--all-extras",)
LOCKS = {
    "requirements.txt": EXTRAS,
    "requirements-dev.txt": (*EXTRAS, "--group", "dev"),
    "requirements-fuzz.txt": ("--group", "fuzz"),
}


def compile_lock(name: str, target: Path, *options: str) -> None:
    """Resolve into `target`, keeping the versions that it already names where they still fit."""
    command = ("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11")
    style = ("--generate-hashes", "--custom-compile-command", "make lock")
    what = ("pyproject.toml", *LOCKS[name], "--output-file", str(target))
    subprocess.run(
        [sys.executable, "-m", *command, *style, *what, *options], cwd=BACKEND, check=True
    )


def is_current(name: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / name
        shutil.copyfile(BACKEND / name, fresh)
        compile_lock(name, fresh)
        return fresh.read_text() == (BACKEND / name).read_text()


def main(options: Sequence[str]) -> None:
    for name in LOCKS:
        compile_lock(name, BACKEND / name, *options)


if __name__ == "__main__":
    main(sys.argv[1:])
