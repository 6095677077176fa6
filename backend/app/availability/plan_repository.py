"""The SQL that reads a plan: a service, who gives it, and what is taken around a time.

It joins the tables of the rooms below, so that everything a decision needs arrives in one round
trip. Instants travel as whole minutes since the epoch. What has ended by itself (a hold, a request
that nobody approved) counts as free.

Statements are built once, when the module is imported: to build one takes longer than to run it.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    TIMESTAMP,
    Date,
    Integer,
    TextClause,
    Uuid,
    bindparam,
    text,
)
from sqlalchemy.dialects.postgresql import TSTZRANGE
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from app.availability.plan import (
    NOTHING,
    Limits,
    Plan,
    PlannedProvider,
    PlannedResource,
    Session,
    Taken,
)
from app.availability.rules import Interval, WorkingHours
from app.core.prepared import Prepared, Readers
from app.database import AnyRow
from app.schedules import holidays


class Meaning(IntEnum):
    """What an allocation means to the service that asks."""

    BUSY = 0
    HELD = 1
    TIME_OFF = 2
    STALE = 3
    SESSION = 4


# Whole minutes that cover the allocation: rounded down where it begins, up where it ends.
# `date_part`, for `extract` reckons in decimals, which takes longer than to find the row.
START = "floor(date_part('epoch', lower(a.during)) / 60)::int"
END = "ceil(date_part('epoch', upper(a.during)) / 60)::int"
SEATS_BACK = (
    "(SELECT coalesce(sum(c.seats), 0) FROM session_seats c"
    " WHERE c.allocation_id = a.id AND (c.expires_at <= :now OR c.id = :without))"
)
NEXT_EXPIRY = (
    "CASE WHEN a.capacity > 1 THEN (SELECT min(c.expires_at) FROM session_seats c"
    " WHERE c.allocation_id = a.id AND c.expires_at > :now) ELSE a.expires_at END"
)
# Time off is read where it is declared. Its allocations only win races: there is none where a hold
# was in the way that has ended since, nor under a booking that is to be moved.
TAKEN_OF_PROVIDERS = """(
        SELECT subject_id, id, during, kind, capacity, seats_taken, expires_at, service_id,
            starts_at, ends_at
        FROM allocations WHERE kind <> 'time_off'
        UNION ALL
        SELECT provider_id, id, during, 'time_off'::varchar, 1, 1, NULL::timestamptz, NULL::uuid,
            NULL::timestamptz, NULL::timestamptz
        FROM time_off
    )"""
_IS_SESSION = "a.capacity > 1 AND a.service_id = :service_id AND s.capacity > 1"


def meaning(is_session: str) -> str:
    return f"""CASE
        WHEN a.kind = 'time_off' THEN {Meaning.TIME_OFF:d}
        WHEN a.expires_at <= :now THEN {Meaning.STALE:d}
        WHEN a.kind = 'hold' THEN {Meaning.HELD:d}
        WHEN a.capacity > 1 AND a.seats_taken <= {SEATS_BACK} THEN {Meaning.STALE:d}
        WHEN {is_session} THEN {Meaning.SESSION:d}
        ELSE {Meaning.BUSY:d} END"""


def _taken_around(subject: str, taken: str, is_session: str) -> str:
    """What overlaps the appointment with its buffers: `[kind, start, end, session…]`, in order."""
    return f"""(
        SELECT jsonb_agg(jsonb_build_array(
            {meaning(is_session)}, {START}, {END}, a.id,
            (extract(epoch FROM a.starts_at) / 60)::int, (extract(epoch FROM a.ends_at) / 60)::int,
            a.capacity - a.seats_taken + CASE WHEN a.capacity > 1 THEN {SEATS_BACK} ELSE 0 END
        ) ORDER BY lower(a.during))
        FROM {taken} a
        WHERE a.subject_id = {subject} AND a.id IS DISTINCT FROM :without
        AND a.during && tstzrange(
            :begins - make_interval(mins => s.buffer_before_minutes),
            :begins + make_interval(mins =>
                coalesce(:duration, s.durations_minutes[1]) + s.buffer_after_minutes))
    )"""  # noqa: S608 - made of constants


# A week on either side holds the local day and week of the start, in any zone.
_GIVEN_AROUND = f"""CASE WHEN s.limit_per_day IS NOT NULL OR s.limit_per_week IS NOT NULL THEN (
        SELECT array_agg((extract(epoch FROM a.starts_at) / 60)::int)
        FROM allocations a
        WHERE a.subject_id = p.id AND a.service_id = s.id AND a.id IS DISTINCT FROM :without
        AND a.during && tstzrange(:begins - interval '8 days', :begins + interval '8 days')
        AND (a.expires_at IS NULL OR a.expires_at > :now)
        AND NOT (a.capacity > 1 AND a.seats_taken <= {SEATS_BACK})
    ) END"""  # noqa: S608 - made of constants

_ENDED = """ended AS (
    DELETE FROM allocations WHERE id IN (
        SELECT a.id FROM allocations a WHERE a.subject_id = ANY (:subject_ids)
        AND a.expires_at <= :now)
), ended_seats AS (
    DELETE FROM session_seats c USING allocations a
    WHERE a.subject_id = ANY (:subject_ids) AND c.allocation_id = a.id AND c.expires_at <= :now
    RETURNING c.allocation_id, c.seats
), seats AS (
    SELECT allocation_id, sum(seats) AS seats FROM ended_seats GROUP BY allocation_id
), emptied AS (
    DELETE FROM allocations a USING seats
    WHERE a.id = seats.allocation_id AND a.seats_taken <= seats.seats
), emptier AS (
    UPDATE allocations a SET seats_taken = a.seats_taken - seats.seats FROM seats
    WHERE a.id = seats.allocation_id AND a.seats_taken > seats.seats
)"""


def _planning(*, around: bool, clearing: bool = False, records: str = "NULL::jsonb") -> TextClause:
    """The statement that reads a service with those who give it; see `plan` and `Look`.

    The first columns are the versions of all that it reads (see `Outline`). What is JSON comes as
    text: mostly it is known already what that says, or nobody wants to know.
    """
    taken = _taken_around("p.id", TAKEN_OF_PROVIDERS, _IS_SESSION) if around else "NULL::jsonb"
    resource_taken = _taken_around("r.id", "allocations", "false") if around else "NULL::jsonb"
    sql = f"""{"WITH " + _ENDED if clearing else ""}
        SELECT pg_postmaster_start_time(), s.id, s.version, l.id AS location_id,
            l.version AS location_version, p.id AS provider_id, p.version AS provider_version,
            h.version AS schedule_version, coalesce(c.version, 0) AS calendar_version,
            CASE WHEN s.resource_requirements = '[]' THEN NULL ELSE (
                SELECT jsonb_agg(jsonb_build_array(
                    r.id, r.kind, r.location_id, r.version, coalesce(rc.version, 0),
                    {resource_taken}) ORDER BY r.name, r.id)
                FROM resources r LEFT JOIN calendars rc ON rc.subject_id = r.id
                WHERE r.is_active AND r.kind IN (
                    SELECT q ->> 'resource_kind'
                    FROM jsonb_array_elements(s.resource_requirements) q)
            ) END::text AS resources,
            s.name, s.durations_minutes, s.buffer_before_minutes,
            s.buffer_after_minutes, s.slot_interval_minutes, s.min_notice_minutes,
            s.booking_window_days, s.cancel_until_minutes, s.reschedule_until_minutes,
            s.max_reschedules, s.capacity, s.approval, s.assignment, s.allow_guests,
            s.limit_per_day, s.limit_per_week, s.limit_per_customer_per_day,
            s.limit_per_customer_active, s.questions::text, s.location_ids AS service_location_ids,
            s.resource_requirements::text, s.price_amount, s.price_currency,
            l.time_zone AS location_zone,
            p.user_id, p.display_name, p.location_ids, sp.weight, sp.priority,
            h.time_zone, h.weekly::text, h.holiday_calendar,
            (SELECT jsonb_object_agg(o.day, o.intervals) FROM schedule_overrides o
                WHERE o.provider_id = p.id AND o.day BETWEEN :first_day AND :last_day
            )::text AS overrides,
            {taken} AS taken,
            {_GIVEN_AROUND if around else "NULL::int[]"} AS given,
            {records} AS records
        FROM services s
        LEFT JOIN locations l ON l.id = :location_id
        LEFT JOIN (
            service_providers sp
            JOIN providers p ON p.id = sp.provider_id AND p.is_active
            JOIN schedules h ON h.provider_id = p.id
        ) ON sp.service_id = s.id AND (
            s.assignment = 'collective' OR :provider_ids IS NULL OR p.id = ANY (:provider_ids)
        ) AND (
            -- Who has no place of their own works wherever the service is given.
            :location_id IS NULL OR :location_id = ANY (p.location_ids)
            OR p.location_ids = '{{}}' AND :location_id = ANY (s.location_ids))
        LEFT JOIN calendars c ON c.subject_id = p.id
        WHERE s.id = :service_id AND s.is_active
        ORDER BY sp.priority DESC, p.id"""  # noqa: S608 - made of constants
    return typed(sql)


INSTANT = TIMESTAMP(timezone=True)
_TYPES: dict[str, TypeEngine[Any]] = {
    "now": INSTANT,
    "begins": INSTANT,
    "duration": Integer(),
    "service_id": Uuid(),
    "location_id": Uuid(),
    "without": Uuid(),
    "provider_ids": ARRAY(Uuid()),
    "subject_ids": ARRAY(Uuid()),
    "first_day": Date(),
    "last_day": Date(),
    "during": TSTZRANGE(),
}


def typed(sql: str) -> TextClause:
    named = [bindparam(n, type_=t) for n, t in _TYPES.items() if f":{n}" in sql.replace("::", "")]
    return text(sql).bindparams(*named)


class Look:
    """A look at a plan under the locks of its subjects, which removes what of theirs has ended.

    A room above may want to know more of each provider: `records` is the SQL of a JSON value, and
    becomes `PlannedProvider.records`. It may name the service `s`, the provider `p`, what makes
    them one's giver of the other `sp`, the schedule `h`, the parameters of `plan`, and others of
    these types.
    """

    def __init__(self, records: str = "NULL::jsonb", **types: TypeEngine[Any]) -> None:
        sql = _planning(around=True, clearing=True, records=records)
        more = [bindparam(name, type_=type_) for name, type_ in types.items()]
        self.statement = Prepared(sql.bindparams(*more))


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What somebody wants to know besides, and the values of the parameters that it names."""

    look: Look
    parameters: Mapping[str, Any]


