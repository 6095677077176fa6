"""Recurrence rules: read strictly, followed as RFC 5545 says, on the wall clock of a zone."""

from datetime import UTC, date, datetime, time, timedelta
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from dateutil import rrule
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.bookings.recurrence import (
    HORIZON,
    MAXIMUM_OCCURRENCES,
    InvalidRule,
    Rule,
    occurrences,
    parse,
)

PARIS = "Europe/Paris"
# With changes of an hour and of half an hour, forward and back, at midnight and at night.
ZONES = (
    "UTC",
    PARIS,
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Casablanca",
    "Asia/Kathmandu",
)
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def paris(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(PARIS))


def walls(rule: str, start: str, zone: str = PARIS) -> list[str]:
    """The occurrences on the wall clock."""
    begins = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))
    found = occurrences(parse(rule), begins, zone)
    return [instant.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M") for instant in found]


# --- Reading ---------------------------------------------------------------------------------
def test_a_rule_is_read_in_full() -> None:
    text = "freq=monthly;INTERVAL=2;BYDAY=1MO,-1FR;BYMONTH=1,12;BYSETPOS=-1;WKST=SU;COUNT=5"
    assert parse(text) == Rule(
        frequency="MONTHLY",
        interval=2,
        count=5,
        months=frozenset({1, 12}),
        days=frozenset({(1, 0), (-1, 4)}),
        positions=frozenset({-1}),
        week_start=6,
    )


def test_the_end_is_a_day_or_an_instant() -> None:
    assert parse("FREQ=DAILY;UNTIL=20260331").until == date(2026, 3, 31)
    assert parse("FREQ=DAILY;UNTIL=20260331T080000Z").until == datetime(2026, 3, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "COUNT=5",
        "FREQ=WEEKLY",
        "FREQ=WEEKLY;COUNT=5;UNTIL=20261231",
        "FREQ=WEEKLY;COUNT=0",
        "FREQ=WEEKLY;COUNT=-1",
        "FREQ=WEEKLY;COUNT=53",
        "FREQ=WEEKLY;COUNT=99999999999999999999",
        "FREQ=WEEKLY;COUNT=5;COUNT=5",
        "FREQ=WEEKLY;COUNT=5;",
        "FREQ=WEEKLY;COUNT= 5",
        "FREQ=WEEKLY;COUNT=\N{ARABIC-INDIC DIGIT FIVE}",
        "FREQ=WEEKLY;COUNT=5;INTERVAL=0",
        "FREQ=SECONDLY;COUNT=9",
        "FREQ=HOURLY;COUNT=9",
        "FREQ=FORTNIGHTLY;COUNT=9",
        "RRULE:FREQ=WEEKLY;COUNT=5",
        "FREQ=WEEKLY;COUNT=5\nEXDATE:20260303T080000Z",
        "DTSTART:20260303T080000Z\nRRULE:FREQ=WEEKLY;COUNT=5",
        "FREQ=DAILY;COUNT=5;BYHOUR=9,10",
        "FREQ=YEARLY;COUNT=5;BYWEEKNO=20",
        "FREQ=DAILY;UNTIL=20260230",
        "FREQ=DAILY;UNTIL=20260331T080000",
        "FREQ=DAILY;UNTIL=2026-03-31",
        "FREQ=DAILY;COUNT=5;BYMONTH=13",
        "FREQ=DAILY;COUNT=5;BYMONTH=-1",
        "FREQ=MONTHLY;COUNT=5;BYMONTHDAY=0",
        "FREQ=MONTHLY;COUNT=5;BYMONTHDAY=32",
        "FREQ=WEEKLY;COUNT=5;BYMONTHDAY=1",
        "FREQ=WEEKLY;COUNT=5;BYDAY=1MO",
        "FREQ=MONTHLY;COUNT=5;BYDAY=0MO",
        "FREQ=MONTHLY;COUNT=5;BYDAY=XX",
        "FREQ=MONTHLY;COUNT=5;BYDAY=54MO",
        "FREQ=DAILY;COUNT=5;BYSETPOS=1",
        "FREQ=WEEKLY;COUNT=5;WKST=XX",
        "FREQ=WEEKLY;COUNT=5;X-MINE=1",
        "FREQ=WEEKLY;COUNT=5;BYDAY=" + ",".join(["MO"] * 100),
    ],
)
def test_what_is_not_exactly_a_rule_is_refused(text: str) -> None:
    with pytest.raises(InvalidRule):
        parse(text)


