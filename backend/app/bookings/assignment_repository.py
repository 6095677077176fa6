"""The SQL of assignment: what those who give a service have been given.

It is read with the plan, by the look under locks. Bookings of one provider at one time are one
group session and count once.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ARRAY, TIMESTAMP, Interval, Text

from app.availability.service import Inquiry, Look
from app.bookings.assignment import LEAST_BUSY, ROUND_ROBIN, TURNS_REMEMBERED, Load, Turns
from app.bookings.rules import RELEASED

_RELEASED = ", ".join(f"'{status}'" for status in sorted(RELEASED))
_COUNTS = f"b.status NOT IN ({_RELEASED}) AND (b.status <> 'pending' OR b.expires_at > :now)"

# When a booking was made, and when somebody joined, are both the database's own time.
_TURNS = Look(
    f"""(
        WITH eras AS (
            SELECT coalesce(array_agg(DISTINCT o.since ORDER BY o.since), '{{}}') AS begins
            FROM service_providers o WHERE o.service_id = s.id AND o.since > now() - :remembered
        ), booked AS (
            SELECT width_bucket(turn.taken_at, eras.begins) AS era, count(*) AS turns,
                max(turn.taken_at) AS last
            FROM eras, LATERAL (
                SELECT min(b.created_at) AS taken_at FROM bookings b
                WHERE b.provider_id = p.id AND b.service_id = s.id
                    AND b.created_at > now() - :remembered AND {_COUNTS}
                GROUP BY b.starts_at
            ) AS turn
            GROUP BY era
        )
        SELECT jsonb_build_object(
            'strategy', '{ROUND_ROBIN}',
            'joined', coalesce((SELECT array_position(begins, sp.since) FROM eras), 0),
            'booked', coalesce(jsonb_object_agg(era, turns), '{{}}'),
            'last', extract(epoch FROM max(last))
        ) FROM booked
    )""",  # noqa: S608 - made of constants
    remembered=Interval(),
)

_LOADS = Look(
    f"""(
        SELECT jsonb_build_object(
            'strategy', '{LEAST_BUSY}',
            'minutes', coalesce(sum(given.minutes), 0),
            'last', extract(epoch FROM max(given.made_at))
        )
        FROM unnest(:zones, :week_begins, :week_ends) AS week (zone, begins, ends)
        CROSS JOIN LATERAL (
            SELECT max(b.duration_minutes) AS minutes, max(b.created_at) AS made_at FROM bookings b
            WHERE b.provider_id = p.id AND {_COUNTS}
                AND b.starts_at >= week.begins AND b.starts_at < week.ends
            GROUP BY b.starts_at
            UNION ALL
            SELECT max(b.duration_minutes), max(b.created_at)
            FROM services o JOIN bookings b ON b.service_id = o.id
            WHERE o.assignment = 'collective' AND {_COUNTS}
                AND b.starts_at >= week.begins AND b.starts_at < week.ends
                AND p.id = ANY (b.provider_ids[2:])
            GROUP BY b.provider_id, b.starts_at
        ) AS given
        WHERE week.zone = h.time_zone
    )""",  # noqa: S608 - made of constants
    zones=ARRAY(Text()),
    week_begins=ARRAY(TIMESTAMP(timezone=True)),
    week_ends=ARRAY(TIMESTAMP(timezone=True)),
)


def turns_lately() -> Inquiry:
    """The turns that each had of the service; see `turns`."""
    return Inquiry(_TURNS, {"remembered": TURNS_REMEMBERED})


def loads_in(weeks: Mapping[str, tuple[datetime, datetime]]) -> Inquiry:
    """What each has been given, of whatever service, in the week of their zone; see `load`."""
    return Inquiry(
        _LOADS,
        {
            "zones": list(weeks),
            "week_begins": [begins for begins, _ in weeks.values()],
            "week_ends": [ends for _, ends in weeks.values()],
        },
    )


def turns(records: Mapping[str, Any]) -> Turns:
    booked = {int(era): turns for era, turns in records["booked"].items()}
    return Turns(booked, records["joined"], _instant(records["last"]))


def load(records: Mapping[str, Any]) -> Load:
    return Load(records["minutes"], _instant(records["last"]))


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