_VERSIONS = 10
_PLAN = Prepared(_planning(around=False))
_PLAN_AROUND = Prepared(_planning(around=True))
_LOOK = Inquiry(Look(), {})


@dataclass(frozen=True, slots=True)
class Around:
    """An appointment: what overlaps it, with the service's buffers, is read as well.

    `duration` is in minutes; None is the service's first. `clear`: subjects of whose time is
    removed on the way what has ended, by who has their locks, and who may have an `inquiry`.
    """

    begins: datetime
    duration: int | None
    clear: Sequence[UUID] = ()
    inquiry: Inquiry | None = None


class Outline:
    """A plan that was read and not yet made: mostly its versions are all that is wanted of it.

    Two outlines with the same versions have the same plan. Where the server started is one of
    them: one that takes another's place may lack the last that the other wrote.
    """

    def __init__(self, rows: Sequence[AnyRow], days: tuple[date, date]) -> None:
        self.versions: Hashable = tuple([row[:_VERSIONS] for row in rows])
        self._rows = rows
        self._days = days

    def plan(self) -> Plan:
        return _plan(self._rows, self._days)


async def outline(
    where: AsyncSession | Readers,
    service_id: UUID,
    days: tuple[date, date],
    provider_ids: Sequence[UUID],
    location_id: UUID | None,
) -> Outline | None:
    """What `plan` reads, where nothing is to be known around a time. One round trip."""
    rows = await _PLAN.all(where, _parameters(service_id, days, provider_ids, location_id))
    return Outline(rows, days) if rows else None


