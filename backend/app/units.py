"""How sizes, durations and time zones are written: `100 MB`, `14 days`, `Europe/Paris`."""

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from zoneinfo import available_timezones

from pydantic import ByteSize, TypeAdapter


@cache  # it looks through the whole database of zones
def zone_names() -> frozenset[str]:
    """The names of all time zones."""
    # These two are the machine's own, not IANA's: elsewhere they mean something else.
    return frozenset(available_timezones() - {"Factory", "localtime"})


_SIZE = TypeAdapter(ByteSize)
_DURATION = re.compile(r"(\d+)\s*(second|minute|hour|day|week)s?", re.IGNORECASE)


def duration(text: str) -> timedelta:
    """`14 days`, `1 hour`. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError("a number of seconds, minutes, hours, days or weeks, such as `14 days`")
    return timedelta(**{f"{match[2].lower()}s": int(match[1])})


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is put aside: at a size in bytes, or whenever a period (in UTC) has passed."""

    size: int | None = None
    every: timedelta | None = None

    @classmethod
    def parse(cls, text: str) -> "Rotation":
        """`100 MB`, `1 day`. Raises ValueError."""
        if _DURATION.fullmatch(text.strip()):
            return cls(every=duration(text))
        try:
            size = _SIZE.validate_python(text.strip())
        except ValueError:
            raise ValueError("a size (`100 MB`) or a time (`1 day`)") from None
        if size < 1:
            raise ValueError("a file needs some room")
        return cls(size=int(size))

    def is_due(self, size: int, last_written: float, now: float) -> bool:
        """Whether a file of this size, last written then, is to be put aside before more comes."""
        if self.size is not None:
            return size >= self.size
        if self.every is None:
            return False
        seconds = self.every.total_seconds()
        return size > 0 and now // seconds > last_written // seconds
