"""Recurrence rules (RFC 5545, 3.3.10), as far as appointments repeat: on days, at one wall time.

Pure. A rule is read strictly, so that nobody gets another series than they meant, and it says
itself when it ends. Each occurrence is a day of a period (day, week, month or year), every
`interval`-th of which counts; all parts of a rule are conditions on the days of one period.

The days are walked one by one up to `HORIZON`, so a rule that never comes true costs no more than
any other. (python-dateutil would look for it until the year 9999; tests compare the two.)
"""

import re
from calendar import isleap, monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, islice
from typing import Final
from zoneinfo import ZoneInfo

from app.availability.wall_clock import local_day

MAXIMUM_OCCURRENCES: Final = 52
MAXIMUM_LENGTH: Final = 200
"""Characters of a rule."""
HORIZON: Final = timedelta(days=10 * 366)
"""How far after its first occurrence a series may reach."""

_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_FREQUENCIES: Final = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_DATE: Final = re.compile(r"[0-9]{8}")
_UTC_INSTANT: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_NUMBER: Final = re.compile(r"[0-9]{1,4}")
_SIGNED: Final = re.compile(r"[+-]?[0-9]{1,3}")
_DAY: Final = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

OrdinalDay = tuple[int, int]
"""`(n, weekday)`: the n-th such day of the month or year, from its end if negative; 0: each."""


class InvalidRule(ValueError):
    """The rule cannot be followed; its text says why, and repeats nothing of the rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule as it was read. `until` is the last day, or the last instant; else `count` is set."""

    frequency: str
    interval: int = 1
    count: int | None = None
    until: date | datetime | None = None
    months: frozenset[int] = frozenset()
    month_days: frozenset[int] = frozenset()
    days: frozenset[OrdinalDay] = frozenset()
    positions: frozenset[int] = frozenset()
    week_start: int = 0


# --- Reading ---------------------------------------------------------------------------------
def parse(text: str) -> Rule:
    """Read a rule such as `FREQ=WEEKLY;BYDAY=TU,TH;COUNT=10`.

    Raises:
        InvalidRule: it is malformed, says nothing about its end, or asks for more than days.
    """
    if len(text) > MAXIMUM_LENGTH:
        raise InvalidRule(f"at most {MAXIMUM_LENGTH} characters")
    parts: dict[str, str] = {}
    for part in text.upper().split(";"):
        name, _, value = part.partition("=")
        if name not in _READERS or not value or name in parts:
            raise InvalidRule("a part is unknown, empty or repeated (RFC 5545, 3.3.10)")
        parts[name] = value
    if "FREQ" not in parts:
        raise InvalidRule("FREQ is missing")
    if ("COUNT" in parts) == ("UNTIL" in parts):
        raise InvalidRule("either COUNT or UNTIL says where it ends")
    fields = dict(_READERS[name](value) for name, value in parts.items())
    rule = Rule(**fields)  # type: ignore[arg-type]  # each part was parsed by its own name
    _check(rule)
    return rule


def _check(rule: Rule) -> None:
    if rule.count is not None and rule.count > MAXIMUM_OCCURRENCES:
        raise InvalidRule(f"at most {MAXIMUM_OCCURRENCES} occurrences")
    if rule.month_days and rule.frequency == "WEEKLY":
        raise InvalidRule("BYMONTHDAY does not go with WEEKLY")
    if any(n for n, _ in rule.days) and rule.frequency not in {"MONTHLY", "YEARLY"}:
        raise InvalidRule("numbered days go with MONTHLY and YEARLY only")
    if rule.positions and not (rule.days or rule.month_days or rule.months):
        raise InvalidRule("BYSETPOS chooses among what another BY part names")


def _frequency(value: str) -> tuple[str, object]:
    if value not in _FREQUENCIES:
        raise InvalidRule(f"FREQ is one of {', '.join(_FREQUENCIES)}")
    return "frequency", value


def _positive(name: str, part: str) -> Callable[[str], tuple[str, object]]:
    def read(value: str) -> tuple[str, object]:
        if not _NUMBER.fullmatch(value) or int(value) < 1:
            raise InvalidRule(f"{part} is a number from 1 to 9999")
        return name, int(value)

    return read