def _parameters(
    service_id: UUID,
    days: tuple[date, date],
    provider_ids: Sequence[UUID],
    location_id: UUID | None,
) -> dict[str, Any]:
    return {
        "service_id": service_id,
        "provider_ids": list(provider_ids) or None,
        "location_id": location_id,
        "first_day": days[0],
        "last_day": days[1],
    }


async def plan(
    where: AsyncSession | Readers,
    service_id: UUID,
    *,
    now: datetime,
    days: tuple[date, date],
    provider_ids: Sequence[UUID] = (),
    location_id: UUID | None = None,
    around: Around | None = None,
    without: UUID | None = None,
) -> Plan | None:
    """An active service with its active providers who have a schedule, in one round trip.

    `days` are the first and last local dates whose overrides and holidays matter. `without` is a
    booking or hold whose own time does not count.
    """
    statement = _PLAN
    parameters = _parameters(service_id, days, provider_ids, location_id)
    if around is not None:
        statement = _PLAN_AROUND
        parameters |= {
            "begins": around.begins,
            "duration": around.duration,
            "now": now,
            "without": without,
        }
        if around.clear:
            inquiry = around.inquiry or _LOOK
            statement = inquiry.look.statement
            parameters |= {"subject_ids": list(around.clear), **inquiry.parameters}
    rows = await statement.all(where, parameters)
    return _plan(rows, days) if rows else None


