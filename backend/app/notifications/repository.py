"""The SQL of notifications."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Text,
    Uuid,
    any_,
    bindparam,
    delete,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.auth.models import LoginSession, User
from app.bookings.models import Booking
from app.bookings.series_models import BookingSeries
from app.catalog.models import Service
from app.core.cleaning import remove_some
from app.core.events import Event
from app.core.prepared import Prepared
from app.database import AnyRow, table
from app.notifications.models import (
    Notification,
    NotificationPreferences,
    UnremindedAddress,
)
from app.notifications.rules import Topic
from app.providers.models import Provider

_MOST_AT_ONCE = 500

# A new version of a browser is no new device: only what is no number is compared.
_NEW_DEVICES = text(
    """SELECT s.id FROM sessions s
    WHERE s.id = ANY(:ids)
        AND EXISTS (SELECT FROM sessions o WHERE o.user_id = s.user_id AND o.id < s.id)
        AND NOT EXISTS (SELECT FROM sessions o WHERE o.user_id = s.user_id AND o.id < s.id
            AND regexp_replace(o.device, '[0-9.]+', '', 'g')
                = regexp_replace(s.device, '[0-9.]+', '', 'g'))"""
).bindparams(bindparam("ids", type_=ARRAY(Uuid())))


_NOTIFICATIONS = table(Notification).c
_IS_NAMED = _NOTIFICATIONS.id == bindparam("named", type_=Uuid())
# Built once: to build them takes longer than to run them.
_TO_SEND = Prepared(
    select(
        *_NOTIFICATIONS,
        Event.type.label("event_type"),
        Event.occurred_at,
        Event.before,
        Event.after,
        User.email,
        User.locale,
        User.time_zone,
        User.is_active,
        *(
            func.coalesce(getattr(NotificationPreferences, topic.value), True).label(topic)
            for topic in Topic
        ),
    )
    .outerjoin(Event, Event.id == _NOTIFICATIONS.event_id)
    .outerjoin(User, User.id == _NOTIFICATIONS.user_id)
    .outerjoin(NotificationPreferences, NotificationPreferences.user_id == _NOTIFICATIONS.user_id)
    .where(_IS_NAMED)
)
_OTHERS = Prepared(
    select(_NOTIFICATIONS.event_id, _NOTIFICATIONS.kind).where(
        _NOTIFICATIONS.booking_id == bindparam("booking", type_=Uuid()),
        _NOTIFICATIONS.audience == bindparam("addressed_as", type_=Text()),
        _NOTIFICATIONS.user_id.is_not_distinct_from(bindparam("account", type_=Uuid())),
        _NOTIFICATIONS.minutes_before.is_(None),
        ~_IS_NAMED,
    )
)
_SETTLE = Prepared(
    update(table(Notification))
    .where(_IS_NAMED, _NOTIFICATIONS.state != "sent")
    .values(
        state=bindparam("new_state", type_=Text()),
        sent_at=bindparam("new_sent_at", type_=_NOTIFICATIONS.sent_at.type),
    )
)


# --- What follows from the log ---------------------------------------------------------------
async def concerned(session: AsyncSession, booking_ids: Collection[UUID]) -> Mapping[UUID, AnyRow]:
    """Whom these bookings concern, and when they are. One round trip."""
    accounts = (
        select(func.array_agg(Provider.user_id, type_=ARRAY(Uuid())))
        .where(Provider.id == any_(Booking.provider_ids), Provider.user_id.is_not(None))
        .scalar_subquery()
    )
    rows = await session.execute(
        select(
            Booking.id,
            Booking.status,
            Booking.starts_at,
            Booking.series_id,
            Booking.customer_id,
            Booking.guest_email.is_not(None).label("is_guests"),
            accounts.label("provider_user_ids"),
            Service.reminder_minutes,
        )
        .join(Service, Service.id == Booking.service_id)
        .where(Booking.id == any_(_ids(booking_ids)))
    )
    return {row.id: row for row in rows}


async def series_concerned(
    session: AsyncSession, series_ids: Collection[UUID]
) -> Mapping[UUID, AnyRow]:
    """Whose these series are, and the account of who gives them. One round trip."""
    rows = await session.execute(
        select(BookingSeries.id, BookingSeries.customer_id, Provider.user_id)
        .outerjoin(Provider, Provider.id == BookingSeries.provider_id)
        .where(BookingSeries.id == any_(_ids(series_ids)))
    )
    return {row.id: row for row in rows}


async def accounts_of(
    session: AsyncSession, provider_ids: Collection[UUID]
) -> Mapping[UUID, UUID | None]:
    """The accounts of these providers. One round trip."""
    rows = await session.execute(
        select(Provider.id, Provider.user_id).where(Provider.id == any_(_ids(provider_ids)))
    )
    return {row.id: row.user_id for row in rows}


async def new_devices(session: AsyncSession, session_ids: Collection[UUID]) -> set[UUID]:
    """Those logins that were from a device which its account had never been used with before.

    An account's first login is none: there is nobody yet who would know better.
    """
    return set(await session.scalars(_NEW_DEVICES, {"ids": list(session_ids)}))


async def add(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> set[UUID]:
    """Store those that are not there yet; their ids. One round trip."""
    if not rows:
        return set()
    added = await session.scalars(
        insert(Notification).on_conflict_do_nothing().returning(Notification.id), rows
    )
    return set(added)


# --- Sending ---------------------------------------------------------------------------------
async def to_send(session: AsyncSession, notification_id: UUID) -> AnyRow | None:
    """A notification with its event, whom it is for, and what they want no mails about."""
    row: AnyRow | None = await _TO_SEND.first(session, {"named": notification_id})
    return row


async def others(session: AsyncSession, told: AnyRow) -> Sequence[AnyRow]:
    """What else the same person was to be told about the same booking: `event_id`, `kind`."""
    about = {"named": told.id, "booking": told.booking_id}
    return await _OTHERS.all(
        session, about | {"addressed_as": told.audience, "account": told.user_id}
    )


async def booked_in_series(session: AsyncSession, told: AnyRow) -> Sequence[UUID]:
    """The bookings that a mail about a series is about.

    Those of the whole series, or those that were called off together.
    """
    statement = select(Booking.id).where(Booking.series_id == told.series_id)
    if told.kind == "series_cancelled":
        this = aliased(Event)
        together = (
            select(Event.subject_id)
            .join(this, this.transaction_id == Event.transaction_id)
            .where(this.id == told.event_id, Event.type == "booking.cancelled")
        )
        statement = statement.where(Booking.id.in_(together))
    return (await session.scalars(statement.order_by(Booking.starts_at, Booking.id))).all()


async def login(session: AsyncSession, event: Any) -> AnyRow | None:  # noqa: ANN401 - what it says
    """The device and address of the login that an event tells of."""
    statement = select(LoginSession.device, LoginSession.address).where(
        LoginSession.id == UUID(event["session"])
    )
    row: AnyRow | None = (await session.execute(statement)).one_or_none()
    return row


async def reminder_minutes(session: AsyncSession, service_id: UUID) -> Sequence[int] | None:
    """How long before a booking of this service to remind of it; None: as everywhere."""
    return await session.scalar(select(Service.reminder_minutes).where(Service.id == service_id))


async def settle(
    session: AsyncSession, notification_id: UUID, state: str, *, sent_at: datetime | None = None
) -> None:
    """Note what has become of it, unless somebody else did."""
    await _SETTLE.all(
        session, {"named": notification_id, "new_state": state, "new_sent_at": sent_at}
    )


async def queue_due(session: AsyncSession, now: datetime, ahead: timedelta) -> Sequence[AnyRow]:
    """Take what is due by then out of the plan: `id`, `due_at`. One round trip."""
    due = (
        select(Notification.id)
        .where(Notification.state == "planned", Notification.due_at <= now + ahead)
        .order_by(Notification.due_at)
        .limit(_MOST_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    rows: Sequence[AnyRow] = (
        await session.execute(
            update(Notification)
            .where(Notification.id.in_(due))
            .values(state="queued")
            .returning(Notification.id, Notification.due_at)
            .execution_options(synchronize_session=False)
        )
    ).all()
    return rows


async def forget_before(session: AsyncSession, instant: datetime, most: int) -> int:
    """Forget what was written before then, but for what is yet to come; how many it were."""
    is_old = (Notification.created_at < instant) & (Notification.state != "planned")
    return await remove_some(session, Notification, is_old, most)


# --- Who wants none --------------------------------------------------------------------------
async def preferences(
    session: AsyncSession, user_id: UUID, *, lock: bool = False
) -> NotificationPreferences | None:
    statement = select(NotificationPreferences).where(NotificationPreferences.user_id == user_id)
    return await session.scalar(statement.with_for_update() if lock else statement)


async def notification(session: AsyncSession, notification_id: UUID) -> Notification | None:
    return await session.get(Notification, notification_id)


async def guests_address(session: AsyncSession, booking_id: UUID) -> str | None:
    return await session.scalar(select(Booking.guest_email).where(Booking.id == booking_id))


async def stop_reminding(session: AsyncSession, digest: bytes) -> None:
    await session.execute(insert(UnremindedAddress).values(digest=digest).on_conflict_do_nothing())


async def is_unreminded(session: AsyncSession, digest: bytes) -> bool:
    statement = select(UnremindedAddress.digest).where(UnremindedAddress.digest == digest)
    return await session.scalar(statement) is not None


# --- Privacy ---------------------------------------------------------------------------------
async def of_user(session: AsyncSession, user_id: UUID) -> Sequence[Notification]:
    found = await session.scalars(
        select(Notification)
        .where(Notification.user_id == user_id)
        .order_by(Notification.created_at, Notification.id)
    )
    return found.all()


async def forget_user(session: AsyncSession, user_id: UUID) -> None:
    await session.execute(
        delete(Notification)
        .where(Notification.user_id == user_id)
        .execution_options(synchronize_session=False)
    )


def _ids(ids: Collection[UUID]) -> Any:  # noqa: ANN401 - an expression
    # One array: a list of parameters ends at 32,767.
    return literal(list(ids), ARRAY(Uuid()))