# --- Following -------------------------------------------------------------------------------
def test_wall_time_is_kept_when_clocks_change() -> None:
    rule = parse("FREQ=WEEKLY;COUNT=3")
    found = occurrences(rule, paris("2026-03-23T09:00"), PARIS)
    assert [i.isoformat() for i in found] == [
        "2026-03-23T08:00:00+00:00",
        "2026-03-30T07:00:00+00:00",  # the clock went forward the day before
        "2026-04-06T07:00:00+00:00",
    ]


def test_a_time_that_clocks_skip_is_the_moment_they_do() -> None:
    found = walls("FREQ=DAILY;COUNT=3", "2026-03-28T02:30")
    assert found == ["03-28 02:30", "03-29 03:00", "03-30 02:30"]


def test_of_a_time_that_comes_twice_the_first_is_meant() -> None:
    found = occurrences(parse("FREQ=DAILY;COUNT=3"), paris("2026-10-24T02:30"), PARIS)
    assert [i.strftime("%d %H:%M") for i in found] == ["24 00:30", "25 00:30", "26 01:30"]


def test_the_first_is_the_very_instant_that_was_asked_for() -> None:
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # 02:30 for the second time
    found = occurrences(parse("FREQ=DAILY;COUNT=2"), second, PARIS)
    assert [i.strftime("%d %H:%M") for i in found] == ["25 01:30", "26 01:30"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=WEEKLY;BYDAY=TU,TH;COUNT=4", ["03-03", "03-05", "03-10", "03-12"]),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=3", ["03-03", "03-17", "03-31"]),
        ("FREQ=MONTHLY;BYDAY=1TU;COUNT=3", ["03-03", "04-07", "05-05"]),
        ("FREQ=MONTHLY;BYMONTHDAY=3;COUNT=2", ["03-03", "04-03"]),
        ("FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR;COUNT=5", ["03-03", "03-04", "03-05", "03-06", "03-09"]),
        ("FREQ=DAILY;UNTIL=20260305", ["03-03", "03-04", "03-05"]),
        ("FREQ=DAILY;UNTIL=20260305T080000Z", ["03-03", "03-04", "03-05"]),
        ("FREQ=DAILY;UNTIL=20260305T075959Z", ["03-03", "03-04"]),
        ("FREQ=DAILY;COUNT=1", ["03-03"]),
        ("FREQ=YEARLY;COUNT=2", ["03-03", "03-03"]),
    ],
)
def test_rules_say_on_which_days(rule: str, expected: list[str]) -> None:
    assert walls(rule, "2026-03-03T09:00") == [f"{day} 09:00" for day in expected]


def test_a_month_without_the_day_is_left_out() -> None:
    assert [w[:5] for w in walls("FREQ=MONTHLY;COUNT=3", "2026-01-31T09:00")] == [
        "01-31",
        "03-31",
        "05-31",
    ]


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=WEEKLY;BYDAY=WE;COUNT=4",  # a Tuesday is asked for
        "FREQ=DAILY;UNTIL=20260302",
        "FREQ=DAILY;UNTIL=20260303T075959Z",
        "FREQ=DAILY;UNTIL=20260424",
        "FREQ=YEARLY;COUNT=52",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=31;COUNT=2",
        "FREQ=MONTHLY;INTERVAL=9999;COUNT=2",
        "FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=3;BYDAY=2TU;COUNT=3",
        "FREQ=DAILY;INTERVAL=7;BYDAY=TU,WE;BYMONTH=3;BYMONTHDAY=3;COUNT=52",
        "FREQ=DAILY;BYSETPOS=2;BYMONTH=3;COUNT=2",
    ],
)
def test_a_rule_that_cannot_be_followed_from_here_is_refused(rule: str) -> None:
    with pytest.raises(InvalidRule):
        occurrences(parse(rule), paris("2026-03-03T09:00"), PARIS)


def test_as_many_as_are_allowed_may_end_by_date_too() -> None:
    found = walls("FREQ=DAILY;UNTIL=20260423", "2026-03-03T09:00")
    assert len(found) == MAXIMUM_OCCURRENCES


