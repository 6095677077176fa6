"""The SQL of time off: the wish, and the time it takes.

Time off takes what nobody has: where a booking or hold is, there can be no other allocation. So it
is taken in pieces, and whoever gives time back calls `refill`.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    bindparam,
    delete,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP, TSTZRANGE, Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.models import Allocation, TimeOff
from app.core.pagination import Keyset
from app.database import AnyRow
from app.providers.models import Provider

_START: ColumnElement[datetime] = func.lower(TimeOff.during, type_=TIMESTAMP(timezone=True))

TIME_OFF = Keyset(TimeOff.id, {"start": _START, "created_at": TimeOff.created_at})

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


async def owned_by(session: AsyncSession, user_id: UUID) -> Sequence[AnyRow]:
    """All time off in the calendar that this account owns, in order."""
    rows: Sequence[AnyRow] = (
        await session.execute(
            select(
                TimeOff.id,
                _START.label("start"),
                func.upper(TimeOff.during).label("end"),
                TimeOff.reason,
                TimeOff.created_at,
                TimeOff.updated_at,
            )
            .join(Provider, Provider.id == TimeOff.provider_id)
            .where(Provider.user_id == user_id)
            .order_by(TimeOff.during, TimeOff.id)
        )
    ).all()
    return rows


async def forget_reasons(session: AsyncSession, user_id: UUID) -> Sequence[UUID]:
    """Empty the reasons for time off in the calendar that this account owns; whose had one?"""
    forgotten = await session.scalars(
        update(TimeOff)
        .where(
            TimeOff.provider_id == Provider.id,
            Provider.user_id == user_id,
            TimeOff.reason != "",
        )
        .values(reason="", version=TimeOff.version + 1)
        .returning(TimeOff.id)
        .execution_options(synchronize_session=False)
    )
    return forgotten.all()
