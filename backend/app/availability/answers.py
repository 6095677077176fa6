"""Answers about free times, as bytes: built once, for `core.caching` to keep."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Final
from uuid import UUID

from app.availability.wall_clock import Minute, OffsetSpan, local_days, offset_spans
from app.core.caching import Answer, content_tag

_DAY: Final = 24 * 60
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_CLOCK: Final = tuple(f"T{m // 60:02}:{m % 60:02}:00" for m in range(_DAY))

Free = Sequence[tuple[Minute, tuple[int, ...]]]
"""Starts, ascending, each with the indexes of the providers who are free then."""


@dataclass(frozen=True, slots=True)
class FreeTimes:
    """The free times of a range, ready to be shown.

    `first` and `last` are the local dates that the range touches in `zone`; `duration` is in
    minutes. `seats` are those left at each start; None: one everywhere.
    """

    service_id: UUID
    zone: str
    duration: int
    provider_ids: Sequence[UUID]
    first: date
    last: date
    free: Free
    seats: Mapping[Minute, int] | None
    fresh_until: Minute | None

    def followed_by(self, later: "FreeTimes") -> "FreeTimes":
        """These and those of the range that follows."""
        seats = None if self.seats is None else {**self.seats, **(later.seats or {})}
        return replace(self, last=later.last, free=[*self.free, *later.free], seats=seats)

    def first_ones(self, count: int) -> "FreeTimes":
        return replace(self, free=self.free[:count])

    def render_list(self) -> Answer:
        """The slots in one list, without days."""
        ids = ",".join(f'"{i}"' for i in self.provider_ids)
        days = local_days(self.zone, self.first, self.last)
        wall = _WallText(offset_spans(self.zone, days[0][1], days[-1][2] + self.duration + 1))
        return self._answer(
            f'{{"service_id":"{self.service_id}","time_zone":"{self.zone}",'
            f'"duration_minutes":{self.duration},"provider_ids":[{ids}],'
            f'"slots":[{self._slots(self.free, wall)}]}}'
        )

    def render(self) -> Answer:
        """The answer in JSON: every day of the range, with its slots in the zone's wall time."""
        duration = self.duration
        days = local_days(self.zone, self.first, self.last)
        wall = _WallText(offset_spans(self.zone, days[0][1], days[-1][2] + duration + 1))
        parts = []
        for day, slots in self._by_day(days):
            parts.append(f'{{"date":"{day.isoformat()}","slots":[{self._slots(slots, wall)}]}}')
        ids = ",".join(f'"{i}"' for i in self.provider_ids)
        return self._answer(
            f'{{"service_id":"{self.service_id}","time_zone":"{self.zone}",'
            f'"duration_minutes":{duration},"provider_ids":[{ids}],"days":[{",".join(parts)}]}}'
        )

    def render_days(self) -> Answer:
        """How many slots each day has, for a month's view."""
        days = local_days(self.zone, self.first, self.last)
        counts = ",".join(
            f'{{"date":"{day.isoformat()}","slots":{len(slots)}}}'
            for day, slots in self._by_day(days)
        )
        return self._answer(f"[{counts}]")

    def _slots(self, free: Free, wall: "_WallText") -> str:
        seats, duration = self.seats, self.duration
        return ",".join(
            f'{{"start":"{wall(start)}","end":"{wall(start + duration)}",'
            f'"seats_left":{1 if seats is None else seats[start]},'
            f'"providers":{_indexes(who)}}}'
            for start, who in free
        )

    def _by_day(self, days: Sequence[tuple[date, Minute, Minute]]) -> Iterator[tuple[date, Free]]:
        starts = [start for start, _ in self.free]
        position = 0
        for day, _, day_end in days:
            until = bisect_right(starts, day_end - 1, lo=position)
            yield day, self.free[position:until]
            position = until

    def _answer(self, text: str) -> Answer:
        body = text.encode()
        fresh_until = None if self.fresh_until is None else self.fresh_until * 60
        return Answer(body, content_tag(body), fresh_until)


class _WallText:
    """RFC 3339 text for minutes, with one look-up of the offset per slot and no datetimes."""

    def __init__(self, spans: Sequence[OffsetSpan]) -> None:
        self._begins = [start for start, _, _ in spans]
        self._offsets = [(offset, _offset_text(offset)) for _, _, offset in spans]

    def __call__(self, instant: Minute) -> str:
        offset, text = self._offsets[bisect_right(self._begins, instant) - 1]
        day, minute = divmod(instant + offset, _DAY)
        return f"{_date_text(day)}{_CLOCK[minute]}{text}"


@lru_cache(maxsize=4096)
def _date_text(epoch_day: int) -> str:
    return date.fromordinal(_EPOCH_ORDINAL + epoch_day).isoformat()


def _offset_text(offset: int) -> str:
    hours, minutes = divmod(abs(offset), 60)
    return f"{'-' if offset < 0 else '+'}{hours:02}:{minutes:02}"


@lru_cache(maxsize=4096)
def _indexes(providers: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, providers))}]"