# --- Against another implementation, and a naive reading of the clock -------------------------
@st.composite
def rules(draw: st.DrawFn) -> str:
    frequency = draw(st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]))
    parts = [f"FREQ={frequency}", f"COUNT={draw(st.integers(1, 12))}"]
    if draw(st.booleans()):
        parts.append(f"INTERVAL={draw(st.integers(1, 5))}")
    numbered = frequency in {"MONTHLY", "YEARLY"}
    days = st.sampled_from(WEEKDAYS)
    # Of `MO,1TU` dateutil wants both at once, and the RFC either.
    if numbered and draw(st.booleans()):
        days = st.builds(str.__add__, st.sampled_from(["1", "2", "-1", "5"]), days)
    choices = {
        "BYDAY": st.lists(days, min_size=1, max_size=3, unique=True),
        "BYMONTH": st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True),
    }
    if frequency != "WEEKLY":
        month_days = st.sampled_from([*range(1, 32), -1, -2, -31])
        choices["BYMONTHDAY"] = st.lists(month_days, min_size=1, max_size=3, unique=True)
    names = draw(st.lists(st.sampled_from(sorted(choices)), unique=True, max_size=2))
    parts += [f"{name}={','.join(map(str, draw(choices[name])))}" for name in names]
    # In its first week dateutil counts from DTSTART on, and not from the week's beginning.
    if names and frequency != "WEEKLY" and draw(st.booleans()):
        parts.append(f"BYSETPOS={draw(st.sampled_from([1, 2, -1]))}")
    if draw(st.booleans()):
        parts.append(f"WKST={draw(st.sampled_from(WEEKDAYS))}")
    return ";".join(parts)


def naive_days(text: str, first: date) -> list[date]:
    """The same days as dateutil finds them, which would look for them until the year 9999."""
    last = first + HORIZON
    text = ";".join(part for part in text.split(";") if not part.startswith("COUNT"))
    until = f"{last:%Y%m%d}"
    with patch.object(rrule.datetime, "MAXYEAR", last.year):  # type: ignore[attr-defined]  # dateutil has no types
        found = rrule.rrulestr(f"{text};UNTIL={until}", dtstart=datetime.combine(first, time()))
        return [moment.date() for moment in found]


def naive_instant(day: date, wall: time, zone: str) -> datetime:
    """The first minute at which the zone's clock shows the day's wall time or a later one."""
    minute = datetime.combine(day, wall, UTC) - timedelta(hours=15)
    while minute.astimezone(ZoneInfo(zone)).replace(tzinfo=None) < datetime.combine(day, wall):
        minute += timedelta(minutes=1)
    return minute


@settings(deadline=None)
@given(
    text=rules(),
    first=st.dates(date(2024, 1, 1), date(2027, 12, 31)),
)
def test_the_days_are_those_that_dateutil_finds(text: str, first: date) -> None:
    count = parse(text).count
    assert count is not None
    expected = naive_days(text, first)
    start = datetime.combine(first, time(12), UTC)
    if first not in expected or len(expected) < count:
        with pytest.raises(InvalidRule):
            occurrences(parse(text), start, "UTC")
    else:
        found = occurrences(parse(text), start, "UTC")
        assert [moment.date() for moment in found] == expected[:count]


@settings(deadline=None)  # the oracle takes its time
@given(
    zone=st.sampled_from(ZONES),
    first=st.dates(date(2025, 1, 1), date(2026, 12, 31)),
    wall=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    step=st.integers(1, 40),
)
def test_each_is_at_the_wall_time_of_the_first(
    zone: str, first: date, wall: time, step: int
) -> None:
    start = datetime.combine(first, wall, ZoneInfo(zone))
    # Only a wall time that is on the clock that day can be asked for.
    assume(start.astimezone(UTC).astimezone(ZoneInfo(zone)).time() == wall)
    rule = parse(f"FREQ=DAILY;INTERVAL={step};COUNT=12")
    found = occurrences(rule, start, zone)
    days = [first + timedelta(days=n * step) for n in range(12)]
    assert found[0] == start
    assert found[1:] == [naive_instant(day, wall, zone) for day in days[1:]]
