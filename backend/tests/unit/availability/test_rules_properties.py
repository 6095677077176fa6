"""The engine against a naive oracle, mostly on the days when clocks change."""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.availability.rules import (
    Closed,
    Interval,
    Reason,
    SlotRules,
    WorkingHours,
    free_slots,
    fresh_until,
    full_periods,
    judge,
    merge_providers,
    scarce_starts,
)
from app.availability.wall_clock import (
    day_start,
    local_date,
    local_day,
    local_days,
    offset_spans,
)
from app.schedules.rules import normalise
from tests.unit.availability import oracle
from tests.unit.availability.oracle import DAY, Oracle, to_datetime, to_minute

CLOCK_CHANGES = {
    "Europe/Paris": [date(2026, 3, 29), date(2026, 10, 25)],
    "America/New_York": [date(2026, 3, 8), date(2026, 11, 1)],
    "Australia/Lord_Howe": [date(2026, 4, 5), date(2026, 10, 4)],  # by half an hour
    "Asia/Kathmandu": [date(1986, 1, 1), date(2026, 7, 1)],  # from +5:30 to +5:45; nothing since
    "America/Sao_Paulo": [date(2017, 10, 15), date(2018, 2, 18), date(2018, 11, 4)],  # at midnight
    "Pacific/Apia": [date(2011, 9, 24), date(2011, 12, 30), date(2012, 4, 1)],  # skipped the 30th
    "America/St_Johns": [date(2010, 3, 14), date(2010, 11, 7)],  # at 00:01, so across midnight
    "Antarctica/Casey": [date(2009, 10, 18), date(2010, 3, 5)],  # by three hours
}
# Where clocks change, and what lies next to it.
EDGES = [0, 1, 15, 60, 90, 119, 120, 121, 135, 150, 180, 240, 1380, 1381, 1410, 1439, 1440]


