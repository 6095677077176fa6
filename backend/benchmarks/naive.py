"""Free slots the way one would write them first: a datetime per slot, a look at every booking."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

Busy = Sequence[tuple[datetime, datetime]]


def free_slots(
    zone: ZoneInfo,
    hours: Sequence[tuple[time, time]],
    duration: timedelta,
    busy: Busy,
    now: datetime,
    first: date,
    days: int,
) -> list[datetime]:
    """The starts that are free, from `first` on, for a provider who works every day alike."""
    free = []
    for day in (first + timedelta(days=number) for number in range(days)):
        for opens, closes in hours:
            # In UTC, where comparing is quick and correct.
            start = datetime.combine(day, opens, zone).astimezone(UTC)
            closing = datetime.combine(day, closes, zone).astimezone(UTC)
            while start + duration <= closing:
                end = start + duration
                if start >= now and not any(s < end and start < e for s, e in busy):
                    free.append(start)
                start = end
    return free
