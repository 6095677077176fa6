"""What is sent to whom, and when again: pure decisions."""

from collections.abc import Iterable

EVERYTHING = "*"
_ANY_OF_KIND = ".*"

PATTERN = r"^(\*|[a-z_]+\.(\*|[a-z_]+))$"
"""How events are asked for: one type, all about one kind of thing (`booking.*`), or everything."""


def is_wanted(event_type: str, patterns: Iterable[str]) -> bool:
    """Whether somebody who asked for `patterns` is told of an event of this type."""
    kind = event_type.partition(".")[0] + _ANY_OF_KIND
    return any(pattern in {event_type, kind, EVERYTHING} for pattern in patterns)