def examples(number: int) -> settings:
    return settings(
        max_examples=number,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@st.composite
def zones_and_days(draw: st.DrawFn) -> tuple[str, date]:
    zone = draw(st.sampled_from(sorted(CLOCK_CHANGES)))
    change = draw(st.sampled_from(CLOCK_CHANGES[zone]))
    distance = st.integers(-2, 2) | st.integers(-200, 200)
    return zone, change + draw(distance) * DAY


@st.composite
def day_hours(draw: st.DrawFn) -> tuple[Interval, ...]:
    """Sorted, without overlap, often touching: some of the stretches between a few times."""
    if draw(st.booleans()):
        return ((0, 1440),)
    times = st.sampled_from(EDGES) | st.integers(0, 96).map(lambda n: n * 15)
    points = sorted(draw(st.sets(times, min_size=2, max_size=6)))
    return tuple(stretch for stretch in pairwise(points) if draw(st.integers(0, 3)))


@st.composite
def working_hours(draw: st.DrawFn, zone: str, day: date) -> WorkingHours:
    near = st.integers(-2, 3).map(lambda n: day + n * DAY)
    return WorkingHours(
        zone=zone,
        weekly=tuple(draw(day_hours()) for _ in range(7)),
        overrides=draw(st.dictionaries(near, day_hours() | st.just(()), max_size=2)),
        holidays=draw(st.frozensets(near, max_size=1)),
    )


slot_rules = st.builds(
    SlotRules,
    duration=st.sampled_from([15, 30, 45, 60]) | st.integers(1, 200),
    interval=st.sampled_from([15, 20, 30, 45, 60]) | st.integers(1, 120),
    buffer_before=st.just(0) | st.integers(0, 60),
    buffer_after=st.just(0) | st.integers(0, 60),
    min_notice=st.sampled_from([0, 0, 30, 120]) | st.integers(0, 3000),
    window_days=st.none() | st.integers(0, 3),
)


@st.composite
def intervals(draw: st.DrawFn, start: int, max_size: int) -> list[Interval]:
    """Sorted by start, perhaps overlapping."""
    begins = st.integers(start - 400, start + 2000)
    lengths = st.integers(1, 90) | st.integers(1, 600)
    pairs = draw(st.lists(st.tuples(begins, lengths), max_size=max_size))
    return sorted((begin, begin + length) for begin, length in pairs)


@dataclass(frozen=True)
class Question:
    rules: SlotRules
    hours: WorkingHours
    busy: list[Interval]
    time_off: list[Interval]
    now: float
    start: int
    end: int
    closed: list[Closed] = field(default_factory=list)

    def free_slots(self) -> list[int]:
        return free_slots(
            self.rules,
            self.hours,
            self.busy,
            self.time_off,
            self.now,
            self.start,
            self.end,
            self.closed,
        )

    def judge(self, start: int) -> str | None:
        return judge(self.rules, self.hours, self.busy, self.time_off, self.now, start, self.closed)


@st.composite
def questions(draw: st.DrawFn, max_minutes: int = 2160) -> Question:
    zone, day = draw(zones_and_days())
    start = to_minute(oracle.midnight(zone, day)) + draw(st.integers(-300, 1500))
    ago = st.integers(0, 2 * 86_400) | st.integers(0, 2 * 1440).map(lambda minutes: minutes * 60)
    ago |= st.integers(-86_400, 0)
    length = st.just(max_minutes) | st.integers(0, max_minutes)
    return Question(
        rules=draw(slot_rules),
        hours=draw(working_hours(zone, day)),
        busy=draw(intervals(start, max_size=6)),
        time_off=draw(intervals(start, max_size=2)),
        now=start * 60 - draw(ago) + draw(st.sampled_from([0.0, 0.0, 0.25])),
        start=start,
        end=start + draw(length),
    )


@examples(100)
@given(questions(max_minutes=720))
def test_agrees_with_the_oracle_on_every_minute(question: Question) -> None:
    first_day = to_datetime(question.start).date()
    naive = Oracle(
        question.rules,
        question.hours,
        question.busy,
        question.time_off,
        [first_day + n * DAY for n in range(-2, 5)],
    )
    now = datetime.fromtimestamp(question.now, UTC)
    minutes = range(question.start, question.end)
    expected = {minute: naive.reason(now, to_datetime(minute)) for minute in minutes}

    assert {minute: question.judge(minute) for minute in minutes} == expected
    assert question.free_slots() == [m for m, reason in expected.items() if reason is None]


@examples(60)
@given(questions(max_minutes=720), st.data())
def test_closed_starts_are_refused_for_their_reason_and_not_offered(
    question: Question, data: st.DataObject
) -> None:
    gaps = st.lists(st.integers(0, 60), max_size=6)
    closed: list[Closed] = []
    for why in data.draw(st.sets(st.sampled_from([Reason.LIMIT_REACHED, Reason.RESOURCE_BUSY]))):
        points = [question.start - 30]
        for gap in data.draw(gaps):
            points.append(points[-1] + gap + 1)
        closed.append((why, list(zip(points[::2], points[1::2], strict=False))))
    plain, question = question, replace(question, closed=closed)

    minutes = range(question.start, question.end)
    said = {minute: question.judge(minute) for minute in minutes}
    assert question.free_slots() == [minute for minute in minutes if said[minute] is None]
    refusing = {why: oracle.all_minutes(intervals) for why, intervals in closed}
    for minute in minutes:
        others = [why for why in refusing if to_datetime(minute) in refusing[why]]
        assert said[minute] == (plain.judge(minute) or next(iter(others), None))


@examples(60)
@given(slot_rules, st.data(), st.integers(1, 3))
def test_a_start_is_scarce_unless_enough_resources_are_free_all_the_while(
    rules: SlotRules, data: st.DataObject, quantity: int
) -> None:
    resources = data.draw(st.lists(intervals(400, max_size=4), max_size=4))
    taken = [oracle.all_minutes(busy) for busy in resources]
    scarce = oracle.all_minutes(
        (max(begin, -500), min(end, 3500))
        for begin, end in scarce_starts(rules, resources, quantity)
    )
    for start in range(-500, 3500, data.draw(st.integers(7, 97))):
        begin = to_datetime(start - rules.buffer_before)
        end = to_datetime(start + rules.duration + rules.buffer_after)
        free = [busy for busy in taken if not oracle.minutes(begin, end) & busy]
        assert (to_datetime(start) in scarce) == (len(free) < quantity)


@examples(60)
@given(
    zones_and_days(),
    st.lists(st.integers(-12_000, 12_000), max_size=8),
    st.none() | st.integers(1, 3),
    st.none() | st.integers(1, 4),
)
def test_a_day_or_week_is_full_once_enough_begins_in_it(
    where: tuple[str, date], shifts: list[int], per_day: int | None, per_week: int | None
) -> None:
    zone, day = where
    noon = to_minute(oracle.moment(zone, day, 720))
    given_days = [oracle.local_date(zone, to_datetime(noon + shift)) for shift in shifts]
    full = full_periods(
        zone, [noon + shift for shift in shifts], per_day=per_day, per_week=per_week
    )
    assert all(one[1] < next_one[0] for one, next_one in pairwise(full))

    for start in [*range(noon - 15_000, noon + 15_000, 487), *(noon + shift for shift in shifts)]:
        that_day = oracle.local_date(zone, to_datetime(start))
        same_day = sum(other == that_day for other in given_days)
        same_week = sum(
            other.isocalendar()[:2] == that_day.isocalendar()[:2] for other in given_days
        )
        is_full = bool(per_day and same_day >= per_day) or bool(per_week and same_week >= per_week)
        assert any(begin <= start < end for begin, end in full) == is_full


@examples(100)
@given(questions(), st.integers(0, 2160))
def test_a_range_may_be_asked_in_parts(question: Question, length: int) -> None:
    middle = min(question.start + length, question.end)
    parts = [replace(question, end=middle), replace(question, start=middle)]
    assert question.free_slots() == parts[0].free_slots() + parts[1].free_slots()


@examples(100)
@given(questions())
def test_busy_time_removes_slots_and_never_moves_them(question: Question) -> None:
    idle = replace(question, busy=[], time_off=[])
    assert set(question.free_slots()) <= set(idle.free_slots())


@examples(150)
@given(questions(max_minutes=5000), st.data())
def test_answers_stay_the_same_while_fresh(question: Question, data: st.DataObject) -> None:
    zone, day = data.draw(zones_and_days())
    colleague = replace(question, hours=data.draw(working_hours(zone, day)))
    team = [question, colleague]
    answer = [member.free_slots() for member in team]
    moment = fresh_until(
        question.rules,
        [member.hours.zone for member in team],
        question.now,
        question.end,
        [slot for slot, _ in merge_providers(answer)],
    )
    limit = question.now + 30 * 86_400 if moment is None else moment * 60
    assume(question.now < limit)

    near_the_limit = st.floats(0, 120).map(lambda seconds: limit - seconds)
    later = data.draw(st.floats(question.now, limit, exclude_max=True) | near_the_limit)
    assume(question.now <= later < limit)
    assert [replace(member, now=later).free_slots() for member in team] == answer


@examples(100)
@given(questions(max_minutes=5000))
def test_freshness_is_never_in_the_past(question: Question) -> None:
    moment = fresh_until(
        question.rules, [question.hours.zone], question.now, question.end, question.free_slots()
    )
    assert moment is None or moment * 60 >= question.now


@examples(100)
@given(st.lists(st.sets(st.integers(0, 30)).map(sorted), max_size=5))
def test_merged_providers_are_those_free_at_each_start(per_provider: list[list[int]]) -> None:
    assert merge_providers(per_provider) == [
        (slot, tuple(index for index, slots in enumerate(per_provider) if slot in slots))
        for slot in sorted(set().union(*per_provider))
    ]


@examples(100)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted).map(tuple)))
def test_normalised_intervals_hold_the_same_minutes_apart(drawn: list[Interval]) -> None:
    result = normalise(drawn)
    assert oracle.all_minutes(result) == oracle.all_minutes(drawn)
    assert all(start < end for start, end in result)
    assert all(one[1] < next_one[0] for one, next_one in pairwise(result))


