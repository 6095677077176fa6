"""`python -m devserver.snapshot`, which is what `make openapi` calls: write `docs/openapi` anew.

It is the contract that clients generate code from, as it was reviewed: a file for what each tag
does and one for what they share, a line for each operation and schema, so that a difference names
what changed. `python -m app.cli openapi` prints the document in one piece.
"""

import json
import sys
from pathlib import Path
from typing import Any

from app.config import Settings
from app.main import create_app

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "openapi"
_SHARED = "components.json"


def is_current() -> bool:
    there = {file.name: file.read_text() for file in FOLDER.glob("*.json")}
    return there == _files()


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    files = _files()
    for file in FOLDER.glob("*.json"):
        if file.name not in files:
            file.unlink()
    for name, text in files.items():
        (FOLDER / name).write_text(text)
    return 0


def _files() -> dict[str, str]:
    document = create_app(Settings(_env_file=None)).openapi()
    tagged: dict[str, dict[str, dict[str, Any]]] = {}
    for path, operations in document.pop("paths").items():
        for method, operation in operations.items():
            tag = operation["tags"][0].replace(" ", "-")
            tagged.setdefault(f"{tag}.json", {}).setdefault(path, {})[method] = operation
    files = {name: _one_line_each(paths, depth=2) for name, paths in tagged.items()}
    return files | {_SHARED: _one_line_each(document, depth=3)}


def _one_line_each(node: Any, depth: int) -> str:  # noqa: ANN401 - JSON
    return f"{_lines(node, depth)}\n"


def _lines(node: Any, depth: int) -> str:  # noqa: ANN401 - JSON
    if depth == 0 or not isinstance(node, dict):
        return json.dumps(node, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    members = (f"{json.dumps(name)}:{_lines(node[name], depth - 1)}" for name in sorted(node))
    return "{\n" + ",\n".join(members) + "\n}"


if __name__ == "__main__":
    sys.exit(main())
