"""`python -m benchmarks`, which is what `make bench` calls: the engine, then the whole."""

import sys

from benchmarks import booking, engine


def main() -> int:
    return engine.main([]) or booking.main()


if __name__ == "__main__":
    sys.exit(main())
