"""Schemathesis as a child process: how it is configured, and what it found."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from devserver.settings import BACKEND
from devserver.throwaway import Server
from fuzzing.world import likely_values

# A request that the document allows may meet a state in which it cannot be granted; 429 is the
# answer to too many wrong codes. Whether 422 was right is judged by `hooks.filter_failure`, for
# there are rules that no JSON Schema can say.
GRANTED_OR_NOT = ["2xx", 401, 403, 404, 409, 410, 412, 429]
# How what the document does not allow may be refused. Not by 412: the state is asked afterwards.
REFUSED = [400, 401, 403, 404, 405, 406, 414, 415, 422]
# How often a value is one of those known to mean something.
_LIKELY = 0.7
# Of each operation and round; more at once costs Schemathesis memory and tells no more.
_EXAMPLES = 50


@dataclass
class Outcome:
    role: str
    cases: int = 0
    failures: set[tuple[str, str]] = field(default_factory=set)
    """Operations, and what kind of failure each has."""
    broken: list[str] = field(default_factory=list)
    """Runs that ended before their time, and what the server said."""

    @property
    def is_clean(self) -> bool:
        return not self.failures and not self.broken

    def summary(self) -> str:
        lines = [f"{self.role}: {self.cases:,} cases, {len(self.failures)} failures"]
        lines += [f"  {operation}: {kind}" for operation, kind in sorted(self.failures)]
        return "\n".join([*lines, *self.broken])


def fuzz(server: Server, role: str, cases: int, seed: int, folder: Path) -> Outcome:
    """Ask as `role` until there were at least that many cases; failures are told at length."""
    config = folder / "schemathesis.toml"
    config.write_text("\n".join(_config(likely_values(server))))
    environment = {**server.environment, "FUZZ_ROLE": role, "PYTHONPATH": str(BACKEND)}
    outcome = Outcome(role)
    for round_ in count():
        # What the document itself suggests is asked once: it would be the same again.
        phases = "fuzzing,stateful" if round_ else "examples,coverage,fuzzing,stateful"
        report = folder / f"{round_}.json"
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
            *("run", f"{server.url}/openapi.json", "--checks", "all", "--phases", phases),
            *("--max-examples", str(_EXAMPLES), "--seed", str(seed + round_), "--no-color"),
            *("--report-json-path", str(report)),
        ]
        run = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
        if run.returncode:
            sys.stdout.write(run.stdout + run.stderr)
        if not _read(outcome, report, run.returncode):
            words = server.api.last_words
            outcome.broken.append(f"It ended with {run.returncode}. The server said:\n{words}")
        if outcome.broken or outcome.cases >= cases:
            break
    return outcome


def _read(outcome: Outcome, report: Path, code: int) -> bool:
    """Add a report to the outcome; False if the run did not come to its end."""
    if not report.exists():
        return False
    found: dict[str, Any] = json.loads(report.read_text())
    outcome.cases += found["test_cases"]["generated"]
    for failure in found["failures"]:
        outcome.failures |= {(operation, failure["type"]) for operation in failure["operations"]}
    ended = found["complete"] and not found["errors"] and found["test_cases"]["generated"]
    return bool(ended and (code == 0 or found["failures"]))


def _config(likely: dict[str, list[str]]) -> Iterator[str]:
    """The lines of a configuration file of Schemathesis; JSON's texts and lists are TOML's too."""
    yield 'hooks = "fuzzing.hooks"'
    yield "continue-on-failure = true"
    yield "request-timeout = 20"
    # The report of a role stands on its own: nothing is remembered from the last one.
    yield "cache = { enabled = false }"
    # The whole document is read within its rules: NUL is refused by a rule that it does not repeat.
    yield "generation = { allow-x00 = false, no-shrink = true }"
    yield f"checks.positive_data_acceptance.expected-statuses = {json.dumps(GRANTED_OR_NOT)}"
    yield f"checks.negative_data_rejection.expected-statuses = {json.dumps(REFUSED)}"
    for name, values in likely.items():
        yield f"[dictionaries.{name}]"
        yield f"values = {json.dumps(values)}"
    yield "[parameters]"
    for name in likely:
        for place in (name, f"body.{name}"):
            yield f'"{place}" = {{ dictionary = "{name}", probability = {_LIKELY} }}'