def _until(value: str) -> tuple[str, object]:
    """A day, which is the last one, or an instant in UTC. No other zone goes with a series' own."""
    try:
        if _DATE.fullmatch(value):
            return "until", datetime.strptime(value, "%Y%m%d").replace(tzinfo=UTC).date()
        if _UTC_INSTANT.fullmatch(value):
            return "until", datetime.strptime(value, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        pass
    raise InvalidRule("UNTIL is a date (20261231) or an instant in UTC (20261231T235959Z)")


def _numbers(
    name: str, part: str, most: int, *, signed: bool = True
) -> Callable[[str], tuple[str, object]]:
    def read(value: str) -> tuple[str, object]:
        items = value.split(",")
        if all(_SIGNED.fullmatch(item) for item in items):
            numbers = frozenset(map(int, items))
            if all(1 <= (abs(n) if signed else n) <= most for n in numbers):
                return name, numbers
        raise InvalidRule(f"{part} has numbers up to {most}, separated by commas")

    return read


def _days(value: str) -> tuple[str, object]:
    found = [_DAY.fullmatch(item) for item in value.split(",")]
    days = {(int(m[1] or 0), _WEEKDAYS.index(m[2])) for m in found if m}
    if not all(found) or any(abs(n) > 53 for n, _ in days):  # noqa: PLR2004 - weeks of a year
        raise InvalidRule("BYDAY has days such as MO, 1TU or -1FR, separated by commas")
    if any(m and m[1] and int(m[1]) == 0 for m in found):
        raise InvalidRule("there is no 0th day")
    return "days", frozenset(days)


def _week_start(value: str) -> tuple[str, object]:
    if value not in _WEEKDAYS:
        raise InvalidRule("WKST is a day such as MO")
    return "week_start", _WEEKDAYS.index(value)


_READERS: Final[dict[str, Callable[[str], tuple[str, object]]]] = {
    "FREQ": _frequency,
    "INTERVAL": _positive("interval", "INTERVAL"),
    "COUNT": _positive("count", "COUNT"),
    "UNTIL": _until,
    "BYMONTH": _numbers("months", "BYMONTH", 12, signed=False),
    "BYMONTHDAY": _numbers("month_days", "BYMONTHDAY", 31),
    "BYDAY": _days,
    "BYSETPOS": _numbers("positions", "BYSETPOS", 366),
    "WKST": _week_start,
}


# --- Following -------------------------------------------------------------------------------
def occurrences(rule: Rule, start: datetime, zone: str) -> list[datetime]:
    """The instants (in UTC) at which the rule comes true: the wall time of `start`, day by day.

    `start`, an aware instant on a full minute, is the first; all others are at its wall time in
    `zone`, by the rule of `wall_clock`: where clocks skip it, at the moment of the change, and
    where they show it twice, at the first.

    Raises:
        InvalidRule: `start` is not among them, or they are too many, or reach too far.
    """
    wall = start.astimezone(ZoneInfo(zone))
    minute_of_day = wall.hour * 60 + wall.minute
    first = wall.date()

    def instant(day: date) -> datetime:
        minutes = local_day(zone, day.toordinal()).instant(minute_of_day)
        return _EPOCH + timedelta(minutes=minutes)

    days = _days_of(rule, first)
    if next(days, None) != first:
        raise InvalidRule("the start is not one of the rule's own days")
    found = [start.astimezone(UTC)]
    wanted = (rule.count or MAXIMUM_OCCURRENCES + 1) - 1
    for day in islice(days, wanted):
        if _is_over(rule, day, begins := instant(day)):
            break
        found.append(begins)
    else:
        if rule.until is None and len(found) < wanted + 1:
            raise InvalidRule("it comes true too rarely, or never again")
    if _is_over(rule, first, start):
        raise InvalidRule("it ends before it starts")
    if len(found) > MAXIMUM_OCCURRENCES:
        raise InvalidRule(f"at most {MAXIMUM_OCCURRENCES} occurrences")
    return found


def _is_over(rule: Rule, day: date, begins: datetime) -> bool:
    """Whether the rule ended before this occurrence; UNTIL itself is still in."""
    if isinstance(rule.until, datetime):
        return begins > rule.until
    return rule.until is not None and day > rule.until


def _days_of(rule: Rule, first: date) -> Iterator[date]:
    """The days of the rule from `first` up to the horizon, in order; `first` counts if it is one.

    The whole first period is looked at, since BYSETPOS counts from its beginning.
    """
    matches = _condition(rule, first)
    last = min(first + HORIZON, date(2200, 12, 31))
    for number, days in groupby(_from_period_of(rule, first, last), lambda d: _period(rule, d)):
        if (number - _period(rule, first)) % rule.interval:
            continue
        chosen = [day for day in days if matches(day)]
        if rule.positions:
            places = {p - 1 if p > 0 else len(chosen) + p for p in rule.positions}
            chosen = [day for place, day in enumerate(chosen) if place in places]
        yield from (day for day in chosen if first <= day <= last)


def _from_period_of(rule: Rule, first: date, last: date) -> Iterator[date]:
    """Every day from the beginning of the first period to the end of the last."""
    begin = first
    if rule.frequency == "WEEKLY":
        begin = first - timedelta(days=(first.weekday() - rule.week_start) % 7)
    elif rule.frequency == "MONTHLY":
        begin = first.replace(day=1)
    elif rule.frequency == "YEARLY":
        begin = first.replace(month=1, day=1)
    for ordinal in range(begin.toordinal(), last.toordinal() + 367):
        yield date.fromordinal(ordinal)


def _period(rule: Rule, day: date) -> int:
    """The number of the day's day, week, month or year."""
    match rule.frequency:
        case "DAILY":
            return day.toordinal()
        case "WEEKLY":
            return (day.toordinal() - 1 - rule.week_start) // 7
        case "MONTHLY":
            return day.year * 12 + day.month
        case _:
            return day.year


def _condition(rule: Rule, first: date) -> Callable[[date], bool]:
    """What a day must be; what the rule leaves open is as on the first day (RFC 5545, 3.3.10)."""
    months, month_days, days = rule.months, rule.month_days, rule.days
    if not month_days and not days:
        if rule.frequency == "WEEKLY":
            days = frozenset({(0, first.weekday())})
        elif rule.frequency != "DAILY":
            month_days = frozenset({first.day})
            if rule.frequency == "YEARLY":
                months = months or frozenset({first.month})
    in_year = rule.frequency == "YEARLY" and not rule.months

    def matches(day: date) -> bool:
        if months and day.month not in months:
            return False
        length = monthrange(day.year, day.month)[1]
        if month_days and not {day.day, day.day - length - 1} & month_days:
            return False
        return not days or bool(_names(day, length, in_year=in_year) & days)

    return matches


def _names(day: date, month_length: int, *, in_year: bool) -> set[OrdinalDay]:
    """How BYDAY may name the day: each such day, and the n-th from either end."""
    place, length = day.day, month_length
    if in_year:
        place, length = day.timetuple().tm_yday, 365 + isleap(day.year)
    weekday = day.weekday()
    return {(0, weekday), ((place - 1) // 7 + 1, weekday), (-((length - place) // 7) - 1, weekday)}
