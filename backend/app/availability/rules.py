"""Which appointments could begin when: free slots, and why a wished start is not one of them.

Everything here is pure: the clock, the schedule and the busy times are arguments. An instant is a
whole number of minutes since the Unix epoch in UTC (`Minute`), an interval is half-open
`(start, end)` and never empty, and `now` alone is in seconds since the epoch, as
`datetime.timestamp()` gives it. Wall-clock times are turned into instants by `wall_clock`, which
says how the days on which clocks change are read, and raises `ValueError` for a `now` outside the
years 1970 to 2200. Nothing is offered beyond those years.

A slot is offered if

- it begins on the grid of a working interval: that interval's start plus a multiple of the slot
  interval, in elapsed minutes, whatever is busy;
- it lies in working time, in which intervals that touch are one, across midnight too;
- with its buffers, which may leave working time, it overlaps nothing busy and no time off;
- it begins no earlier than the notice allows, and on a day inside the booking window;
- its start is not closed for another reason: a limit that is reached, or too few free resources.

`free_slots` and `judge` answer from the same building blocks, so they cannot disagree.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Final, TypeAlias

from app.availability.wall_clock import (
    LAST_DAY,
    Minute,
    local_date,
    local_day,
    local_ordinal,
)

Interval: TypeAlias = tuple[int, int]
"""Half-open `(start, end)`, of instants or of minutes of a day."""

_NEVER: Final[Interval] = (2**63, 2**63)
_WEEK_DAYS: Final = 7


class Reason(StrEnum):
    """Why a slot cannot be booked, as clients read it, in the order in which it is judged."""

    PAST = "past"
    BEYOND_WINDOW = "beyond_window"
    MIN_NOTICE = "min_notice"
    HOLIDAY = "holiday"
    OUTSIDE_WORKING_HOURS = "outside_working_hours"
    NOT_ALIGNED = "not_aligned"
    TIME_OFF = "time_off"
    BUSY = "busy"
    BUFFER = "buffer"
    LIMIT_REACHED = "limit_reached"
    RESOURCE_BUSY = "resource_busy"
    NOT_OFFERED = "not_offered"


Closed: TypeAlias = tuple[Reason, Sequence[Interval]]
"""Starts that are refused, and why; the intervals are sorted and do not overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRules:
    """What a service asks of its slots.

    `duration`, the buffers, `interval` (from one slot's start to the next) and `min_notice` are in
    minutes. `window_days` counts local days after today: 0 is the rest of today, None no limit.
    """

    duration: int
    interval: int
    buffer_before: int = 0
    buffer_after: int = 0
    min_notice: int = 0
    window_days: int | None = None

    def __post_init__(self) -> None:
        if self.duration < 1 or self.interval < 1:
            raise ValueError("The duration and the slot interval must be at least a minute.")
        if min(self.buffer_before, self.buffer_after, self.min_notice, self.window_days or 0) < 0:
            raise ValueError("Buffers, notice and window must not be negative.")


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """When a provider works, on the wall clock of their zone (an IANA name).

    A day's intervals are minutes of the day, 0 to 1440, sorted and without
    overlap. `weekly` has seven days, Monday first. An override replaces its date, an empty one
    closes it. Holidays are closed, except where an override says otherwise.
    """

    zone: str
    weekly: tuple[tuple[Interval, ...], ...]
    overrides: Mapping[date, tuple[Interval, ...]] = field(default_factory=dict)
    holidays: frozenset[date] = frozenset()

    def on(self, day: date) -> tuple[Interval, ...]:
        """The working intervals of a date, in minutes of the day."""
        override = self.overrides.get(day)
        if override is not None:
            return override
        return () if day in self.holidays else self.weekly[day.weekday()]

    def is_holiday(self, day: date) -> bool:
        """Whether the date is a holiday that no override replaces."""
        return day in self.holidays and day not in self.overrides


def free_slots(
    rules: SlotRules,
    hours: WorkingHours,
    busy: Sequence[Interval],
    time_off: Sequence[Interval],
    now: float,
    start: Minute,
    end: Minute,
    closed: Sequence[Closed] = (),
) -> list[Minute]:
    """The starts in `[start, end)` that can be booked, ascending.

    `busy` and `time_off` are each sorted by start, and must hold all that overlaps the range
    widened by the buffers and the duration. `now` is in seconds since the epoch. `closed` names
    starts that other rules refuse (`full_periods`, `scarce_starts`).
    """
    first = max(start, _earliest_start(rules, now))
    last = min(end, _window_end(rules, hours.zone, now))
    if first >= last:
        return []
    blocked = sorted((*busy, *time_off)) if time_off else busy
    grids = _grids(rules, hours, first, last)
    before, after = rules.buffer_before, rules.duration + rules.buffer_after
    slots = _unblocked(grids, first, last, before, after, blocked)
    for _, intervals in closed:
        slots = _outside(slots, intervals)
    return slots


