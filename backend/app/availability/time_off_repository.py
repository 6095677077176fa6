"""The SQL of time off: the wish, and the time it takes.

Time off takes what nobody has: where a booking or hold is, there can be no other allocation. So it
is taken in pieces, and whoever gives time back calls `refill`.
"""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    bindparam,
    delete,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP, TSTZRANGE, Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.models import Allocation, TimeOff
from app.core.pagination import Keyset

_START: ColumnElement[datetime] = func.lower(TimeOff.during, type_=TIMESTAMP(timezone=True))

TIME_OFF = Keyset(TimeOff.id, {"start": _START, "created_at": TimeOff.created_at})

_LOCK = select(
    func.pg_advisory_xact_lock(func.unnest(bindparam("keys", type_=ARRAY(BigInteger()))))
)

REFILLING = text(
    """
    WITH missing AS (
        SELECT unnest(
            (
                SELECT range_agg(during) FROM time_off
                WHERE provider_id = :subject_id AND during && :during
            )
            * tstzmultirange(:during)
            - coalesce(
                (
                    SELECT range_agg(during) FROM allocations
                    WHERE subject_id = :subject_id AND during && :during
                ),
                '{}'
            )
        ) AS during
    ), filled AS (
        INSERT INTO allocations (id, subject_id, during, kind)
        SELECT gen_random_uuid(), :subject_id, during, 'time_off' FROM missing
        ON CONFLICT ON CONSTRAINT ex_allocations_subject_id_during DO NOTHING
        RETURNING id
    )
    SELECT (SELECT count(*) FROM missing) - (SELECT count(*) FROM filled)
    """
).bindparams(
    bindparam("subject_id", type_=Allocation.subject_id.type),
    bindparam("during", type_=TSTZRANGE()),
)
"""Takes what time off wants of `during` and nobody has; tells how many pieces somebody else got."""

_EMPTYING = (
    text(
        """
    WITH gone AS (
        DELETE FROM allocations
        WHERE subject_id = :subject_id AND kind = 'time_off' AND during && :during
        RETURNING during
    )
    SELECT range_merge(range_agg(during)) AS during FROM gone
    """
    )
    .bindparams(
        bindparam("subject_id", type_=Allocation.subject_id.type),
        bindparam("during", type_=TSTZRANGE()),
    )
    .columns(during=TSTZRANGE())
)


async def lock_subjects(session: AsyncSession, ids: Iterable[UUID]) -> None:
    """Wait until nobody else decides about the time of these subjects, and keep it so until commit.

    One round trip; always in the same order, so that two who want several do not wait for each
    other. Late and once: what was read before may have changed meanwhile.
    """
    # Half of a UUIDv7 is random: as good a key as a hash of the whole.
    keys = sorted({int.from_bytes(i.bytes[8:], signed=True) for i in ids})
    await session.execute(_LOCK, {"keys": keys})


async def refill(session: AsyncSession, subject_id: UUID, during: Range[datetime]) -> None:
    """Let time off take what it wants of time that is not taken (any more).

    The caller holds the subject's lock, else time off that somebody adds at this moment and time
    that somebody gives back at this moment would not see each other. One round trip, and one more
    each time somebody without the lock was faster.
    """
    parameters = {"subject_id": subject_id, "during": during}
    while await session.scalar(REFILLING, parameters):
        pass


async def empty(
    session: AsyncSession, subject_id: UUID, during: Range[datetime]
) -> Range[datetime] | None:
    """Free all pieces of time off that `during` touches; returns the range they lay in."""
    parameters = {"subject_id": subject_id, "during": during}
    emptied: Range[datetime] | None = await session.scalar(_EMPTYING, parameters)
    return emptied


async def drop_expired_holds(
    session: AsyncSession, subject_id: UUID, during: Range[datetime], now: datetime
) -> None:
    """Remove the holds in the way that are over."""
    await session.execute(
        delete(Allocation).where(
            Allocation.subject_id == subject_id,
            Allocation.during.op("&&")(literal(during, TSTZRANGE())),
            Allocation.expires_at <= now,
        )
    )


async def forget_subject(session: AsyncSession, subject_id: UUID) -> None:
    """Remove all that is taken of a subject that is no more."""
    await session.execute(delete(Allocation).where(Allocation.subject_id == subject_id))


async def time_off(session: AsyncSession, provider_id: UUID, time_off_id: UUID) -> TimeOff | None:
    return await session.scalar(
        select(TimeOff).where(TimeOff.id == time_off_id, TimeOff.provider_id == provider_id)
    )


def time_off_of(
    provider_id: UUID, *, start: datetime | None, end: datetime | None
) -> Select[TimeOff]:
    """A provider's time off; with bounds, what lies between them at least in part."""
    statement = select(TimeOff).where(TimeOff.provider_id == provider_id)
    if start is not None or end is not None:
        between = literal(Range(start, end), TSTZRANGE())
        statement = statement.where(TimeOff.during.op("&&")(between))
    return statement
