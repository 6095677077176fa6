"""The SQL that reads what is taken of a whole range: arrays of integers, a row or two a subject."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    TextClause,
)
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.plan import (
    Plan,
    Session,
    Taken,
)
from app.availability.plan_repository import (
    END,
    NEXT_EXPIRY,
    SEATS_BACK,
    START,
    Meaning,
    meaning,
    typed,
)
from app.availability.rules import Interval
from app.core.prepared import Prepared, Readers
from app.database import AnyRow


def _taken_times(*, detailed: bool) -> TextClause:
    """`detailed`: the service's sessions and how often it is given, which few services need."""
    kind = meaning("a.capacity > 1 AND a.service_id = :service_id" if detailed else "false")
    details = (
        f"""array_agg(a.id) FILTER (WHERE a.capacity > 1 AND a.service_id = :service_id),
            array_agg((extract(epoch FROM a.starts_at) / 60)::int)
                FILTER (WHERE a.service_id = :service_id),
            array_agg((extract(epoch FROM a.ends_at) / 60)::int)
                FILTER (WHERE a.capacity > 1 AND a.service_id = :service_id),
            array_agg(a.capacity - a.seats_taken + {SEATS_BACK})
                FILTER (WHERE a.capacity > 1 AND a.service_id = :service_id)"""
        if detailed
        else "NULL, NULL, NULL, NULL"
    )
    # Subject by subject: whatever the planner reckons, each is looked up by its own part of the
    # index. A subject's times do not overlap, so their starts and their ends can be put in order
    # each by itself, where that costs least: here it would be a sort of rows.
    return typed(
        f"""SELECT subject.id, taken.*
        FROM unnest(:subject_ids) AS subject (id), LATERAL (
            SELECT {kind} AS meaning, array_agg({START}), array_agg({END}),
                floor(date_part('epoch', min({NEXT_EXPIRY})) / 60)::int,
                {details}
            FROM allocations a
            WHERE a.subject_id = subject.id AND a.during && :during AND a.kind <> 'time_off'
                AND a.id IS DISTINCT FROM :without
            GROUP BY meaning
            UNION ALL
            SELECT {Meaning.TIME_OFF:d}, array_agg({START}), array_agg({END}),
                NULL, NULL, NULL, NULL, NULL
            FROM time_off a
            WHERE a.provider_id = subject.id AND a.during && :during
                AND a.id IS DISTINCT FROM :without
            HAVING count(*) > 0
        ) AS taken"""  # noqa: S608 - made of constants
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
    def intervals(kind: Meaning) -> list[Interval]:
        row = kinds.get(kind)
        return list(zip(sorted(row[2]), sorted(row[3]), strict=True)) if row else []

    busy, held = intervals(Meaning.BUSY), intervals(Meaning.HELD)
    sessions = intervals(Meaning.SESSION)
    live = [row for kind, row in kinds.items() if kind != Meaning.STALE]
    begun = kinds.get(Meaning.SESSION)
    open_sessions: list[Session] = []
    if begun and plan.is_shared:
        # The intervals are sorted, and what `details` has is as it came.
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
        time_off=intervals(Meaning.TIME_OFF),
        sessions=open_sessions,
        given=[start for row in live for start in row[6] or ()],
        is_stale=Meaning.STALE in kinds,
        expiries=[row[4] for row in live if row[4] is not None],
    )
