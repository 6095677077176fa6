"""The SQL of free and taken time.

Reads join the tables of the rooms below, so that everything a question needs arrives in one round
trip; writes touch allocations and the seats of sessions only. Instants travel as whole minutes
since the epoch. A hold that has ended counts as free wherever it is read.

Statements are built once, when the module is imported: to build one takes longer than to run it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    TIMESTAMP,
    ColumnElement,
    Date,
    Integer,
    TextClause,
    Uuid,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import TSTZRANGE, Range
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from app.availability.models import NO_OVERLAP, Allocation, SeatClaim
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
from app.database import AnyRow, table
from app.schedules import holidays
from app.schedules.service import raising_calendar_version

UTC_MINUTE = 60


class _Kind(IntEnum):
    """What an allocation means to the service that asks."""

    BUSY = 0
    HELD = 1
    TIME_OFF = 2
    STALE = 3
    SESSION = 4


# --- Reading: the plan -----------------------------------------------------------------------
# Whole minutes that cover the allocation: rounded down where it begins, up where it ends.
_START = "floor(extract(epoch FROM lower(a.during)) / 60)::int"
_END = "ceil(extract(epoch FROM upper(a.during)) / 60)::int"
_SEATS_BACK = (
    "(SELECT coalesce(sum(c.seats), 0) FROM session_seats c"
    " WHERE c.allocation_id = a.id AND (c.expires_at <= :now OR c.id = :without))"
)
_NEXT_EXPIRY = (
    "CASE WHEN a.capacity > 1 THEN (SELECT min(c.expires_at) FROM session_seats c"
    " WHERE c.allocation_id = a.id AND c.expires_at > :now) ELSE a.expires_at END"
)
# Time off is read where it is declared. Its allocations only win races: there is none where a hold
# was in the way that has ended since, nor under a booking that is to be moved.
_TAKEN_OF_PROVIDERS = """(
        SELECT subject_id, id, during, kind, capacity, seats_taken, expires_at, service_id,
            starts_at, ends_at
        FROM allocations WHERE kind <> 'time_off'
        UNION ALL
        SELECT provider_id, id, during, 'time_off'::varchar, 1, 1, NULL::timestamptz, NULL::uuid,
            NULL::timestamptz, NULL::timestamptz
        FROM time_off
    )"""
_IS_SESSION = "a.capacity > 1 AND a.service_id = :service_id AND s.capacity > 1"


def _kind(is_session: str) -> str:
    return f"""CASE
        WHEN a.kind = 'time_off' THEN {_Kind.TIME_OFF:d}
        WHEN a.kind = 'hold' AND a.expires_at <= :now THEN {_Kind.STALE:d}
        WHEN a.kind = 'hold' THEN {_Kind.HELD:d}
        WHEN a.capacity > 1 AND a.seats_taken <= {_SEATS_BACK} THEN {_Kind.STALE:d}
        WHEN {is_session} THEN {_Kind.SESSION:d}
        ELSE {_Kind.BUSY:d} END"""


def _taken_around(subject: str, taken: str, is_session: str) -> str:
    """What overlaps the appointment with its buffers: `[kind, start, end, session…]`, in order."""
    return f"""(
        SELECT jsonb_agg(jsonb_build_array(
            {_kind(is_session)}, {_START}, {_END}, a.id,
            (extract(epoch FROM a.starts_at) / 60)::int, (extract(epoch FROM a.ends_at) / 60)::int,
            a.capacity - a.seats_taken + CASE WHEN a.capacity > 1 THEN {_SEATS_BACK} ELSE 0 END
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
        AND NOT (a.capacity > 1 AND a.seats_taken <= {_SEATS_BACK})
    ) END"""  # noqa: S608 - made of constants

_ENDED_HOLDS = """ended AS (
    DELETE FROM allocations WHERE id IN (
        SELECT a.id FROM allocations a WHERE a.subject_id = ANY (:subject_ids)
        AND a.kind = 'hold' AND a.expires_at <= :now)
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


def _planning(*, around: bool, clearing: bool = False) -> TextClause:
    """The statement that reads a service with those who give it; see `plan`."""
    taken = _taken_around("p.id", _TAKEN_OF_PROVIDERS, _IS_SESSION) if around else "NULL::jsonb"
    resource_taken = _taken_around("r.id", "allocations", "false") if around else "NULL::jsonb"
    sql = f"""{"WITH " + _ENDED_HOLDS if clearing else ""}
        SELECT s.id, s.name, s.version, s.durations_minutes, s.buffer_before_minutes,
            s.buffer_after_minutes, s.slot_interval_minutes, s.min_notice_minutes,
            s.booking_window_days, s.cancel_until_minutes, s.reschedule_until_minutes,
            s.max_reschedules, s.capacity, s.approval, s.assignment, s.allow_guests,
            s.limit_per_day, s.limit_per_week, s.limit_per_customer_per_day,
            s.limit_per_customer_active, s.questions, s.location_ids AS service_location_ids,
            s.resource_requirements, s.price_amount, s.price_currency,
            l.id AS location_id, l.time_zone AS location_zone, l.version AS location_version,
            CASE WHEN s.resource_requirements = '[]' THEN NULL ELSE (
                SELECT jsonb_agg(jsonb_build_array(
                    r.id, r.kind, r.location_id, r.version, coalesce(rc.version, 0),
                    {resource_taken}) ORDER BY r.name, r.id)
                FROM resources r LEFT JOIN calendars rc ON rc.subject_id = r.id
                WHERE r.is_active AND r.kind IN (
                    SELECT q ->> 'resource_kind'
                    FROM jsonb_array_elements(s.resource_requirements) q)
            ) END AS resources,
            p.id AS provider_id, p.user_id, p.display_name, p.location_ids,
            p.version AS provider_version, sp.weight, sp.priority,
            h.time_zone, h.weekly, h.holiday_calendar, h.version AS schedule_version,
            coalesce(c.version, 0) AS calendar_version,
            (SELECT jsonb_object_agg(o.day, o.intervals) FROM schedule_overrides o
                WHERE o.provider_id = p.id AND o.day BETWEEN :first_day AND :last_day
            ) AS overrides,
            {taken} AS taken,
            {_GIVEN_AROUND if around else "NULL::int[]"} AS given
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
    return _typed(sql)


_INSTANT = TIMESTAMP(timezone=True)
_TYPES: dict[str, TypeEngine[Any]] = {
    "now": _INSTANT,
    "begins": _INSTANT,
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


def _typed(sql: str) -> TextClause:
    named = [bindparam(n, type_=t) for n, t in _TYPES.items() if f":{n}" in sql.replace("::", "")]
    return text(sql).bindparams(*named)


_PLAN = Prepared(_planning(around=False))
_PLAN_AROUND = Prepared(_planning(around=True))
_PLAN_AROUND_CLEARED = Prepared(_planning(around=True, clearing=True))


@dataclass(frozen=True, slots=True)
class Around:
    """An appointment: what overlaps it, with the service's buffers, is read as well.

    `duration` is in minutes; None is the service's first. `clear`: subjects whose ended holds are
    removed on the way, by who has their locks.
    """

    begins: datetime
    duration: int | None
    clear: Sequence[UUID] = ()


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
    parameters: dict[str, Any] = {
        "service_id": service_id,
        "provider_ids": list(provider_ids) or None,
        "location_id": location_id,
        "first_day": days[0],
        "last_day": days[1],
    }
    if around is not None:
        statement = _PLAN_AROUND_CLEARED if around.clear else _PLAN_AROUND
        parameters |= {
            "begins": around.begins,
            "duration": around.duration,
            "now": now,
            "without": without,
        }
        if around.clear:
            parameters["subject_ids"] = list(around.clear)
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
        questions=first.questions,
        location_ids=first.service_location_ids,
        requirements=[(r["resource_kind"], r["quantity"]) for r in first.resource_requirements],
        price_amount=first.price_amount,
        price_currency=first.price_currency,
        location_id=first.location_id,
        location_zone=first.location_zone,
        location_version=first.location_version,
        providers=[_provider(row, days) for row in rows if row.provider_id is not None],
        resources=[_resource(*fields) for fields in (first.resources or ())],
    )


def _provider(row: AnyRow, days: tuple[date, date]) -> PlannedProvider:
    calendar = row.holiday_calendar
    hours = WorkingHours(
        row.time_zone,
        tuple(_intervals(day) for day in row.weekly),
        {
            date.fromisoformat(day): _intervals(intervals)
            for day, intervals in (row.overrides or {}).items()
        },
        holidays.between(calendar, *days) if calendar else frozenset(),
    )
    return PlannedProvider(
        id=row.provider_id,
        user_id=row.user_id,
        display_name=row.display_name,
        weight=row.weight,
        priority=row.priority,
        location_ids=row.location_ids,
        hours=hours,
        versions=(row.provider_version, row.schedule_version, row.calendar_version),
        taken=_taken(row.taken, row.given or ()) if row.taken else _given(row.given),
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
    intervals: dict[int, list[Interval]] = {kind: [] for kind in _Kind}
    sessions = []
    for kind, start, end, allocation_id, begins, ends, seats_left in rows:
        intervals[kind].append((start, end))
        if kind == _Kind.SESSION:
            sessions.append(Session(UUID(allocation_id), begins, ends, (start, end), seats_left))
    return Taken(
        busy=sorted(intervals[_Kind.BUSY] + intervals[_Kind.HELD]),
        held=intervals[_Kind.HELD],
        time_off=intervals[_Kind.TIME_OFF],
        sessions=sessions,
        given=given,
        is_stale=bool(intervals[_Kind.STALE]),
    )


# --- Reading: what is taken of a range -------------------------------------------------------
def _taken_times(*, detailed: bool) -> TextClause:
    """`detailed`: the service's sessions and how often it is given, which few services need."""
    kind = _kind("a.capacity > 1 AND a.service_id = :service_id" if detailed else "false")
    details = (
        f"""array_agg(a.id) FILTER (WHERE a.capacity > 1 AND a.service_id = :service_id),
            array_agg((extract(epoch FROM a.starts_at) / 60)::int)
                FILTER (WHERE a.service_id = :service_id),
            array_agg((extract(epoch FROM a.ends_at) / 60)::int)
                FILTER (WHERE a.capacity > 1 AND a.service_id = :service_id),
            array_agg(a.capacity - a.seats_taken + {_SEATS_BACK})
                FILTER (WHERE a.capacity > 1 AND a.service_id = :service_id)"""
        if detailed
        else "NULL, NULL, NULL, NULL"
    )
    return _typed(
        f"""SELECT a.subject_id, {kind} AS meaning,
            array_agg({_START} ORDER BY lower(a.during)),
            array_agg({_END} ORDER BY lower(a.during)),
            floor(extract(epoch FROM min({_NEXT_EXPIRY})) / 60)::int,
            {details}
        FROM {_TAKEN_OF_PROVIDERS} a
        WHERE a.subject_id = ANY (:subject_ids) AND a.during && :during
            AND a.id IS DISTINCT FROM :without
        GROUP BY a.subject_id, meaning"""  # noqa: S608 - made of constants
    )


_TAKEN_TIMES = Prepared(_taken_times(detailed=False))
_TAKEN_TIMES_DETAILED = Prepared(_taken_times(detailed=True))


async def taken_times(
    where: AsyncSession | Readers,
    plan: Plan,
    during: Range[datetime],
    *,
    now: datetime,
    without: UUID | None = None,
) -> dict[UUID, Taken]:
    """What is taken of the time of each of the plan's providers and resources.

    One round trip, however many subjects and days: arrays of integers, a row or two per subject.
    """
    detailed = plan.is_shared or plan.limits.bind_provider
    parameters = {
        "subject_ids": plan.subject_ids,
        "during": during,
        "now": now,
        "without": without,
    }
    statement = _TAKEN_TIMES
    if detailed:
        statement = _TAKEN_TIMES_DETAILED
        parameters["service_id"] = plan.service_id
    by_subject: dict[UUID, dict[int, AnyRow]] = {}
    for row in await statement.all(where, parameters):
        by_subject.setdefault(row[0], {})[row[1]] = row
    return {subject: _taken_of(kinds, plan) for subject, kinds in by_subject.items()}


def _taken_of(kinds: Mapping[int, AnyRow], plan: Plan) -> Taken:
    def intervals(kind: _Kind) -> list[Interval]:
        row = kinds.get(kind)
        return list(zip(row[2], row[3], strict=True)) if row else []

    busy, held = intervals(_Kind.BUSY), intervals(_Kind.HELD)
    sessions = intervals(_Kind.SESSION)
    live = [row for kind, row in kinds.items() if kind != _Kind.STALE]
    begun = kinds.get(_Kind.SESSION)
    open_sessions: list[Session] = []
    if begun and plan.is_shared:
        # Two orders: the intervals are sorted, what `details` has is as it came.
        _, _, _, _, _, ids, starts, ends, left = begun
        details = sorted(zip(starts, ends, ids, left, strict=True))
        open_sessions = [
            Session(session_id, start, end, during, seats)
            for (start, end, session_id, seats), during in zip(details, sessions, strict=True)
        ]
    elif begun:
        busy = sorted((*busy, *sessions))
    return Taken(
        busy=sorted((*busy, *held)) if held else busy,
        held=held,
        time_off=intervals(_Kind.TIME_OFF),
        sessions=open_sessions,
        given=[start for row in live for start in row[6] or ()],
        is_stale=_Kind.STALE in kinds,
        expiries=[row[4] for row in live if row[4] is not None],
    )


# --- Taking ----------------------------------------------------------------------------------
class How(StrEnum):
    """The ways of taking time; `takings` has the statement of each."""

    EXCLUSIVE = "exclusive"
    SESSION = "session"
    """Begin a group session."""
    SEATS = "seats"
    """Join one."""
    HELD = "held"
    """What a hold has taken."""
    HELD_SEATS = "held_seats"


_SUBJECT = func.unnest(bindparam("taken_subject_ids", type_=ARRAY(Uuid()))).column_valued("subject")
_ALLOCATION = table(Allocation).c
_CLAIM = table(SeatClaim).c
_NOW = bindparam("taken_now", type_=_INSTANT)


def takings(allowed: ColumnElement[bool] | None = None) -> Mapping[How, tuple[CTE, list[CTE]]]:
    """CTEs that take time, each with what goes with it, for a room above to build upon.

    It has a row for each subject of which time was taken, with `subject_id` and the allocation's
    `id`. Fewer rows than subjects: somebody else has it, and the rest must be given back. Nothing
    is taken unless the condition holds. The parameters are those of `Taking`.

    `ON CONFLICT DO NOTHING` on the exclusion constraint decides races without deadlocks; a plain
    INSERT that lets the constraint raise would end in chains of them.
    """
    condition = true() if allowed is None else allowed
    taking = {
        How.EXCLUSIVE: _inserting(condition),
        How.SESSION: _inserting(condition),
        How.SEATS: (
            update(table(Allocation))
            .where(
                _ALLOCATION.id == bindparam("taken_id", type_=Uuid()),
                _ALLOCATION.seats_taken + bindparam("taken_seats", type_=Integer())
                <= _ALLOCATION.capacity,
                condition,
            )
            .values(seats_taken=_ALLOCATION.seats_taken + bindparam("taken_seats"))
            .returning(_ALLOCATION.subject_id, _ALLOCATION.id)
        ),
        How.HELD: (
            update(table(Allocation))
            .where(
                _ALLOCATION.id == bindparam("taken_hold_id", type_=Uuid()),
                _ALLOCATION.kind == "hold",
                _ALLOCATION.expires_at > _NOW,
                condition,
            )
            .values(id=bindparam("taken_claim_id"), kind="booking", expires_at=None)
            .returning(_ALLOCATION.subject_id, _ALLOCATION.id)
        ),
        How.HELD_SEATS: (
            update(table(SeatClaim))
            .where(
                _CLAIM.id == bindparam("taken_hold_id", type_=Uuid()),
                _CLAIM.expires_at > _NOW,
                condition,
            )
            .values(id=bindparam("taken_claim_id"), expires_at=None)
            .returning(_CLAIM.subject_id, _CLAIM.allocation_id.label("id"))
        ),
    }
    ctes = {how: statement.cte("taken") for how, statement in taking.items()}
    return {
        how: (taken, [_claiming_seats(taken)] if how in {How.SESSION, How.SEATS} else [])
        for how, taken in ctes.items()
    }


def _inserting(condition: ColumnElement[bool]) -> Any:  # noqa: ANN401 - an INSERT with RETURNING
    names = (
        *("id", "during", "kind", "capacity", "seats", "expires_at"),
        *("service_id", "starts_at", "ends_at"),
    )
    columns = ["seats_taken" if name == "seats" else name for name in names]
    values = [
        bindparam(f"taken_{name}", type_=_ALLOCATION[column].type)
        for name, column in zip(names, columns, strict=True)
    ]
    row = select(_SUBJECT, *values).where(condition)
    return (
        postgresql.insert(table(Allocation))
        .from_select(["subject_id", *columns], row)
        .on_conflict_do_nothing(constraint=NO_OVERLAP)
        .returning(_ALLOCATION.subject_id, _ALLOCATION.id)
    )


def _claiming_seats(taken: CTE) -> CTE:
    """The seats that go with a session, kept with its first provider."""
    row = select(
        bindparam("taken_claim_id", type_=Uuid()),
        taken.c.subject_id,
        taken.c.id,
        bindparam("taken_seats", type_=Integer()),
        bindparam("taken_claim_expires_at", type_=_INSTANT),
    ).where(taken.c.subject_id == bindparam("taken_lead_id", type_=Uuid()))
    columns = ["id", "subject_id", "allocation_id", "seats", "expires_at"]
    return insert(table(SeatClaim)).from_select(columns, row).cte("claimed")


# --- Locks, and giving back ------------------------------------------------------------------
# A subquery is not evaluated before it is sorted: everybody locks in one order.
_LOCK = text(
    "SELECT pg_advisory_xact_lock(key) FROM"
    " (SELECT DISTINCT key FROM unnest(:keys) AS key ORDER BY key) AS sorted"
).bindparams(bindparam("keys", type_=ARRAY(postgresql.BIGINT())))


# The same keys, of all that one booking or session takes.
_LOCK_ALLOCATION = text(
    """SELECT pg_advisory_xact_lock(key) FROM (
        SELECT DISTINCT
            ('x' || right(replace(subject_id::text, '-', ''), 16))::bit(64)::bigint AS key
        FROM allocations WHERE id = :allocation_id ORDER BY key
    ) AS sorted"""
)


async def lock_subjects(session: AsyncSession, subject_ids: Iterable[UUID]) -> None:
    """Until commit nobody else decides about these subjects' time who asks first as well.

    One round trip; always in the same order, so that two who want several never wait for each
    other. Late and once: what was read before may have changed meanwhile.
    """
    # Half of a UUIDv7 is random: as good a key as a hash of the whole.
    keys = [int.from_bytes(subject.bytes[8:], signed=True) for subject in subject_ids]
    await session.execute(_LOCK, {"keys": keys})


REFILLING = """refilled AS (
    INSERT INTO allocations (id, subject_id, during, kind)
    SELECT gen_random_uuid(), freed.subject_id, piece, 'time_off'
    FROM freed CROSS JOIN LATERAL (
        SELECT unnest(range_agg(t.during * freed.during)) AS piece FROM time_off t
        WHERE t.provider_id = freed.subject_id AND t.during && freed.during
    ) AS pieces
)"""
"""A CTE: of what is `freed`, time off takes what it is declared for."""
_RAISING = """raised AS (
    INSERT INTO calendars (subject_id) SELECT DISTINCT subject_id FROM changed
    ON CONFLICT (subject_id) DO UPDATE
    SET version = calendars.version + 1, changed_at = now()
)"""
_RELEASE = text(
    f"""WITH freed AS (
        DELETE FROM allocations WHERE id = :allocation_id RETURNING subject_id, during
    ), {REFILLING}, changed AS (SELECT subject_id FROM freed), {_RAISING}
    SELECT count(*) FROM freed"""  # noqa: S608 - made of constants
)
_RELEASE_SEATS = text(
    f"""WITH given AS (
        DELETE FROM session_seats WHERE allocation_id = :allocation_id AND id = :claim_id
        RETURNING seats
    ), freed AS (
        DELETE FROM allocations a USING given
        WHERE a.id = :allocation_id AND a.seats_taken <= given.seats
        RETURNING a.subject_id, a.during
    ), {REFILLING}, emptier AS (
        UPDATE allocations a SET seats_taken = a.seats_taken - given.seats FROM given
        WHERE a.id = :allocation_id AND a.seats_taken > given.seats
        RETURNING a.subject_id
    ), changed AS (
        SELECT subject_id FROM freed UNION ALL SELECT subject_id FROM emptier
    ), {_RAISING}
    SELECT count(*) FROM changed"""  # noqa: S608 - made of constants
)


async def release(session: AsyncSession, allocation_id: UUID) -> int:
    """Give back exclusive time of all its subjects, but for what is time off. One round trip."""
    count: int = (await session.execute(_RELEASE, {"allocation_id": allocation_id})).scalar_one()
    return count


async def release_seats(session: AsyncSession, claim_id: UUID, allocation_id: UUID) -> int:
    """Give back seats of a session; who holds its subjects' locks may do so. One round trip."""
    parameters = {"claim_id": claim_id, "allocation_id": allocation_id}
    count: int = (await session.execute(_RELEASE_SEATS, parameters)).scalar_one()
    return count


async def extend(
    session: AsyncSession, claim_id: UUID, allocation_id: UUID, *, now: datetime, until: datetime
) -> bool:
    """Let a hold's time end later, in one round trip; False: it has ended already."""
    if claim_id == allocation_id:
        is_holds, ends = _ALLOCATION.id == claim_id, _ALLOCATION.expires_at
    else:
        is_holds, ends = _CLAIM.id == claim_id, _CLAIM.expires_at
    extended = await session.execute(
        update(ends.table).where(is_holds, ends > now).values(expires_at=until).returning(ends)
    )
    return extended.first() is not None


async def lock_allocation(session: AsyncSession, allocation_id: UUID) -> None:
    """`lock_subjects` for all whose time this allocation takes. One round trip."""
    await session.execute(_LOCK_ALLOCATION, {"allocation_id": allocation_id})


async def raise_calendar_versions(session: AsyncSession, subject_ids: Sequence[UUID]) -> None:
    subjects = select(func.unnest(literal(list(subject_ids), ARRAY(Uuid()))))
    await session.execute(raising_calendar_version(subjects))


async def undo(session: AsyncSession, allocation_id: UUID) -> None:
    """Remove what was taken of some subjects when others were not to be had."""
    await session.execute(delete(Allocation).where(Allocation.id == allocation_id))