@examples(150)
@given(zones_and_days())
def test_every_wall_time_names_the_moment_the_oracle_finds(where: tuple[str, date]) -> None:
    zone, day = where
    times = [*range(0, 1440, 15), *EDGES]
    found = {time: local_day(zone, day.toordinal()).instant(time) for time in times}
    assert found == {time: to_minute(oracle.moment(zone, day, time)) for time in times}


@examples(150)
@given(zones_and_days(), st.integers(0, 10))
def test_local_days_share_out_all_time(where: tuple[str, date], length: int) -> None:
    zone, first = where
    last = first + length * DAY
    days = local_days(zone, first, last)

    assert [day for day, _, _ in days] == [first + n * DAY for n in range(length + 1)]
    assert days[0][1] == day_start(zone, first)
    assert days[-1][2] == day_start(zone, last + DAY)
    assert all(one[2] == next_one[1] for one, next_one in pairwise(days))
    for day, start, end in days:
        assert start == to_minute(oracle.midnight(zone, day))
        assert all(local_date(zone, minute) == day for minute in range(start, end, 7))


@examples(100)
@given(zones_and_days(), st.integers(-2000, 2000), st.integers(0, 400 * 1440))
def test_offset_spans_tell_the_offset_of_each_minute(
    where: tuple[str, date], shift: int, length: int
) -> None:
    zone, day = where
    start = day_start(zone, day) + shift
    end = start + length
    spans = offset_spans(zone, start, end)

    covered = [minute for first, last, _ in spans for minute in (first, last)]
    assert covered == sorted(covered)
    assert covered[:1] + covered[-1:] == ([start, end] if length else [])
    for one, next_one in pairwise(spans):
        assert one[1] == next_one[0]
        assert one[2] != next_one[2]
    tz = ZoneInfo(zone)
    for first, last, offset in spans:
        for minute in {first, last - 1, *range(first, last, 1441)}:
            assert to_datetime(minute).astimezone(tz).utcoffset() == timedelta(minutes=offset)
