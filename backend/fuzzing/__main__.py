"""`python -m fuzzing`, which is what `make fuzz` calls: the whole API, asked as each role in turn.

Schemathesis reads the OpenAPI document that the application serves and asks of every operation
what the document allows, and what it does not. Each role has servers and data of its own, so that
one that deletes everything spoils nothing for the next.
"""

import argparse
import sys
from collections.abc import Sequence

from devserver.errors import LauncherError
from devserver.throwaway import running_server, temporary_folder
from fuzzing.run import Outcome, fuzz
from fuzzing.world import ROLES

# What would only slow it down, or end a token in the middle. No job runs, for webhooks would be
# sent to whatever address is made up.
SETTINGS = {
    "ACCESS_TOKEN_EXPIRE_MINUTES": "1440",
    "API_KEYS_ENABLED": "true",
    "BCRYPT_ROUNDS": "4",
    "HOLDS_PER_CALLER": "100",
    "JOBS_IN_PROCESS": "false",
    "LOG_LEVEL": "WARNING",
}


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    outcomes: list[Outcome] = []
    try:
        for role in options.roles or ROLES:
            with temporary_folder() as folder, running_server(**SETTINGS) as server:
                outcome = fuzz(server, role, options.cases, options.seed, folder)
            print(outcome.summary(), flush=True)
            outcomes.append(outcome)
    except LauncherError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{sum(outcome.cases for outcome in outcomes):,} cases in all")
    return int(not all(outcome.is_clean for outcome in outcomes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fuzzing", description=__doc__)
    parser.add_argument("roles", nargs="*", metavar="role", help=f"of {', '.join(ROLES)}; all")
    parser.add_argument("--cases", type=int, default=10_000, help="at least, for each role")
    parser.add_argument("--seed", type=int, default=1, help="the same seed asks the same")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
