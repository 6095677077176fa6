"""The follower that turns what happened into mails to be sent. It writes rows, and sends none."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy.ext.asyncio import AsyncSession

from app.bookings.rules import Status
from app.config import Settings
from app.core.clock import Clock
from app.core.events import Event
from app.core.followers import Follower
from app.core.jobs import enqueue_all
from app.database import AnyRow
from app.notifications import repository
from app.notifications.rules import (
    ACCOUNT_EVENTS,
    Audience,
    Concerned,
    Happened,
    Kind,
    Recipient,
    kind_of,
    may_need_reminders,
    reminders,
    told,
)

SEND = "notifications.send"
"""The job that sends one of them."""

_EMPTY: Final[dict[str, Any]] = {
    "user_id": None,
    "booking_id": None,
    "series_id": None,
    "starts_at": None,
    "minutes_before": None,
    "due_at": None,
    "state": "queued",
}


class Notifying:
    """Follows bookings, series and accounts. Five round trips for all of a batch, at most seven."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._reminders = settings.REMINDER_MINUTES
        self._clock = clock

    @property
    def follower(self) -> Follower:
        return Follower("notifications", ("booking.", "series.", "user."), self.follow)

    async def follow(self, session: AsyncSession, events: Sequence[Event]) -> None:
        """Store a mail for each whom these events concern, and have it sent."""
        rows = [
            *await self._about_bookings(session, [e for e in events if _is_about_booking(e)]),
            *await _about_series(session, [e for e in events if e.type == "series.created"]),
            *await _about_accounts(session, [e for e in events if e.type in ACCOUNT_EVENTS]),
        ]
        # The same mail may follow from two events: one and the same statement takes it once.
        rows = list({row["id"]: row for row in rows}.values())
        added = await repository.add(session, rows)
        at_once = [row["id"] for row in rows if row["id"] in added and row["state"] == "queued"]
        await enqueue_all(session, SEND, dict.fromkeys(at_once, timedelta()))

    async def _about_bookings(
        self, session: AsyncSession, events: Sequence[Event]
    ) -> list[dict[str, Any]]:
        if not events:
            return []
        bookings = await repository.concerned(session, {event.subject_id for event in events})
        former = await _former_givers(session, events)
        rows: list[dict[str, Any]] = []
        called_off: dict[tuple[int, UUID], list[Event]] = defaultdict(list)
        for event in events:
            booking = bookings.get(event.subject_id)
            if booking is None:
                continue
            rows += self._planned_reminders(event, booking)
            if booking.series_id is not None and event.type == "booking.created":
                continue  # `series.created` tells of all of them
            if booking.series_id is not None and event.type == "booking.cancelled":
                called_off[event.transaction_id, booking.series_id].append(event)
                continue
            for kind, recipient in told(_happened(event), _of(booking), former.get(event.id)):
                rows.append(_row(event, kind, recipient, booking_id=booking.id))
        for (_, series_id), together in called_off.items():
            rows += _called_off(together, bookings, series_id)
        return rows

    def _planned_reminders(self, event: Event, booking: AnyRow) -> Iterable[dict[str, Any]]:
        """The reminders of a booking that has been agreed on, or has another time.

        Their ids say of which time: what moves away and back again is reminded of once.
        """
        if not may_need_reminders(event.type) or booking.status != Status.CONFIRMED:
            return
        rules = booking.reminder_minutes
        minutes_before = self._reminders if rules is None else rules
        for recipient in _of(booking).customer:
            for minutes, due in reminders(booking.starts_at, minutes_before, self._clock()):
                row = _row(event, Kind.REMINDER, recipient, booking_id=booking.id)
                yield row | {
                    "id": _reminder_id(booking.id, booking.starts_at, minutes),
                    "starts_at": booking.starts_at,
                    "minutes_before": minutes,
                    "due_at": due,
                    "state": "planned",
                }


def _is_about_booking(event: Event) -> bool:
    return event.subject_type == "booking" and kind_of(_happened(event)) is not None


def _happened(event: Event) -> Happened:
    return Happened(event.type, event.after or {})


def _of(booking: AnyRow) -> Concerned:
    return Concerned(booking.customer_id, booking.is_guests, booking.provider_user_ids or ())


async def _former_givers(session: AsyncSession, events: Sequence[Event]) -> dict[UUID, UUID | None]:
    """The account of who gave a booking before, by the event that gave it to somebody else."""
    before = {
        event.id: UUID(event.before["provider_id"])
        for event in events
        if event.before and "provider_id" in event.before
    }
    if not before:
        return {}
    accounts = await repository.accounts_of(session, set(before.values()))
    return {event_id: accounts.get(provider_id) for event_id, provider_id in before.items()}


def _called_off(
    events: Sequence[Event], bookings: Mapping[UUID, AnyRow], series_id: UUID
) -> Iterable[dict[str, Any]]:
    """One mail to each for all that was called off together of a series."""
    theirs: dict[Recipient, list[Event]] = defaultdict(list)
    for event in events:
        for _, recipient in told(_happened(event), _of(bookings[event.subject_id]), None):
            theirs[recipient].append(event)
    for recipient, about in theirs.items():
        first = about[0]
        if len(about) == 1:
            yield _row(first, Kind.CANCELLED, recipient, booking_id=first.subject_id)
        else:
            yield _row(first, Kind.SERIES_CANCELLED, recipient, series_id=series_id)


async def _about_series(session: AsyncSession, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
    if not events:
        return []
    series = await repository.series_concerned(session, {event.subject_id for event in events})
    rows = []
    for event in events:
        row = series.get(event.subject_id)
        if row is None:
            continue
        concerned = Concerned(row.customer_id, False, [row.user_id] if row.user_id else [])
        rows += [
            _row(event, Kind.SERIES_BOOKED, recipient, series_id=row.id)
            for recipient in (*concerned.customer, *concerned.providers)
        ]
    return rows


async def _about_accounts(
    session: AsyncSession, events: Sequence[Event]
) -> Iterable[dict[str, Any]]:
    logins = {
        event.id: UUID(event.after["session"])
        for event in events
        if event.type == "user.logged_in" and event.after
    }
    new = await repository.new_devices(session, logins.values()) if logins else set()
    return [
        _row(event, ACCOUNT_EVENTS[event.type], Recipient(Audience.OWNER, event.subject_id))
        for event in events
        if (event.id in logins and logins[event.id] in new)
        or (event.type == "user.changed" and "email" in (event.before or {}))
        or event.type not in {"user.logged_in", "user.changed"}
    ]


def _row(event: Event, kind: Kind, recipient: Recipient, **about: UUID) -> dict[str, Any]:
    whom = f"{recipient.audience}:{recipient.user_id}"
    return (
        _EMPTY
        | {
            "id": uuid5(event.id, whom),
            "event_id": event.id,
            "kind": kind.value,
            "audience": recipient.audience.value,
            "user_id": recipient.user_id,
        }
        | about
    )


def _reminder_id(booking_id: UUID, start: datetime, minutes: int) -> UUID:
    return uuid5(booking_id, f"reminder:{start.timestamp():.0f}:{minutes}")
