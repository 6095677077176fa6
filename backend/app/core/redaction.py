"""What never stands in a log: secrets by their fields' names, secrets and people by pattern."""

import dataclasses
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final
from uuid import UUID

from pydantic import BaseModel, SecretStr
from structlog.typing import EventDict, WrappedLogger

MASK = "***"
_MAX_DEPTH = 6
_SECRET_NAME = re.compile(
    r"passw|pwd|secret|token|authori[sz]ation|cookie|credential|api[-_ ]?key|private[-_ ]?key|dsn"
    r"|otpauth|recovery[-_ ]?code",
    re.IGNORECASE,
)
# structlog's own entries; they are objects until the last step.
_INTERNAL = frozenset({"exc_info", "stack_info", "_record", "_from_structlog"})
_PLAIN = frozenset({str, int, float, bool, type(None)})
_ATOMS = (int, float, bool, type(None), Decimal, UUID, datetime, date, time, timedelta)

# Fields that are never anybody's text: they are not searched, which a line a request would feel.
_SAFE = frozenset(
    {"client", "key_id", "level", "logger", "method", "problem", "request_id", "route", "user_id"}
)
# Each begins where a word does: else a long one would be looked through once for each of its parts.
_PERSONAL: Final = re.compile(
    r"""
    (?<![\w.+%-]) [\w.+%-]++ @ [\w-]+ (?:\.[\w-]+)+    # an address
    | (?<![\w.+-]) eyJ [\w-]+ \. [\w-]+ \. [\w-]*      # a JSON Web Token
    | (?<!\w) (?i:bearer) [ ]+ [\w.~+/=-]{8,}
    | (?<!\w) osk_ [0-9a-f]+ _ [0-9a-f]+                # an API key
    | (?<!\w) whsec_ [\w+/=]+
    | (?<![\w-]) [\w-]{43} (?![\w-])                    # a link's or a session's token: 256 bits
    | (?<![\w+]) \+ \d (?:[ ()./-]?\d){7,14} (?!\d)      # a phone number
    # a card's number, in fours or in American Express' groups
    | (?<![\w-]) (?: \d{4} (?:[ -]?\d{4}){2} [ -]?\d{1,7} | \d{4}[ -]\d{6}[ -]\d{5} ) (?![\w-])
    """,
    re.VERBOSE,
)


def mask(text: str) -> str:
    """The text without what looks like a secret, an address, a phone's or a card's number."""
    return _PERSONAL.sub(MASK, text)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask fields whose name says that they are secret, at any depth, and such text in all others.

    The caller's objects stay as they are.
    """
    for name, value in event.items():
        if _is_secret(name):
            event[name] = MASK
        elif type(value) is str:
            if name not in _SAFE:
                event[name] = mask(value)
        elif type(value) not in _PLAIN and name not in _INTERNAL:
            event[name] = _scrub(value)
    return event


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _scrub(value: object, depth: int = 0) -> object:
    """A copy of `value` without secrets, of nothing but plain values, lists and dictionaries."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, _ATOMS):
        return value
    if depth == _MAX_DEPTH:  # deep, or a circle
        return "..."
    if isinstance(value, BaseModel):
        value = value.model_dump()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {
            str(name): MASK if _is_secret(str(name)) else _scrub(inner, depth + 1)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrub(inner, depth + 1) for inner in value]
    return MASK if isinstance(value, SecretStr) else mask(repr(value))
