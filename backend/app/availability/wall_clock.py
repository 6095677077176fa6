"""Instants and wall clocks: which moment a local time names, and which local day holds a moment.

An instant is a whole number of minutes since the Unix epoch in UTC (`Minute`). A zone is an IANA
name such as `Europe/Paris`; an unknown one raises `zoneinfo.ZoneInfoNotFoundError` or `ValueError`.
Days are supported from 1970 through 2200, and a `ValueError` says so for any other. Every offset in
those years is a whole number of minutes, but for Liberia's until 1972, which is rounded down.

One rule covers the days on which clocks change: a wall time names the first moment at which the
clock shows it or a later time. A time that is skipped thus becomes the moment of the change, and
of a time that comes twice the first is meant. The rule keeps order, so whatever divides a day on
the wall divides it in reality; a local day lasts from its midnight to the next day's, and a day
that a zone skipped altogether is empty.
"""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

Minute: TypeAlias = int
"""An instant: minutes since 1970-01-01T00:00Z."""

OffsetSpan: TypeAlias = tuple[Minute, Minute, int]
"""`(start, end, offset)`: from `start` until `end`, wall clocks are `offset` minutes from UTC."""

_DAY: Final = 24 * 60
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL: Final = _EPOCH.toordinal()

LAST_DAY: Final = date(2200, 12, 31)
"""The end of the supported years, in every zone."""

# A day of room before, as zones lag behind UTC; a year after, for slots that run past the end.
_SUPPORTED_ORDINALS: Final = range(_EPOCH_ORDINAL - 1, LAST_DAY.toordinal() + 366)


@dataclass(frozen=True, slots=True)
class LocalDay:
    """A calendar day in some zone, as `local_day` makes it.

    `offset` (minutes from UTC) holds when the day begins or shortly before, and until the first of
    the `changes`, each `(instant, offset from then on)`. Nearly all days have none.
    """

    day: date
    offset: int
    changes: tuple[tuple[Minute, int], ...]

    def instant(self, minute_of_day: int) -> Minute:
        """The first moment the clock shows this minute (0 to 1440, the next midnight) or more."""
        wall = (self.day.toordinal() - _EPOCH_ORDINAL) * _DAY + minute_of_day
        instant = wall - self.offset
        for change, offset in self.changes:
            if instant < change:
                break
            instant = max(change, wall - offset)
        return instant


@lru_cache(maxsize=16_384)  # a year for 40 zones, or two months for 250; about 5 MB
def local_day(zone: str, ordinal: int) -> LocalDay:
    """The day with this number, as `date.toordinal` counts them, in the zone."""
    if ordinal not in _SUPPORTED_ORDINALS:
        raise ValueError("The day is outside the supported years, 1970 to 2200.")
    # No zone is a whole day from UTC, so these three UTC days hold the local one.
    midnight_utc = (ordinal - _EPOCH_ORDINAL) * _DAY
    spans = _offset_spans(ZoneInfo(zone), midnight_utc - _DAY, midnight_utc + 2 * _DAY)
    return LocalDay(
        day=date.fromordinal(ordinal),
        offset=spans[0][2],
        changes=tuple((start, offset) for start, _, offset in spans[1:]),
    )


def local_ordinal(zone: str, instant: Minute) -> int:
    """The number, as `date.toordinal` counts, of the local day that holds the instant."""
    # Zones are at most 14 hours ahead; and starting late finds the day after a skipped one.
    ordinal = _EPOCH_ORDINAL + instant // _DAY + 1
    while local_day(zone, ordinal).instant(0) > instant:
        ordinal -= 1
    return ordinal


def local_date(zone: str, instant: Minute) -> date:
    """The local day that holds the instant.

    It is the date on the wall, except in an hour that is repeated across midnight (as it was in
    Newfoundland until 2010): a day that has begun is not left again.
    """
    return date.fromordinal(local_ordinal(zone, instant))


def day_start(zone: str, day: date) -> Minute:
    """The first moment of a local day: midnight, or when clocks skip it, the moment they do."""
    return local_day(zone, day.toordinal()).instant(0)


def local_days(zone: str, first: date, last: date) -> list[tuple[date, Minute, Minute]]:
    """Each date from `first` through `last` with the `(start, end)` of its local day."""
    ordinals = range(first.toordinal(), last.toordinal() + 1)
    days = [local_day(zone, ordinal) for ordinal in ordinals]
    return [(day.day, day.instant(0), day.instant(_DAY)) for day in days]


def offset_spans(zone: str, start: Minute, end: Minute) -> list[OffsetSpan]:
    """Divides `[start, end)` wherever the zone's UTC offset changes; usually that is nowhere."""
    if start >= end:
        return []
    for instant in (start, end - 1):
        if _EPOCH_ORDINAL + instant // _DAY not in _SUPPORTED_ORDINALS:
            raise ValueError("The range is outside the supported years, 1970 to 2200.")
    return _offset_spans(ZoneInfo(zone), start, end)


def _offset_spans(zone: ZoneInfo, start: Minute, end: Minute) -> list[OffsetSpan]:
    spans = []
    since, offset = start, _offset(zone, start)
    # One look a day is enough: since 1970 no zone has changed its offset twice within two days.
    for low in range(start, end, _DAY):
        high = min(low + _DAY, end - 1)
        if _offset(zone, high) != offset:
            change = _first_change(zone, low, high)
            spans.append((since, change, offset))
            since, offset = change, _offset(zone, change)
    return [*spans, (since, end, offset)]


def _first_change(zone: ZoneInfo, low: Minute, high: Minute) -> Minute:
    """The one minute in `(low, high]` from which the offset is no longer that at `low`."""
    before = _offset(zone, low)
    return low + bisect_left(
        range(low, high), True, key=lambda instant: _offset(zone, instant) != before
    )


def _offset(zone: ZoneInfo, instant: Minute) -> int:
    wall = (_EPOCH + timedelta(minutes=instant)).astimezone(zone)
    return (wall.replace(tzinfo=UTC) - _EPOCH) // timedelta(minutes=1) - instant
