"""The SQL of holds."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    TIMESTAMP,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Text,
    bindparam,
    func,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.service import Taking, takings
from app.bookings.hold_models import Hold
from app.bookings.repository import all_taken, prefixed, row_if_taken
from app.catalog.models import Service
from app.core.events import EVENT_COLUMNS, Event
from app.core.jobs import NewJob, enqueued, enqueuing
from app.core.prepared import Prepared
from app.database import AnyRow, table
from app.providers.models import Provider
from app.schedules.service import raising_calendar_version

NEW_HOLD = (
    "id",
    "service_id",
    "provider_id",
    "allocation_id",
    "location_id",
    "provider_ids",
    "resource_ids",
    "customer_id",
    "caller",
    "secret_digest",
    "starts_at",
    "ends_at",
    "time_zone",
    "duration_minutes",
    "seats",
    "assigned",
    "expires_at",
)


@dataclass(frozen=True, slots=True)
class Cap:
    """How many holds a caller may have at `now`; None: any number."""

    caller: str
    now: datetime
    most: int | None


def _within_cap() -> ColumnElement[bool]:
    most = bindparam("cap_most", type_=Integer())
    live = (
        select(func.count())
        .where(
            Hold.caller == bindparam("cap_caller", type_=Text()),
            Hold.expires_at > bindparam("cap_now", type_=TIMESTAMP(timezone=True)),
        )
        .scalar_subquery()
    )
    return or_(most.is_(None), live < most)


def _hold(taken: CTE, parts: list[CTE]) -> Select[Any]:
    holds = table(Hold)
    held = row_if_taken(taken, holds, "hold_", NEW_HOLD).returning(*holds.c).cte("held")
    logged = row_if_taken(taken, table(Event), "event_", EVENT_COLUMNS).cte("logged")
    raised = raising_calendar_version(select(taken.c.subject_id)).cte("raised")
    ending = enqueuing(only_if=all_taken(taken))
    return select(held).add_cte(*parts, logged, raised, *ending)


# Built once: to build them takes longer than to run them.
_HOLD = {how: Prepared(_hold(*taking)) for how, taking in takings(_within_cap()).items()}
_LOCK = select(func.pg_advisory_xact_lock(bindparam("key", type_=BigInteger())))
_NAMED = (
    select(Service.name.label("service_name"), Provider.display_name.label("provider_name"))
    .select_from(Hold)
    .join(Service, Service.id == Hold.service_id)
    .join(Provider, Provider.id == Hold.provider_id)
)


async def hold(
    session: AsyncSession,
    *,
    taking: Taking,
    hold: dict[str, Any],
    event: dict[str, Any],
    job: NewJob,
    cap: Cap,
) -> AnyRow | None:
    """Take the time, write the hold, its event, the job that ends it, the calendars' next versions.

    One statement, one round trip. None: somebody else was faster, or the caller has enough; of
    several subjects some may then have been taken.
    """
    parameters = (
        taking.parameters
        | {"taken_subjects": taking.subjects}
        | prefixed("hold_", hold)
        | prefixed("event_", event)
        | prefixed("cap_", asdict(cap))
        | enqueued([job])
    )
    row: AnyRow | None = await _HOLD[taking.how].first(session, parameters)
    return row


async def lock_caller(session: AsyncSession, caller: str) -> None:
    """Until commit nobody else counts this caller's holds. One round trip."""
    key = hashlib.sha256(f"holds\0{caller}".encode()).digest()[:8]
    await session.execute(_LOCK, {"key": int.from_bytes(key, signed=True)})


async def is_within(session: AsyncSession, cap: Cap) -> bool:
    """Whether the caller may hold one more."""
    parameters = prefixed("cap_", asdict(cap))
    allowed: bool = (await session.execute(select(_within_cap()), parameters)).scalar_one()
    return allowed


async def hold_for_update(session: AsyncSession, hold_id: UUID) -> Hold | None:
    """The hold, locked: whoever ends or uses it comes first, and its time after it."""
    return await session.scalar(
        select(Hold)
        .where(Hold.id == hold_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def overdue(session: AsyncSession, before: datetime, most: int) -> Sequence[UUID]:
    """Holds that ended before this instant and are still there, the oldest first."""
    found = await session.scalars(
        select(Hold.id).where(Hold.expires_at < before).order_by(Hold.expires_at).limit(most)
    )
    return found.all()


async def names(session: AsyncSession, hold_id: UUID) -> AnyRow:
    """What the service and the provider of a hold are called."""
    row: AnyRow = (await session.execute(_NAMED.where(Hold.id == hold_id))).one()
    return row


async def has_ended(session: AsyncSession, hold_id: UUID, user_id: UUID | None) -> bool:
    """Whether the log knows how a hold of this caller's ended; None: a visitor's."""
    about = select(Event.id).where(Event.subject_type == "hold", Event.subject_id == hold_id)
    created = about.where(
        Event.type == "hold.created", Event.actor_id.is_not_distinct_from(user_id)
    )
    ended = about.where(Event.type.in_(["hold.expired", "hold.released", "hold.used"]))
    found: bool = (await session.execute(select(created.exists() & ended.exists()))).scalar_one()
    return found
