"""Looking back and ahead: what was booked, how full the calendars are, and who did not come."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.admin import report_repository as repository
from app.admin import reports
from app.admin.report_schemas import BookingsRow, NoShowsRow, Report, Row, Sum, UtilisationRow
from app.admin.reports import PERIODS, GroupBy, Interval
from app.availability.schemas import instant
from app.availability.wall_clock import local_days
from app.availability.working_time import WorkingTime
from app.availability.working_time_service import WorkingTimeService
from app.bookings.rules import Status
from app.core.clock import Clock
from app.core.errors import ValidationFailed
from app.database import AnyRow

MAXIMUM_DAYS = 366

_AGREED = frozenset({Status.CONFIRMED, Status.CHECKED_IN, Status.COMPLETED})

RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True)
class Days:
    """The days that are asked about, both included, in a zone."""

    first: date
    last: date
    zone: str

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValidationFailed.at("#/end", "the range ends after it starts")
        if (self.last - self.first).days >= MAXIMUM_DAYS:
            raise ValidationFailed.at("#/end", f"at most {MAXIMUM_DAYS} days")

    @property
    def days(self) -> list[reports.LocalDay]:
        return local_days(self.zone, self.first, self.last)

    @property
    def bounds(self) -> tuple[int, int]:
        """`[start, end)` in minutes since the epoch."""
        days = self.days
        return days[0][1], days[-1][2]

    @property
    def instants(self) -> tuple[datetime, datetime]:
        start, end = self.bounds
        return instant(start), instant(end)


@dataclass(frozen=True)
class Span(Days):
    """The days that a report is about, and what has a row in it."""

    by: GroupBy

    def report(self, rows: Sequence[RowT]) -> Report[RowT]:
        return Report[Any](
            start=self.first, end=self.last, time_zone=self.zone, group_by=self.by, rows=rows
        )


class ReportService:
    """All of it is read in one or two round trips, and told in whole rows."""

    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def bookings(self, span: Span) -> Report[BookingsRow]:
        """How many bookings begin in each period, or are each service's or provider's.

        One round trip.
        """
        return span.report(_rows(span, await self._tallies(span), _bookings_row))

    async def no_shows(self, span: Span) -> Report[NoShowsRow]:
        """How many of them were missed. One round trip."""
        return span.report(_rows(span, await self._tallies(span), _no_shows_row))

    async def utilisation(self, span: Span) -> Report[UtilisationRow]:
        """How much of the working time is booked.

        Two round trips, three for services and providers. A service's working time is that of all
        who give it, so the rows of several services may count the same hours.
        """
        start, end = span.instants
        working = await WorkingTimeService(self._session).of_everyone(start, end)
        booked = await repository.booked_time(self._session, start, end)
        if span.by in PERIODS:
            # Years of many calendars take a while to go through; others are answered meanwhile.
            return span.report(await asyncio.to_thread(_by_period, span, working, booked))
        named = await repository.names(self._session, span.by)
        return span.report(await asyncio.to_thread(_by_name, span, working, booked, named))

    async def _tallies(self, span: Span) -> Sequence[AnyRow]:
        start, end = span.instants
        return await repository.tallies(
            self._session, span.by, start, end, zone=span.zone, now=self._clock()
        )


def _rows(
    span: Span,
    tallies: Iterable[AnyRow],
    build: Callable[[date | UUID, str | None, Sequence[AnyRow]], RowT],
) -> list[RowT]:
    """A row for each group; periods in which nothing begins are there as well."""
    groups: dict[tuple[Any, str | None], list[AnyRow]] = {}
    if span.by in PERIODS:
        groups = {(day, None): [] for day in reports.periods(span.by, span.first, span.last)}
    for tally in tallies:
        groups.setdefault((tally.key, tally.name or None), []).append(tally)
    return [build(key, name, tallies) for (key, name), tallies in groups.items()]


def _bookings_row(key: date | UUID, name: str | None, tallies: Sequence[AnyRow]) -> BookingsRow:
    agreed = [tally for tally in tallies if tally.status in _AGREED]
    value: defaultdict[str, int] = defaultdict(int)
    for tally in agreed:
        if tally.currency is not None:
            value[tally.currency] += tally.amount
    return BookingsRow(
        key=key,
        name=name,
        bookings=sum(tally.bookings for tally in tallies),
        **_by_status(tallies),
        seats=sum(tally.seats for tally in agreed),
        minutes=sum(tally.minutes for tally in agreed),
        value=[Sum(amount=value[code], currency=code) for code in sorted(value)],
    )


def _no_shows_row(key: date | UUID, name: str | None, tallies: Sequence[AnyRow]) -> NoShowsRow:
    counts = _by_status(tallies)
    attended = counts[Status.COMPLETED] + counts[Status.CHECKED_IN]
    no_shows = counts[Status.NO_SHOW]
    over = [t for t in tallies if t.status == Status.CONFIRMED and t.is_over]
    return NoShowsRow(
        key=key,
        name=name,
        attended=attended,
        no_shows=no_shows,
        unresolved=sum(tally.bookings for tally in over),
        rate=reports.rate(no_shows, attended + no_shows),
    )


def _by_status(tallies: Iterable[AnyRow]) -> dict[str, int]:
    counts = dict.fromkeys((status.value for status in Status), 0)
    for tally in tallies:
        counts[tally.status] += tally.bookings
    return counts


def _by_period(
    span: Span, working: Mapping[UUID, WorkingTime], booked: Iterable[AnyRow]
) -> list[UtilisationRow]:
    days, (start, end) = span.days, span.bounds
    worked, given = Counter[date](), Counter[date]()
    for time in working.values():
        worked += reports.minutes_by_period(span.by, days, time.between(start, end))
    per_provider: defaultdict[UUID, list[Interval]] = defaultdict(list)
    for row in booked:
        per_provider[row.provider_id] += zip(row.starts, row.ends, strict=True)
    for intervals in per_provider.values():
        given += reports.minutes_by_period(span.by, days, reports.merged(intervals))
    return [
        _utilisation_row(day, None, worked[day], given[day])
        for day in reports.periods(span.by, span.first, span.last)
    ]


def _by_name(
    span: Span,
    working: Mapping[UUID, WorkingTime],
    booked: Iterable[AnyRow],
    named: Iterable[AnyRow],
) -> list[UtilisationRow]:
    start, end = span.bounds
    worked = {id_: reports.total(time.between(start, end)) for id_, time in working.items()}
    taken: defaultdict[tuple[UUID, UUID], list[Interval]] = defaultdict(list)
    for row in booked:
        of = row.service_id if span.by is GroupBy.SERVICE else row.provider_id
        taken[of, row.provider_id] += zip(row.starts, row.ends, strict=True)
    groups: dict[tuple[UUID, str], list[UUID]] = {}
    for row in named:
        groups.setdefault((row.id, row.name), []).append(row.provider_id)
    given: defaultdict[UUID, int] = defaultdict(int)
    for (of, _), intervals in taken.items():
        given[of] += reports.total(reports.merged(intervals))
    return [
        _utilisation_row(id_, name, sum(worked.get(p, 0) for p in providers), given[id_])
        for (id_, name), providers in groups.items()
    ]


def _utilisation_row(
    key: date | UUID, name: str | None, working: int, booked: int
) -> UtilisationRow:
    return UtilisationRow(
        key=key,
        name=name,
        working_minutes=working,
        booked_minutes=booked,
        rate=reports.rate(booked, working),
    )