def _plan(rows: Sequence[AnyRow], days: tuple[date, date]) -> Plan:
    first = rows[0]
    return Plan(
        service_id=first.id,
        service_name=first.name,
        version=first.version,
        durations=first.durations_minutes,
        buffer_before=first.buffer_before_minutes,
        buffer_after=first.buffer_after_minutes,
        slot_interval=first.slot_interval_minutes,
        min_notice=first.min_notice_minutes,
        window_days=first.booking_window_days,
        capacity=first.capacity,
        assignment=first.assignment,
        approval=first.approval,
        allow_guests=first.allow_guests,
        limits=Limits(
            first.limit_per_day,
            first.limit_per_week,
            first.limit_per_customer_per_day,
            first.limit_per_customer_active,
        ),
        policy={
            "cancel_until_minutes": first.cancel_until_minutes,
            "reschedule_until_minutes": first.reschedule_until_minutes,
            "max_reschedules": first.max_reschedules,
        },
        questions=_list(first.questions),
        location_ids=first.service_location_ids,
        requirements=[
            (r["resource_kind"], r["quantity"]) for r in _list(first.resource_requirements)
        ],
        price_amount=first.price_amount,
        price_currency=first.price_currency,
        location_id=first.location_id,
        location_zone=first.location_zone,
        location_version=first.location_version,
        providers=[_provider(row, days) for row in rows if row.provider_id is not None],
        resources=[_resource(*fields) for fields in json.loads(first.resources or "[]")],
    )


def working_hours(row: AnyRow, days: tuple[date, date]) -> WorkingHours:
    """A schedule with its overrides and the holidays of these days, as the engine reads it.

    `weekly` and `overrides` are JSON.
    """
    calendar = row.holiday_calendar
    return WorkingHours(
        row.time_zone,
        _week(row.weekly),
        _overrides(row.overrides) if row.overrides else {},
        holidays.between(calendar, *days) if calendar else frozenset(),
    )


@lru_cache(maxsize=4096)
def _week(text: str) -> tuple[tuple[Interval, ...], ...]:
    return tuple(_intervals(day) for day in json.loads(text))


def _overrides(text: str) -> dict[date, tuple[Interval, ...]]:
    by_day = json.loads(text).items()
    return {date.fromisoformat(day): _intervals(intervals) for day, intervals in by_day}


def _list(text: str) -> Sequence[Mapping[str, Any]]:
    items: Sequence[Mapping[str, Any]] = () if text == "[]" else json.loads(text)
    return items


def _provider(row: AnyRow, days: tuple[date, date]) -> PlannedProvider:
    return PlannedProvider(
        id=row.provider_id,
        user_id=row.user_id,
        display_name=row.display_name,
        weight=row.weight,
        priority=row.priority,
        location_ids=row.location_ids,
        hours=working_hours(row, days),
        versions=(row.provider_version, row.schedule_version, row.calendar_version),
        taken=_taken(row.taken, row.given or ()) if row.taken else _given(row.given),
        records=row.records,
    )


def _resource(
    resource_id: str,
    kind: str,
    location_id: str | None,
    version: int,
    calendar_version: int,
    taken: list[Any] | None,
) -> PlannedResource:
    return PlannedResource(
        id=UUID(resource_id),
        kind=kind,
        location_id=UUID(location_id) if location_id else None,
        versions=(version, calendar_version),
        taken=_taken(taken, ()) if taken else NOTHING,
    )


def _intervals(day: Sequence[Sequence[int]]) -> tuple[Interval, ...]:
    return tuple((start, end) for start, end in day)


def _given(starts: Sequence[int] | None) -> Taken:
    return Taken(given=starts) if starts else NOTHING


def _taken(rows: Sequence[Sequence[Any]], given: Sequence[int]) -> Taken:
    intervals: dict[int, list[Interval]] = {kind: [] for kind in Meaning}
    sessions = []
    for kind, start, end, allocation_id, begins, ends, seats_left in rows:
        intervals[kind].append((start, end))
        if kind == Meaning.SESSION:
            sessions.append(Session(UUID(allocation_id), begins, ends, (start, end), seats_left))
    return Taken(
        busy=sorted(intervals[Meaning.BUSY] + intervals[Meaning.HELD]),
        held=intervals[Meaning.HELD],
        time_off=intervals[Meaning.TIME_OFF],
        sessions=sessions,
        given=given,
        is_stale=bool(intervals[Meaning.STALE]),
    )
