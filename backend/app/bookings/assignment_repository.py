"""The SQL of assignment: what those who give a service have been given, in one round trip each.

Bookings of one provider at one time are one group session and count once.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, TIMESTAMP, Interval, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.bookings.assignment import TURNS_REMEMBERED, Turns
from app.bookings.rules import RELEASED

_RELEASED = ", ".join(f"'{status}'" for status in sorted(RELEASED))

# When a booking was made, and when somebody joined, are both the database's own time.
_TURNS = text(
    f"""WITH team AS (
        SELECT provider_id, since, CASE WHEN since > now() - :remembered THEN since END AS joined
        FROM service_providers WHERE service_id = :service_id AND provider_id = ANY (:provider_ids)
    ), eras AS (
        SELECT coalesce(array_agg(DISTINCT joined ORDER BY joined) FILTER (
            WHERE joined IS NOT NULL), '{{}}') AS begins FROM team
    )
    SELECT team.provider_id, coalesce(array_position(eras.begins, team.joined), 0) AS joined,
        width_bucket(turn.taken_at, eras.begins) AS era, count(turn.taken_at) AS booked,
        max(turn.taken_at) AS last
    FROM team CROSS JOIN eras LEFT JOIN LATERAL (
        SELECT min(b.created_at) AS taken_at FROM bookings b
        WHERE b.provider_id = team.provider_id AND b.service_id = :service_id
            AND b.created_at > now() - :remembered AND b.status NOT IN ({_RELEASED})
        GROUP BY b.starts_at
    ) AS turn ON true
    GROUP BY team.provider_id, joined, eras.begins, era"""  # noqa: S608 - made of constants
).bindparams(
    bindparam("service_id", type_=Uuid()),
    bindparam("provider_ids", type_=ARRAY(Uuid())),
    bindparam("remembered", TURNS_REMEMBERED, type_=Interval()),
)

_LOADS = text(
    f"""SELECT week.provider_id, coalesce(sum(given.minutes), 0) AS minutes,
        max(given.made_at) AS last
    FROM unnest(:provider_ids, :begins, :ends) AS week (provider_id, begins, ends)
    LEFT JOIN LATERAL (
        SELECT max(b.duration_minutes) AS minutes, max(b.created_at) AS made_at FROM bookings b
        WHERE b.provider_id = week.provider_id AND b.status NOT IN ({_RELEASED})
            AND b.starts_at >= week.begins AND b.starts_at < week.ends
        GROUP BY b.starts_at
        UNION ALL
        SELECT max(b.duration_minutes), max(b.created_at)
        FROM services s JOIN bookings b ON b.service_id = s.id
        WHERE s.assignment = 'collective' AND b.status NOT IN ({_RELEASED})
            AND b.starts_at >= week.begins AND b.starts_at < week.ends
            AND week.provider_id = ANY (b.provider_ids[2:])
        GROUP BY b.provider_id, b.starts_at
    ) AS given ON true
    GROUP BY week.provider_id"""  # noqa: S608 - made of constants
).bindparams(
    bindparam("provider_ids", type_=ARRAY(Uuid())),
    bindparam("begins", type_=ARRAY(TIMESTAMP(timezone=True))),
    bindparam("ends", type_=ARRAY(TIMESTAMP(timezone=True))),
)


async def turns(
    session: AsyncSession, service_id: UUID, provider_ids: Sequence[UUID]
) -> dict[UUID, Turns]:
    """The turns that each of these had of the service lately."""
    rows = await session.execute(
        _TURNS, {"service_id": service_id, "provider_ids": list(provider_ids)}
    )
    booked: dict[UUID, dict[int, int]] = {i: {} for i in provider_ids}
    joined: dict[UUID, int] = {}
    last: dict[UUID, datetime | None] = {}
    for row in rows:
        joined[row.provider_id] = row.joined
        if row.booked:
            booked[row.provider_id][row.era] = row.booked
            last[row.provider_id] = max(row.last, last.get(row.provider_id) or row.last)
    return {i: Turns(booked[i], joined.get(i, 0), last.get(i)) for i in provider_ids}


async def loads(
    session: AsyncSession, weeks: Mapping[UUID, tuple[datetime, datetime]]
) -> tuple[dict[UUID, int], dict[UUID, datetime | None]]:
    """The minutes booked of each provider's week, of whatever service, and when last they were."""
    parameters = {
        "provider_ids": list(weeks),
        "begins": [begins for begins, _ in weeks.values()],
        "ends": [ends for _, ends in weeks.values()],
    }
    rows = (await session.execute(_LOADS, parameters)).all()
    return {r.provider_id: r.minutes for r in rows}, {r.provider_id: r.last for r in rows}
