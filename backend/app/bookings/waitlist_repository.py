"""The SQL of waiting lists.

An offer is good for as long as its hold is there; whatever has ended the hold has ended it too.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    TIMESTAMP,
    BigInteger,
    ColumnElement,
    Select,
    Uuid,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.auth.models import User
from app.bookings.hold_models import Hold
from app.bookings.rules import RELEASED
from app.bookings.waitlist_models import WaitlistEntry
from app.bookings.waitlist_schemas import EntryStatus
from app.catalog.models import Service
from app.core.cleaning import remove_some
from app.core.events import Event
from app.core.jobs import enqueue_all
from app.core.pagination import Keyset
from app.core.prepared import Prepared
from app.database import AnyRow
from app.providers.models import Provider

OFFER = "waitlist.offer"
"""The job that looks who in a service's waiting list can be offered something."""

ENTRIES = Keyset(WaitlistEntry.id, {"created_at": WaitlistEntry.created_at})
_LIVE = (EntryStatus.WAITING.value, EntryStatus.OFFERED.value)
_RELEASED = ", ".join(f"'{status}'" for status in sorted(RELEASED))

# What a room is given back for may be another service's, by other providers.
_WAITED_FOR = Prepared(
    text(
        """SELECT DISTINCT w.service_id FROM waitlist_entries w
        JOIN services s ON s.id = w.service_id
        WHERE w.status IN ('waiting', 'offered') AND (
            EXISTS (
                SELECT FROM service_providers sp
                WHERE sp.service_id = w.service_id AND sp.provider_id = ANY (:subject_ids))
            OR s.resource_requirements <> '[]' AND EXISTS (
                SELECT FROM resources r
                WHERE r.id = ANY (:subject_ids) AND r.kind IN (
                    SELECT q ->> 'resource_kind'
                    FROM jsonb_array_elements(s.resource_requirements) q)))"""
    ).bindparams(bindparam("subject_ids", type_=ARRAY(Uuid())))
)

# Whoever booked the hold directly has accepted as well.
_END_OFFERS = text(
    f"""WITH ended AS (
        SELECT w.id, w.windows - tstzmultirange(w.offered_during) AS rest, (
            SELECT b.id FROM bookings b
            WHERE b.customer_id = w.customer_id AND b.service_id = w.service_id
                AND b.starts_at = lower(w.offered_during) AND b.created_at >= w.updated_at
                AND b.status NOT IN ({_RELEASED})
                AND (b.status <> 'pending' OR b.expires_at > :now)
            LIMIT 1
        ) AS booking_id
        FROM waitlist_entries w LEFT JOIN holds h ON h.id = w.hold_id AND h.expires_at > :now
        WHERE w.id = ANY (:ids) AND w.status = 'offered' AND h.id IS NULL
    ), over AS (
        SELECT w.id, coalesce(ended.rest, w.windows) AS rest, ended.booking_id
        FROM waitlist_entries w LEFT JOIN ended ON ended.id = w.id
        WHERE ended.id IS NOT NULL
            OR w.id = ANY (:ids) AND w.status = 'waiting' AND upper(w.windows) <= :now
    )
    UPDATE waitlist_entries w SET
        status = CASE WHEN over.booking_id IS NOT NULL THEN 'accepted'
            WHEN isempty(over.rest) OR upper(over.rest) <= :now THEN 'expired'
            ELSE 'waiting' END,
        windows = over.rest, booking_id = over.booking_id,
        hold_id = NULL, offered_until = NULL, offered_during = NULL,
        version = w.version + 1, updated_at = now()
    FROM over WHERE over.id = w.id
    RETURNING w.id, w.status"""  # noqa: S608 - made of constants
).bindparams(
    bindparam("ids", type_=ARRAY(Uuid())), bindparam("now", type_=TIMESTAMP(timezone=True))
)

_LOCK = select(func.pg_advisory_xact_lock(bindparam("key", type_=BigInteger())))


async def announce(session: AsyncSession, subject_ids: Sequence[UUID]) -> None:
    """Tell those who wait that time of these providers and resources may have become free.

    One round trip, and another one if anybody waits. It is heard once the session commits.
    """
    rows = await _WAITED_FOR.all(session, {"subject_ids": list(subject_ids)})
    await _look_at(session, [row.service_id for row in rows])


async def announce_all(session: AsyncSession) -> None:
    """The same for every service that somebody waits for."""
    waited_for = await session.scalars(
        select(WaitlistEntry.service_id).where(WaitlistEntry.status.in_(_LIVE)).distinct()
    )
    await _look_at(session, waited_for.all())


async def announce_service(session: AsyncSession, service_id: UUID) -> None:
    await _look_at(session, [service_id])


async def _look_at(session: AsyncSession, service_ids: Sequence[UUID]) -> None:
    await enqueue_all(session, OFFER, dict.fromkeys(service_ids, timedelta()))


async def lock_list(session: AsyncSession, service_id: UUID) -> None:
    """Until commit nobody else offers times to who waits for this service. One round trip."""
    key = hashlib.sha256(b"waitlist\0" + service_id.bytes).digest()[:8]
    await session.execute(_LOCK, {"key": int.from_bytes(key, signed=True)})


