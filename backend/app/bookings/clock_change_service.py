"""After an update of the time-zone database: bookings keep their wall time."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.time_off_service import lock_subjects, refill
from app.bookings import clock_change_repository as repository
from app.bookings.clock_changes import Taken, agreed_start, in_the_way
from app.core.clock import Clock
from app.core.events import SYSTEM, event_values, record_all
from app.database import AnyRow
from app.schedules.service import raise_calendar_versions

_AROUND = timedelta(days=16)
"""More than a booking with its buffers lasts, and than clocks ever change."""


class Outcome(StrEnum):
    WOULD_MOVE = "would move"
    MOVED = "moved"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class ClockChange:
    """A booking whose instant no longer shows the agreed time, and what became of it."""

    booking: AnyRow
    start: datetime
    outcome: Outcome

    @property
    def shift(self) -> timedelta:
        moved: timedelta = self.start - self.booking.starts_at
        return moved

    @property
    def end(self) -> datetime:
        end: datetime = self.booking.ends_at + self.shift
        return end


class ClockChangeService:
    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def report(self) -> list[ClockChange]:
        """Which bookings ahead would move to keep their wall time, and which could not."""
        now = self._clock()
        changed = _changed(await repository.ahead(self._session, now))
        return await self._decide(changed, now, Outcome.WOULD_MOVE) if changed else []

    async def apply(self) -> list[ClockChange]:
        """Move them all at once; what is in conflict stays, for people to decide.

        Under the locks of everyone concerned: of the bookings first, as whoever acts on one.
        """
        now = self._clock()
        seen = _changed(await repository.ahead(self._session, now))
        ids = [booking.id for booking, _ in seen]
        changed = _changed(await repository.ahead_for_update(self._session, now, ids))
        if not changed:
            return []
        subjects = _subjects([booking for booking, _ in changed])
        await lock_subjects(self._session, subjects)
        await repository.drop_expired_holds(self._session, subjects, now)
        decided = await self._decide(changed, now, Outcome.MOVED)
        await self._move([change for change in decided if change.outcome is Outcome.MOVED])
        return decided

    async def _decide(
        self, changed: Sequence[tuple[AnyRow, datetime]], now: datetime, outcome: Outcome
    ) -> list[ClockChange]:
        bookings = [booking for booking, _ in changed]
        during = Range(
            min(booking.starts_at for booking in bookings) - _AROUND,
            max(booking.ends_at for booking in bookings) + _AROUND,
        )
        rows = await repository.taken(self._session, _subjects(bookings), during, now)
        takings = {row.id: row for row in rows}
        shifts = _shifts_of_takings(changed, takings)
        staying = in_the_way(
            [Taken(row.subject_id, row.id, row.start, row.end) for row in rows], shifts
        )
        moving = shifts.keys() - staying
        return [
            ClockChange(
                booking, start, outcome if booking.allocation_id in moving else Outcome.CONFLICT
            )
            for booking, start in changed
            if booking.allocation_id in takings  # else it was given up since it was read
        ]

    async def _move(self, moving: Sequence[ClockChange]) -> None:
        if not moving:
            return
        session = self._session
        takings = {change.booking.allocation_id: change.shift for change in moving}
        await repository.move_takings(session, takings)
        await repository.move_bookings(session, {c.booking.id: c.shift for c in moving})
        # What they have left may have been booked before somebody took time off.
        left = Range(
            min(change.booking.starts_at for change in moving) - _AROUND,
            max(change.booking.ends_at for change in moving) + _AROUND,
        )
        providers = {i for change in moving for i in change.booking.provider_ids}
        for provider_id in sorted(providers):
            await refill(session, provider_id, left)
        await raise_calendar_versions(
            session, sorted(_subjects([change.booking for change in moving]))
        )
        await record_all(session, [_event(change) for change in moving])


def _changed(rows: Sequence[AnyRow]) -> list[tuple[AnyRow, datetime]]:
    """The bookings that do not begin when they should, and when that is."""
    starts = [(row, agreed_start(row.wall_start, row.time_zone, row.starts_at)) for row in rows]
    return [(row, start) for row, start in starts if start != row.starts_at]


def _subjects(bookings: Sequence[AnyRow]) -> set[UUID]:
    return {i for row in bookings for i in (*row.provider_ids, *row.resource_ids)}


def _shifts_of_takings(
    changed: Sequence[tuple[AnyRow, datetime]], taken: Mapping[UUID, AnyRow]
) -> dict[UUID, timedelta]:
    """By how much each taking moves; a group session only if all who have seats agree."""
    wanted = defaultdict(list)
    for booking, start in changed:
        wanted[booking.allocation_id].append((start - booking.starts_at, booking.seats))
    shifts = {}
    for taking_id, wishes in wanted.items():
        taking, by = taken.get(taking_id), {shift for shift, _ in wishes}
        if taking is None:
            continue
        is_whole = taking.capacity == 1 or sum(seats for _, seats in wishes) == taking.claimed
        if is_whole and len(by) == 1:
            shifts[taking_id] = by.pop()
    return shifts


def _event(change: ClockChange) -> dict[str, object]:
    booking = change.booking
    return event_values(
        "booking.clock_changed",
        subject_id=booking.id,
        actor=SYSTEM,
        before=_times(booking.starts_at, booking.ends_at, booking.sequence),
        after=_times(change.start, change.end, booking.sequence + 1),
    )


def _times(start: datetime, end: datetime, sequence: int) -> dict[str, object]:
    return {
        "start": start.astimezone(UTC).isoformat(),
        "end": end.astimezone(UTC).isoformat(),
        "sequence": sequence,
    }
