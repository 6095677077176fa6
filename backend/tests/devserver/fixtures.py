import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user can reach, with a path short enough for a socket in it.

    pytest's own `tmp_path` is neither.
    """
    path = Path(tempfile.mkdtemp(prefix="devserver-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
