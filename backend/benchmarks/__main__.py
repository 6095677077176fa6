"""`python -m benchmarks`, which is what `make bench` calls: the engine, then whole requests."""

import sys

from benchmarks import availability, booking, engine


def main() -> int:
    return engine.main([]) or availability.main([]) or booking.main()


if __name__ == "__main__":
    sys.exit(main())
