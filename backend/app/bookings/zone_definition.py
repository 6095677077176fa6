"""A time zone as calendars are told of it: a VTIMEZONE (RFC 5545, 3.6.5).

Most calendars know the zone by its name and read no further. Outlook approximates what it reads by
one yearly rule for each half of the year and ignores single dates ([MS-OXCICAL], 2.1.3.1.1.19), so
a rule is given wherever one describes what the time-zone database says. `icalendar` gives only
dates, and overlooks a time that lasts for less than 64 days, as that of Ramadan in Morocco does.
"""

from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from icalendar import Timezone, TimezoneDaylight, TimezoneStandard, vRecur

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_YEARS_BEFORE, _YEARS_AFTER = 1, 5
"""Around what is asked for: enough to see a rule, and to have a change before the first moment."""
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_REMEMBERED = 500


@dataclass(frozen=True, slots=True)
class _Change:
    """Clocks are changed."""

    wall: datetime
    """What they show at that moment, before it."""
    before: timedelta
    after: timedelta
    """Offsets from UTC."""
    name: str
    """Of the time that begins."""


@lru_cache(_REMEMBERED)
def zone_definition(name: str, first_year: int, last_year: int) -> Timezone:
    """The VTIMEZONE of an IANA zone, exact for every moment of these years (in UTC).

    It is shared: nobody may change it.
    """
    zone = ZoneInfo(name)
    begin = datetime(first_year - _YEARS_BEFORE, 1, 1, tzinfo=UTC)
    end = datetime(last_year + 1 + _YEARS_AFTER, 1, 1, tzinfo=UTC)
    changes = list(_changes(zone, begin, end))
    definition = Timezone()
    definition.add("tzid", name)
    if not any(change.wall.year < first_year for change in changes):
        definition.add_component(_observance(_as_it_was(zone, begin)))
    alike = defaultdict(list)
    for change in changes:
        alike[change.before, change.after, change.name].append(change)
    for group in alike.values():
        rule = _rule([change.wall for change in group], end.year - 1)
        if rule is not None:
            definition.add_component(_observance(group[0], rule))
        else:
            for change in group:
                if change.wall.year <= last_year + 1:
                    definition.add_component(_observance(change))
    return definition


def _changes(zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[_Change]:
    """Every change of the offset, in order. No zone has two within a day."""
    moment = begin
    while moment < end:
        following = moment + _DAY
        before, after = _offset(moment, zone), _offset(following, zone)
        if before != after:
            onset = _onset(zone, moment, following)
            wall = onset.replace(tzinfo=None) + before
            yield _Change(wall, before, after, onset.astimezone(zone).tzname() or zone.key)
        moment = following


def _onset(zone: ZoneInfo, earlier: datetime, later: datetime) -> datetime:
    """The second at which the offset becomes what it is later."""
    new = _offset(later, zone)
    while later - earlier > _SECOND:
        middle = earlier + (later - earlier) // _SECOND // 2 * _SECOND
        if _offset(middle, zone) == new:
            later = middle
        else:
            earlier = middle
    return later


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _as_it_was(zone: ZoneInfo, moment: datetime) -> _Change:
    """The time that was kept already, as a change of nothing."""
    local = moment.astimezone(zone)
    offset = _offset(moment, zone)
    return _Change(local.replace(tzinfo=None), offset, offset, local.tzname() or zone.key)


def _rule(walls: Sequence[datetime], last_year: int) -> vRecur | None:
    """The yearly rule that gives these moments and goes on; None: there is none.

    Such as the last Sunday in March at 02:00.
    """
    first = walls[0]
    if [wall.year for wall in walls] != list(range(first.year, last_year + 1)):
        return None
    if {(w.month, w.weekday(), w.time()) for w in walls} != {
        (first.month, first.weekday(), first.time())
    }:
        return None
    common = set.intersection(*(_places(wall) for wall in walls))
    if len(walls) == 1 or not common:
        return None
    # Either is right for these years; more laws say «the last» than «the fourth».
    day = f"{min(common)}{_WEEKDAYS[first.weekday()]}"
    return vRecur({"FREQ": "YEARLY", "BYMONTH": first.month, "BYDAY": day})


def _places(wall: datetime) -> set[int]:
    """Which of its weekdays in its month it is: counted from the first, and -1 for the last."""
    place = (wall.day - 1) // 7 + 1
    is_last = wall.day + 7 > monthrange(wall.year, wall.month)[1]
    return {place, -1} if is_last else {place}


def _observance(change: _Change, rule: vRecur | None = None) -> TimezoneStandard | TimezoneDaylight:
    # Calendars take the time that is further ahead for daylight time, whatever the law calls it.
    observance = TimezoneDaylight() if change.after > change.before else TimezoneStandard()
    observance.add("dtstart", change.wall)
    observance.add("tzoffsetfrom", change.before)
    observance.add("tzoffsetto", change.after)
    observance.add("tzname", change.name)
    if rule is not None:
        observance.add("rrule", rule)
    return observance