def judge(
    rules: SlotRules,
    hours: WorkingHours,
    busy: Sequence[Interval],
    time_off: Sequence[Interval],
    now: float,
    start: Minute,
    closed: Sequence[Closed] = (),
) -> Reason | None:
    """Why this start cannot be booked: the first reason in the order of `Reason`, or None.

    `busy`, `time_off`, `now` and `closed` are as for `free_slots`.
    """
    return (
        outside_booking_period(rules, hours.zone, now, start)
        or _outside_schedule(rules, hours, start)
        or _taken(rules, busy, time_off, start)
        or next((why for why, intervals in closed if not _outside([start], intervals)), None)
    )


def full_periods(
    zone: str, given: Iterable[Minute], *, per_day: int | None, per_week: int | None
) -> list[Interval]:
    """The local days and weeks (from Monday) in which nothing more may begin, as instants.

    `given` are the starts of what a provider gives of the service already.
    """
    days = Counter(local_ordinal(zone, start) for start in given)
    # Ordinal 1 was a Monday.
    weeks: Counter[int] = Counter()
    for day, count in days.items():
        weeks[day - (day - 1) % _WEEK_DAYS] += count
    full = [(day, day + 1) for day, count in days.items() if per_day and count >= per_day]
    full += [(day, day + _WEEK_DAYS) for day, n in weeks.items() if per_week and n >= per_week]
    return _merged(
        (local_day(zone, first).instant(0), local_day(zone, end).instant(0)) for first, end in full
    )


def scarce_starts(
    rules: SlotRules, taken: Sequence[Sequence[Interval]], quantity: int
) -> list[Interval]:
    """The starts at which fewer than `quantity` of these resources are free for the whole slot.

    `taken` has each resource's busy times. A resource must be free all the while: that one is
    free first and another one later does not help.
    """
    if len(taken) < quantity:
        return [(-_NEVER[0], _NEVER[0])]
    before, after = rules.buffer_before, rules.duration + rules.buffer_after
    changes: Counter[Minute] = Counter()
    for busy in taken:
        # These starts overlap [begin, end) with their buffers.
        for begin, end in _merged((begin - after + 1, end + before) for begin, end in busy):
            changes[begin] += 1
            changes[end] -= 1
    scarce, blocked, since = [], 0, None
    for moment in sorted(changes):
        blocked += changes[moment]
        is_scarce = len(taken) - blocked < quantity
        if is_scarce and since is None:
            since = moment
        elif not is_scarce and since is not None:
            scarce.append((since, moment))
            since = None
    return scarce


def overlaps(busy: Iterable[Interval], start: Minute, end: Minute) -> bool:
    return any(begin < end and start < until for begin, until in busy)


def fresh_until(
    rules: SlotRules,
    zones: Iterable[str],
    now: float,
    end: Minute,
    slots: Sequence[Minute],
    expiries: Iterable[Minute] = (),
) -> Minute | None:
    """The moment before which the mere passing of time cannot change an answer; None: it never can.

    The answer is that of `free_slots` for a range up to `end`: one provider's, or several merged.
    It may change when notice begins to withhold the earliest of the `slots` (sorted); where the
    window closes before the range does, when a new local day begins in one of the providers'
    `zones`; and when the first of the holds ends (`expiries`). `now` is when it was computed, in
    seconds since the epoch; the moment is a `Minute`.
    """
    moments = [*expiries]
    if slots:
        moments.append(slots[0] - rules.min_notice)
    if rules.window_days is not None:
        moments += [
            local_day(zone, _today(zone, now) + 1).instant(0)
            for zone in set(zones)
            if _window_end(rules, zone, now) < end
        ]
    return min(moments, default=None)


def merge_providers(
    per_provider: Sequence[Sequence[Minute]],
) -> list[tuple[Minute, tuple[int, ...]]]:
    """One entry per start, ascending, with the indexes of the providers who are free then."""
    providers: defaultdict[Minute, list[int]] = defaultdict(list)
    for index, slots in enumerate(per_provider):
        for slot in slots:
            providers[slot].append(index)
    return [(slot, tuple(providers[slot])) for slot in sorted(providers)]


