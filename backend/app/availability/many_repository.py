"""The SQL that takes and gives back many times at once: as many statements as for one."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    TIMESTAMP,
    Integer,
    Text,
    Uuid,
    bindparam,
    column,
    func,
    insert,
    select,
    text,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB, TSTZRANGE
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.models import NO_OVERLAP, Allocation, SeatClaim
from app.availability.repository import REFILLING, How
from app.database import table

_INSTANT = TIMESTAMP(timezone=True)


def many_takings() -> tuple[CTE, list[CTE]]:
    """Like `repository.takings`, for the rows of a parameter `taken_many` (see `row_of`).

    The CTE has a row for each subject of which time was taken; an `id` with fewer than it has
    subjects could not be taken wholly, and the rest must be given back.
    """
    wanted = (
        func.jsonb_to_recordset(bindparam("taken_many", type_=JSONB()))
        .table_valued(
            column("how", Text()),
            column("id", Uuid()),
            column("claim_id", Uuid()),
            column("subject_ids", ARRAY(Uuid())),
            column("lead_id", Uuid()),
            column("begins", _INSTANT),
            column("until", _INSTANT),
            column("capacity", Integer()),
            column("seats", Integer()),
            column("service_id", Uuid()),
            column("starts_at", _INSTANT),
            column("ends_at", _INSTANT),
            column("expires_at", _INSTANT),
            column("claim_expires_at", _INSTANT),
        )
        .render_derived(name="wanted", with_types=True)
    )
    want, allocations = wanted.c, table(Allocation)
    subjects = (
        func.unnest(want.subject_ids)
        .table_valued(column("subject", Uuid()))
        .render_derived(name="subjects")
    )
    subject = subjects.c.subject
    inserted = (
        postgresql.insert(allocations)
        .from_select(
            [
                *("subject_id", "id", "during", "kind", "capacity", "seats_taken"),
                *("service_id", "starts_at", "ends_at", "expires_at"),
            ],
            select(
                subject,
                want.id,
                func.tstzrange(want.begins, want.until, type_=TSTZRANGE()),
                text("'booking'"),
                want.capacity,
                want.seats,
                want.service_id,
                want.starts_at,
                want.ends_at,
                want.expires_at,
            )
            .select_from(wanted.join(subjects, true()))
            .where(want.how != How.SEATS.value)
            .order_by(want.begins, subject),
        )
        .on_conflict_do_nothing(constraint=NO_OVERLAP)
        .returning(allocations.c.subject_id, allocations.c.id)
        .cte("inserted")
    )
    joined = (
        update(allocations)
        .where(
            want.how == How.SEATS.value,
            allocations.c.id == want.id,
            allocations.c.seats_taken + want.seats <= allocations.c.capacity,
        )
        .values(seats_taken=allocations.c.seats_taken + want.seats)
        .returning(allocations.c.subject_id, allocations.c.id)
        .cte("joined")
    )
    taken = union_all(select(*inserted.c), select(*joined.c)).cte("taken")
    claims = (
        select(want.claim_id, taken.c.subject_id, taken.c.id, want.seats, want.claim_expires_at)
        .select_from(wanted)
        .join(taken, (taken.c.id == want.id) & (taken.c.subject_id == want.lead_id))
        .where(want.how != How.EXCLUSIVE.value)
    )
    columns = ["id", "subject_id", "allocation_id", "seats", "expires_at"]
    return taken, [insert(table(SeatClaim)).from_select(columns, claims).cte("claimed")]


def row_of(how: How, parameters: dict[str, Any]) -> dict[str, Any]:
    """One of `taken_many`, from the parameters of a taking."""
    values = {name.removeprefix("taken_"): value for name, value in parameters.items()}
    during = values.pop("during", None)
    if during is not None:
        values |= {"begins": during.lower, "until": during.upper}
    return {"how": how.value} | {name: json_value(value) for name, value in values.items()}


def json_value(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    """A column's value for `jsonb_to_recordset`."""
    match value:
        case UUID():
            return str(value)
        case datetime():
            return value.isoformat()
        case bytes():
            return f"\\x{value.hex()}"
        case list() | tuple():
            return [json_value(item) for item in value]
        case _:
            return value


_LOCK = text(
    "SELECT pg_advisory_xact_lock(key) FROM (SELECT DISTINCT"
    " ('x' || right(replace(subject_id::text, '-', ''), 16))::bit(64)::bigint AS key"
    " FROM allocations WHERE id = ANY (:allocation_ids) ORDER BY key) AS sorted"
).bindparams(bindparam("allocation_ids", type_=ARRAY(Uuid())))

_RELEASE = text(
    f"""WITH wanted AS (
        SELECT * FROM unnest(:claim_ids, :allocation_ids) AS w (claim_id, allocation_id)
    ), given AS (
        DELETE FROM session_seats c USING wanted w
        WHERE c.allocation_id = w.allocation_id AND c.id = w.claim_id
        RETURNING c.allocation_id, c.seats
    ), seats AS (
        SELECT allocation_id, sum(seats) AS seats FROM given GROUP BY allocation_id
    ), freed AS (
        DELETE FROM allocations a USING wanted w LEFT JOIN seats s USING (allocation_id)
        WHERE a.id = w.allocation_id
            AND (w.claim_id = w.allocation_id OR a.seats_taken <= s.seats)
        RETURNING a.subject_id, a.during
    ), {REFILLING}, emptier AS (
        UPDATE allocations a SET seats_taken = a.seats_taken - s.seats FROM seats s
        WHERE a.id = s.allocation_id AND a.seats_taken > s.seats
        RETURNING a.subject_id
    ), changed AS (
        SELECT subject_id FROM freed UNION SELECT subject_id FROM emptier
    ) INSERT INTO calendars (subject_id) SELECT subject_id FROM changed
    ON CONFLICT (subject_id) DO UPDATE
    SET version = calendars.version + 1, changed_at = now()"""  # noqa: S608 - made of constants
).bindparams(
    bindparam("claim_ids", type_=ARRAY(Uuid())), bindparam("allocation_ids", type_=ARRAY(Uuid()))
)


async def release(session: AsyncSession, claims: Sequence[tuple[UUID, UUID]]) -> None:
    """Give back what each `(claim_id, allocation_id)` has taken, exclusive time and seats alike.

    Two round trips: the locks of all whose time it is, and then all the rest.
    """
    allocation_ids = [allocation_id for _, allocation_id in claims]
    await session.execute(_LOCK, {"allocation_ids": allocation_ids})
    claim_ids = [claim_id for claim_id, _ in claims]
    await session.execute(_RELEASE, {"claim_ids": claim_ids, "allocation_ids": allocation_ids})
