"""The SQL that takes time, and gives it back: allocations and the seats of sessions.

Statements are built once, when the module is imported: to build one takes longer than to run it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    TIMESTAMP,
    ColumnElement,
    Integer,
    Uuid,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.models import NO_OVERLAP, Allocation, SeatClaim
from app.database import table
from app.schedules.service import raising_calendar_version


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
_INSTANT = TIMESTAMP(timezone=True)
_ALLOCATION = table(Allocation).c
_CLAIM = table(SeatClaim).c
_NOW = bindparam("taken_now", type_=_INSTANT)
_UNTIL = bindparam("taken_claim_expires_at", type_=_INSTANT)


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
            .values(id=bindparam("taken_claim_id"), kind="booking", expires_at=_UNTIL)
            .returning(_ALLOCATION.subject_id, _ALLOCATION.id)
        ),
        How.HELD_SEATS: (
            update(table(SeatClaim))
            .where(
                _CLAIM.id == bindparam("taken_hold_id", type_=Uuid()),
                _CLAIM.expires_at > _NOW,
                condition,
            )
            .values(id=bindparam("taken_claim_id"), expires_at=_UNTIL)
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
        _UNTIL,
    ).where(taken.c.subject_id == bindparam("taken_lead_id", type_=Uuid()))
    columns = ["id", "subject_id", "allocation_id", "seats", "expires_at"]
    return insert(table(SeatClaim)).from_select(columns, row).cte("claimed")


def keeping() -> tuple[ColumnElement[bool], list[CTE]]:
    """CTEs that let what a request has taken until a moment be taken for good.

    With them goes the condition under which all of it was still there: whoever came across it after
    its end has removed it. The calendars get their next versions, for somebody may have been told
    by a faster clock that it was free. The parameters are those of `kept`.
    """
    claim_id = bindparam("kept_claim_id", type_=Uuid())
    subjects = select(func.unnest(bindparam("kept_subject_ids", type_=ARRAY(Uuid()))))
    time, seats = (
        update(of)
        .where(of.c.id == claim_id)
        .values(expires_at=None)
        .returning(of.c.subject_id)
        .cte(f"kept_{name}")
        for name, of in (("time", table(Allocation)), ("seats", table(SeatClaim)))
    )
    count = select(func.count()).select_from(union_all(select(time), select(seats)).subquery())
    all_there = count.scalar_subquery() >= bindparam("kept_rows", type_=Integer())
    return all_there, [time, seats, raising_calendar_version(subjects).cte("raised")]


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
    session: AsyncSession,
    claim_id: UUID,
    allocation_id: UUID,
    subject_ids: Sequence[UUID],
    *,
    now: datetime,
    until: datetime,
) -> bool:
    """Let a hold's time end later, in one round trip; False: it has ended already.

    The calendars get their next versions, as in `keeping`.
    """
    of = table(Allocation if claim_id == allocation_id else SeatClaim)
    extended = (
        update(of)
        .where(of.c.id == claim_id, of.c.expires_at > now)
        .values(expires_at=until)
        .returning(of.c.subject_id)
        .cte("extended")
    )
    subjects = select(func.unnest(literal(list(subject_ids), ARRAY(Uuid()))))
    raised = raising_calendar_version(subjects).cte("raised")
    found = await session.execute(select(extended.c.subject_id).add_cte(raised))
    return found.first() is not None


async def lock_allocation(session: AsyncSession, allocation_id: UUID) -> None:
    """`lock_subjects` for all whose time this allocation takes. One round trip."""
    await session.execute(_LOCK_ALLOCATION, {"allocation_id": allocation_id})


async def raise_calendar_versions(session: AsyncSession, subject_ids: Sequence[UUID]) -> None:
    subjects = select(func.unnest(literal(list(subject_ids), ARRAY(Uuid()))))
    await session.execute(raising_calendar_version(subjects))


async def undo(session: AsyncSession, allocation_id: UUID) -> None:
    """Remove what was taken of some subjects when others were not to be had."""
    await session.execute(delete(Allocation).where(Allocation.id == allocation_id))