def outside_booking_period(rules: SlotRules, zone: str, now: float, start: Minute) -> Reason | None:
    """Whether a start is past, or nearer or farther than the service allows."""
    if start < _ceil_minute(now):
        return Reason.PAST
    if start >= _window_end(rules, zone, now):
        return Reason.BEYOND_WINDOW
    if start < _earliest_start(rules, now):
        return Reason.MIN_NOTICE
    return None


def _outside_schedule(rules: SlotRules, hours: WorkingHours, start: Minute) -> Reason | None:
    grids = _grids(rules, hours, start, start + 1)
    grid = next((grid for grid in grids if grid.start <= start < grid.stop), None)
    if grid is None:
        on_holiday = hours.is_holiday(local_date(hours.zone, start))
        return Reason.HOLIDAY if on_holiday else Reason.OUTSIDE_WORKING_HOURS
    return None if start in grid else Reason.NOT_ALIGNED


def _taken(
    rules: SlotRules, busy: Sequence[Interval], time_off: Sequence[Interval], start: Minute
) -> Reason | None:
    before, after = rules.buffer_before, rules.duration + rules.buffer_after
    checks = (
        (Reason.TIME_OFF, before, after, time_off),
        (Reason.BUSY, 0, rules.duration, busy),
        (Reason.BUFFER, before, after, busy),
    )
    only = range(start, start + 1)
    for reason, reach_before, reach_after, blocked in checks:
        if not _unblocked([only], only.start, only.stop, reach_before, reach_after, blocked):
            return reason
    return None


def _outside(slots: list[Minute], closed: Sequence[Interval]) -> list[Minute]:
    """The slots that lie in none of these intervals; both are sorted."""
    kept: list[Minute] = []
    position = 0
    for start, end in closed:
        upto = bisect_left(slots, start, lo=position)
        kept += slots[position:upto]
        position = bisect_left(slots, end, lo=upto)
    return kept + slots[position:]


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _ceil_minute(now: float) -> Minute:
    return int(-(-now // 60))


def _today(zone: str, now: float) -> int:
    return local_ordinal(zone, int(now // 60))


def _earliest_start(rules: SlotRules, now: float) -> Minute:
    return _ceil_minute(now) + rules.min_notice


def _window_end(rules: SlotRules, zone: str, now: float) -> Minute:
    """The midnight after the last local day that can be booked."""
    last = LAST_DAY.toordinal()
    if rules.window_days is not None:
        last = min(last, _today(zone, now) + rules.window_days)
    return local_day(zone, last + 1).instant(0)


def _grids(rules: SlotRules, hours: WorkingHours, first: Minute, last: Minute) -> list[range]:
    """The starts of slots that fit, for each working interval of the days `[first, last)` touches.

    A range is the whole grid of its interval, from the interval's own start, and not cut to
    `[first, last)`. Ranges ascend and do not overlap; one that no slot fits is empty.
    """
    # The last slot may run on into later days, whose hours decide whether it fits.
    ordinals = range(
        local_ordinal(hours.zone, first),
        local_ordinal(hours.zone, last - 1 + rules.duration) + 1,
    )
    days = [local_day(hours.zone, ordinal) for ordinal in ordinals]
    intervals = [
        (day.instant(opens), day.instant(closes))
        for day in days
        for opens, closes in hours.on(day.day)
    ]

    grids = []
    next_start, closing = _NEVER
    for start, end in reversed(intervals):
        if end != next_start:
            closing = end
        next_start = start
        grids.append(range(start, min(end, closing - rules.duration + 1), rules.interval))
    return grids[::-1]


def _unblocked(
    grids: Iterable[range],
    first: Minute,
    last: Minute,
    before: int,
    after: int,
    blocked: Iterable[Interval],
) -> list[Minute]:
    """The starts in `[first, last)` on the grids with `[start - before, start + after)` unblocked.

    One walk over grids and blocked intervals together; its cost grows with their number and not
    with the number of starts. The blocked intervals are sorted by start and may overlap.
    """
    starts: list[Minute] = []
    clear_from = first  # where the last blocked interval that was in the way lets starts resume
    blocks = iter(blocked)
    block_start, block_end = next(blocks, _NEVER)
    for grid in grids:
        anchor, step, stop = grid.start, grid.step, min(grid.stop, last)
        start = max(anchor, clear_from)
        start += (anchor - start) % step
        while start < stop:
            if block_start < start + after:
                if start < block_end + before:
                    clear_from = block_end + before
                    start = clear_from + (anchor - clear_from) % step
                block_start, block_end = next(blocks, _NEVER)
            else:
                clear_until = min(stop, block_start - after + 1)
                starts.extend(range(start, clear_until, step))
                start = clear_until + (anchor - clear_until) % step
    return starts
