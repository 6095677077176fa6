"""What the engine ought to answer, found slowly: aware datetimes and sets of single minutes.

Nothing here is shared with the engine but the dataclasses that carry its input.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from app.availability.rules import Interval, SlotRules, WorkingHours

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def to_datetime(instant: float) -> datetime:
    """An instant of the engine, in minutes."""
    return datetime.fromtimestamp(instant * 60, UTC)


def to_minute(moment: datetime) -> int:
    seconds = int(moment.timestamp())
    assert seconds % 60 == 0
    return seconds // 60


@cache
def moment(zone: str, day: date, minute_of_day: int) -> datetime:
    """When the clock on the wall shows this; if it never does, when it next shows anything."""
    wall = datetime.combine(day, time.min) + timedelta(minutes=minute_of_day)
    while True:
        first = wall.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC)
        if first.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall:
            return first
        wall += MINUTE


def midnight(zone: str, day: date) -> datetime:
    return moment(zone, day, 0)


def local_date(zone: str, instant: datetime) -> date:
    """The last day that has begun."""
    near = [instant.date() + n * DAY for n in range(-2, 3)]
    return max(day for day in near if midnight(zone, day) <= instant)


def minutes(start: datetime, end: datetime) -> set[datetime]:
    return {start + n * MINUTE for n in range((end - start) // MINUTE)}


def all_minutes(intervals: Iterable[Interval]) -> set[datetime]:
    return {to_datetime(minute) for start, end in intervals for minute in range(start, end)}


class Oracle:
    """Knows every working, busy and grid minute of the given local days."""

    def __init__(
        self,
        rules: SlotRules,
        hours: WorkingHours,
        busy: Iterable[Interval],
        time_off: Iterable[Interval],
        days: Iterable[date],
    ) -> None:
        self.rules = rules
        self.hours = hours
        self.busy = all_minutes(busy)
        self.time_off = all_minutes(time_off)
        self.working: set[datetime] = set()
        self.grid: set[datetime] = set()
        for day in days:
            for opens, closes in self.intervals(day):
                start, end = moment(hours.zone, day, opens), moment(hours.zone, day, closes)
                self.working |= minutes(start, end)
                while start < end:
                    self.grid.add(start)
                    start += rules.interval * MINUTE

    def intervals(self, day: date) -> tuple[Interval, ...]:
        if day in self.hours.overrides:
            return self.hours.overrides[day]
        if day in self.hours.holidays:
            return ()
        return self.hours.weekly[day.weekday()]

    def reason(self, now: datetime, start: datetime) -> str | None:
        """The first of the reasons that holds."""
        rules, hours = self.rules, self.hours
        end = start + rules.duration * MINUTE
        slot = minutes(start, end)
        buffered = minutes(start - rules.buffer_before * MINUTE, end + rules.buffer_after * MINUTE)
        day = local_date(hours.zone, start)
        closed_for_holiday = day in hours.holidays and day not in hours.overrides
        is_open = slot <= self.working
        reasons = {
            "past": start < now,
            "beyond_window": self.is_beyond_window(now, start),
            "min_notice": start < now + rules.min_notice * MINUTE,
            "holiday": not is_open and closed_for_holiday,
            "outside_working_hours": not is_open,
            "not_aligned": start not in self.grid,
            "time_off": buffered & self.time_off,
            "busy": slot & self.busy,
            "buffer": buffered & self.busy,
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def is_beyond_window(self, now: datetime, start: datetime) -> bool:
        if self.rules.window_days is None:
            return False
        last_day = local_date(self.hours.zone, now) + self.rules.window_days * DAY
        return start >= midnight(self.hours.zone, last_day + DAY)
