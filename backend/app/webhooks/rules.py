"""What is sent to whom, and when again: pure decisions."""

from collections.abc import Iterable
from datetime import timedelta
from http import HTTPStatus

EVERYTHING = "*"
_ANY_OF_KIND = ".*"

PATTERN = r"^(\*|[a-z_]+\.(\*|[a-z_]+))$"
"""How events are asked for: one type, all about one kind of thing (`booking.*`), or everything."""

TEST = "webhook.test"

PAUSES = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=20),
)
"""Before each try but the first: three days in all."""

JITTER = 0.1
"""The share by which each pause is longer or shorter, so that the failed do not return at once."""

REST = timedelta(minutes=1)
"""For how long who could not be reached is left alone, so that others are told in time."""

OVERLAP = timedelta(hours=24)
"""For how long a secret that was replaced still signs, next to the new one."""


def is_wanted(event_type: str, patterns: Iterable[str]) -> bool:
    """Whether somebody who asked for `patterns` is told of an event of this type."""
    kind = event_type.partition(".")[0] + _ANY_OF_KIND
    return any(pattern in {event_type, kind, EVERYTHING} for pattern in patterns)


def is_taken(status: int | None) -> bool:
    """Whether this answer says that the receiver has it. A redirection does not."""
    return status is not None and HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def is_gone(status: int | None) -> bool:
    """Whether the receiver says that it never wants anything again."""
    return status == HTTPStatus.GONE


def must_rest(error: str | None) -> bool:
    """Whether a try that ended so has taken long, as the next one would."""
    return error in {"timeout", "connect_failed"}


def pause_after(tries: int, event_type: str, chance: float) -> timedelta | None:
    """How long to wait after so many tries that failed; None: that was the last.

    Args:
        tries: how many there were.
        event_type: a test is not repeated: who asked for it is waiting.
        chance: from 0 to 1, drawn for this pause.
    """
    if event_type == TEST or tries > len(PAUSES):
        return None
    return PAUSES[tries - 1] * (1 + JITTER * (2 * chance - 1))
