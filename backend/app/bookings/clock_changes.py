"""What other rules of a time zone do to bookings ahead. Pure.

People agree on a time on the wall, and governments change what instant that is. When the time-zone
database has learnt of it, a booking's instant no longer shows the agreed time.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from app.availability.wall_clock import local_day

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Taken:
    """Time of a subject that is taken: one of the allocations that share `taking_id`."""

    subject_id: UUID
    taking_id: UUID
    start: datetime
    end: datetime


def agreed_start(wall_start: datetime, zone: str, starts_at: datetime) -> datetime:
    """The instant of the agreed wall time by the zone's rules as they are now.

    An instant at which the clock shows that time stays, also the second of an hour that comes
    twice. Any other becomes the one that `wall_clock` names.
    """
    if starts_at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall_start:
        return starts_at
    minute_of_day = wall_start.hour * 60 + wall_start.minute
    return _EPOCH + timedelta(
        minutes=local_day(zone, wall_start.toordinal()).instant(minute_of_day)
    )


def in_the_way(taken: Iterable[Taken], shifts: Mapping[UUID, timedelta]) -> set[UUID]:
    """Those takings of the `shifts` that cannot move, since they would overlap another.

    All that can move do so at once, so that neighbours who move by the same hour are not in each
    other's way. One that cannot stays where it is, and may then be in the way of the next.
    """
    calendars = defaultdict(list)
    for each in taken:
        calendars[each.subject_id].append(each)
    staying: set[UUID] = set()
    while True:
        found: set[UUID] = set()
        for calendar in calendars.values():
            placed = []
            for each in calendar:
                moves = each.taking_id not in staying
                shift = shifts.get(each.taking_id, timedelta()) if moves else timedelta()
                placed.append((each.start + shift, each.end + shift, each.taking_id))
            found |= _overlapping(placed)
        clashing = found & shifts.keys() - staying
        if not clashing:
            return staying
        staying |= clashing


def _overlapping(placed: list[tuple[datetime, datetime, UUID]]) -> set[UUID]:
    """All that overlap another."""
    found: set[UUID] = set()
    reach: tuple[datetime, UUID] | None = None  # the furthest end so far, and whose it is
    for start, end, taking_id in sorted(placed):
        if reach is not None and start < reach[0]:
            found |= {taking_id, reach[1]}
        if reach is None or end > reach[0]:
            reach = end, taking_id
    return found