async def live_entries(session: AsyncSession, service_id: UUID) -> Sequence[WaitlistEntry]:
    """Who waits, or has an offer, in order and locked; who is acting at this moment is left out.

    What they do is announced when they have done it.
    """
    found = await session.scalars(
        select(WaitlistEntry)
        .where(WaitlistEntry.service_id == service_id, WaitlistEntry.status.in_(_LIVE))
        .order_by(WaitlistEntry.id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return found.all()


async def end_offers(session: AsyncSession, ids: Sequence[UUID], now: datetime) -> Sequence[AnyRow]:
    """End what is over of these, offers and waits alike; what each is then. One round trip."""
    rows: Sequence[AnyRow] = (
        await session.execute(_END_OFFERS, {"ids": list(ids), "now": now})
    ).all()
    return rows


async def entry_for_update(session: AsyncSession, entry_id: UUID) -> WaitlistEntry | None:
    return await session.scalar(
        select(WaitlistEntry)
        .where(WaitlistEntry.id == entry_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def live_count(session: AsyncSession, customer_id: UUID) -> int:
    count: int = (
        await session.execute(
            select(func.count()).where(
                WaitlistEntry.customer_id == customer_id, WaitlistEntry.status.in_(_LIVE)
            )
        )
    ).scalar_one()
    return count


async def was_offered(session: AsyncSession, entry_id: UUID) -> bool:
    """Whether there has been an offer, which is over."""
    offered = select(Event.id).where(
        Event.subject_type == "waitlist",
        Event.subject_id == entry_id,
        Event.type == "waitlist.offered",
    )
    found: bool = (await session.execute(select(offered.exists()))).scalar_one()
    return found


def entries(
    now: datetime | ColumnElement[datetime],
    *,
    visible_to: UUID | None = None,
    service_id: UUID | None = None,
    status: str | None = None,
) -> Select[Any]:
    """Entries with the names of those concerned and their offers, if these are good at `now`."""
    giver, wished = aliased(Provider), aliased(Provider)
    effective = _status_at()
    statement = (
        select(
            *(column for column in WaitlistEntry.__table__.c if column.key != "status"),
            effective.label("status"),
            Service.name.label("service_name"),
            wished.display_name.label("provider_name"),
            Hold.id.label("offer_id"),
            Hold.starts_at.label("offer_starts_at"),
            Hold.ends_at.label("offer_ends_at"),
            Hold.time_zone.label("offer_time_zone"),
            Hold.expires_at.label("offer_until"),
            giver.id.label("offer_provider_id"),
            giver.display_name.label("offer_provider_name"),
        )
        .select_from(WaitlistEntry)
        .join(Service, Service.id == WaitlistEntry.service_id)
        .outerjoin(wished, wished.id == WaitlistEntry.provider_id)
        .outerjoin(Hold, and_(Hold.id == WaitlistEntry.hold_id, Hold.expires_at > now))
        .outerjoin(giver, giver.id == Hold.provider_id)
    )
    if visible_to is not None:
        statement = statement.where(WaitlistEntry.customer_id == visible_to)
    if service_id is not None:
        statement = statement.where(WaitlistEntry.service_id == service_id)
    if status is not None:
        statement = statement.where(effective == status)
    return statement


def _status_at() -> ColumnElement[str]:
    """Nobody has to have noticed that an offer is over: then they wait again."""
    is_over = and_(WaitlistEntry.status == EntryStatus.OFFERED.value, Hold.id.is_(None))
    return case((is_over, literal(EntryStatus.WAITING.value)), else_=WaitlistEntry.status)


async def entry(session: AsyncSession, entry_id: UUID, now: datetime) -> AnyRow | None:
    statement = entries(now).where(WaitlistEntry.id == entry_id)
    row: AnyRow | None = (await session.execute(statement)).one_or_none()
    return row


async def offer_to_mail(session: AsyncSession, entry_id: UUID, now: datetime) -> AnyRow | None:
    """An offer that is good at `now`, with the address of whom it is made to."""
    statement = (
        entries(now)
        .add_columns(
            User.email.label("customer_email"),
            User.time_zone.label("customer_zone"),
            User.locale.label("customer_locale"),
        )
        .join(User, User.id == WaitlistEntry.customer_id)
        .where(WaitlistEntry.id == entry_id, Hold.id.is_not(None))
    )
    row: AnyRow | None = (await session.execute(statement)).one_or_none()
    return row


async def of_customer(session: AsyncSession, customer_id: UUID) -> Sequence[AnyRow]:
    statement = entries(func.now(), visible_to=customer_id).order_by(WaitlistEntry.id)
    rows: Sequence[AnyRow] = (await session.execute(statement)).all()
    return rows


async def forget(session: AsyncSession, customer_id: UUID) -> None:
    """Remove somebody from all waiting lists."""
    await session.execute(
        delete(WaitlistEntry)
        .where(WaitlistEntry.customer_id == customer_id)
        .execution_options(synchronize_session=False)
    )


async def forget_ended(session: AsyncSession, before: datetime, most: int) -> int:
    """Remove entries that nothing has become of, or a booking, before this instant: so many."""
    has_ended = WaitlistEntry.status.not_in(_LIVE) & (WaitlistEntry.updated_at < before)
    return await remove_some(session, WaitlistEntry, has_ended, most)
