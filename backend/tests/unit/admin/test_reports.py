"""The arithmetic of reports, against counting minute by minute."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from app.admin.reports import GroupBy, merged, minutes_by_period, period_of, periods, rate
from app.availability.rules import WorkingHours
from app.availability.wall_clock import day_start, local_date, local_days
from app.availability.working_time import WorkingTime

PERIODS = st.sampled_from([GroupBy.DAY, GroupBy.WEEK, GroupBy.MONTH])
FIRST = date(2026, 10, 23)  # the clocks of Paris change two days later
ZONE = "Europe/Paris"


def intervals(most: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    one = st.tuples(st.integers(0, most), st.integers(1, 3000)).map(lambda i: (i[0], i[0] + i[1]))
    return st.lists(one, max_size=12)


@given(by=PERIODS, offset=st.integers(0, 800))
def test_a_period_begins_with_its_first_day(by: GroupBy, offset: int) -> None:
    day = FIRST + timedelta(days=offset)
    first = period_of(by, day)
    assert first <= day
    assert period_of(by, first) == first
    if by is GroupBy.WEEK:
        assert first.isoweekday() == 1
    assert periods(by, first, day) == [first]


def test_every_period_of_a_range_is_named_once() -> None:
    named = periods(GroupBy.WEEK, date(2026, 11, 1), date(2026, 11, 16))
    assert named == [date(2026, 10, 26), date(2026, 11, 2), date(2026, 11, 9), date(2026, 11, 16)]
    assert periods(GroupBy.MONTH, date(2026, 11, 30), date(2026, 12, 1)) == [
        date(2026, 11, 1),
        date(2026, 12, 1),
    ]


@given(by=PERIODS, taken=intervals(8000))
def test_minutes_are_counted_in_the_period_of_their_local_day(
    by: GroupBy, taken: list[tuple[int, int]]
) -> None:
    days = local_days(ZONE, FIRST, FIRST + timedelta(days=6))
    first, last = days[0][1], days[-1][2]
    cut = [(max(first, first + s), min(last, first + e)) for s, e in taken if first + s < last]
    minutes = {m for start, end in cut for m in range(start, end)}
    expected = Counter(period_of(by, local_date(ZONE, m)) for m in minutes)
    assert minutes_by_period(by, days, merged(cut)) == expected


@given(off=intervals(3000))
def test_working_time_is_hours_without_time_off(off: list[tuple[int, int]]) -> None:
    start = day_start(ZONE, FIRST)
    end = start + 4 * 24 * 60
    time_off = sorted((start + s, start + e) for s, e in off)
    week = tuple(((9 * 60, 12 * 60), (13 * 60, 24 * 60)) for _ in range(7))
    hours = WorkingHours(ZONE, week, {FIRST + timedelta(days=1): ((0, 600),)})
    worked = WorkingTime(hours, time_off).between(start + 600, end)
    assert worked == sorted(worked)
    listed = [m for s, e in worked for m in range(s, e)]
    assert len(listed) == len(set(listed))
    all_day = {
        m
        for m in range(start + 600, end)
        if not any(s <= m < e for s, e in time_off) and _is_open(hours, m)
    }
    assert set(listed) == all_day


def _is_open(hours: WorkingHours, minute: int) -> bool:
    wall = datetime.fromtimestamp(minute * 60, UTC).astimezone(ZoneInfo(hours.zone))
    of_day = wall.hour * 60 + wall.minute
    return any(s <= of_day < e for s, e in hours.on(wall.date()))


def test_a_rate_of_nothing_is_none() -> None:
    assert (rate(1, 3), rate(0, 5), rate(0, 0)) == (0.3333, 0.0, None)
