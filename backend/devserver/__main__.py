"""`python -m devserver`, which is what `make run` calls."""

import sys


def main() -> int:
    if sys.platform == "win32":
        print("The launcher needs Linux or macOS. On Windows, run it in WSL.", file=sys.stderr)
        return 1
    from devserver.launcher import main as launch

    return launch()


if __name__ == "__main__":
    sys.exit(main())
