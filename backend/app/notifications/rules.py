"""Who is told what, and whether it still has to be said. Pure: the clock is an argument."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from app.bookings.rules import UPCOMING, Status


class Kind(StrEnum):
    """What is said."""

    REQUESTED = "booking_requested"
    CONFIRMED = "booking_confirmed"
    DECLINED = "booking_declined"
    MOVED = "booking_moved"
    REASSIGNED = "booking_reassigned"
    WITHDRAWN = "booking_withdrawn"
    """To who gave it before: it has been given to somebody else."""
    CANCELLED = "booking_cancelled"
    EXPIRED = "booking_expired"
    SERIES_BOOKED = "series_booked"
    SERIES_CANCELLED = "series_cancelled"
    REMINDER = "reminder"
    NEW_LOGIN = "new_login"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a name, no secret
    EMAIL_CHANGED = "email_changed"
    MFA_ENABLED = "mfa_enabled"
    MFA_DISABLED = "mfa_disabled"


class Audience(StrEnum):
    """As what somebody is told."""

    CUSTOMER = "customer"
    """Also a guest."""
    PROVIDER = "provider"
    OWNER = "owner"
    """Of an account, about its security."""


class Topic(StrEnum):
    """What somebody may have no mails about."""

    BOOKINGS = "bookings"
    APPOINTMENTS = "appointments"
    REMINDERS = "reminders"


ACCOUNT_EVENTS: Final[Mapping[str, Kind]] = {
    "user.logged_in": Kind.NEW_LOGIN,
    "user.password_changed": Kind.PASSWORD_CHANGED,
    "user.changed": Kind.EMAIL_CHANGED,
    "user.mfa_enabled": Kind.MFA_ENABLED,
    "user.mfa_disabled": Kind.MFA_DISABLED,
}
_BOOKING_EVENTS: Final[Mapping[str, Kind]] = {
    "booking.confirmed": Kind.CONFIRMED,
    "booking.declined": Kind.DECLINED,
    "booking.rescheduled": Kind.MOVED,
    "booking.clock_changed": Kind.MOVED,
    "booking.reassigned": Kind.REASSIGNED,
    "booking.cancelled": Kind.CANCELLED,
    "booking.expired": Kind.EXPIRED,
}
_REMINDED_OF: Final = frozenset(
    {"booking.created", "booking.confirmed", "booking.rescheduled", "booking.clock_changed"}
)
_CAME_ABOUT: Final = frozenset(Status) - {
    Status.PENDING,
    Status.DECLINED,
    Status.EXPIRED,
    Status.CANCELLED,
}
_TRUE_OF: Final[Mapping[Kind, frozenset[Status]]] = {
    Kind.REQUESTED: frozenset({Status.PENDING}),
    Kind.CONFIRMED: _CAME_ABOUT,
    Kind.DECLINED: frozenset({Status.DECLINED}),
    Kind.MOVED: _CAME_ABOUT | UPCOMING,
    Kind.REASSIGNED: _CAME_ABOUT | UPCOMING,
    Kind.CANCELLED: frozenset({Status.CANCELLED}),
    Kind.EXPIRED: frozenset({Status.EXPIRED}),
    Kind.REMINDER: frozenset({Status.CONFIRMED}),
}
"""As long as a booking is in one of these statuses, it can be said; the rest can always."""


@dataclass(frozen=True, slots=True)
class Happened:
    """What an event says, as far as it matters here."""

    type: str
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom to tell. `user_id` is None for a guest, whose address the booking has."""

    audience: Audience
    user_id: UUID | None


@dataclass(frozen=True, slots=True)
class Concerned:
    """Whom a booking concerns: whose it is, and the accounts of those who give it."""

    customer_id: UUID | None
    is_guests: bool
    provider_user_ids: Sequence[UUID]

    @property
    def customer(self) -> Sequence[Recipient]:
        """Whose it is; nobody, once it is anonymous."""
        if self.is_guests:
            return [Recipient(Audience.CUSTOMER, None)]
        if self.customer_id is None:
            return []
        return [Recipient(Audience.CUSTOMER, self.customer_id)]

    @property
    def providers(self) -> Sequence[Recipient]:
        """Who gives it, and has an account."""
        return [Recipient(Audience.PROVIDER, user_id) for user_id in self.provider_user_ids]


def kind_of(event: Happened) -> Kind | None:
    """What an event about a booking is to those whom it concerns; None: nothing to write about."""
    if event.type == "booking.created":
        return Kind.REQUESTED if event.after.get("status") == Status.PENDING else Kind.CONFIRMED
    return _BOOKING_EVENTS.get(event.type)


def told(
    event: Happened, concerned: Concerned, former: UUID | None
) -> Iterable[tuple[Kind, Recipient]]:
    """Who is told what of a single booking; `former` is the account of who gave it before.

    They are told of what they did themselves as well: their calendars learn of it by the mail.
    """
    kind = kind_of(event)
    if kind is None:
        return
    has_changed_hands = former is not None and former not in concerned.provider_user_ids
    for recipient in (*concerned.customer, *concerned.providers):
        is_new_to_them = recipient.audience is Audience.PROVIDER and has_changed_hands
        yield (Kind.REASSIGNED if is_new_to_them else kind), recipient
    if has_changed_hands:
        yield Kind.WITHDRAWN, Recipient(Audience.PROVIDER, former)


def may_need_reminders(event_type: str) -> bool:
    """Whether after such an event there may be reminders that nobody has planned yet."""
    return event_type in _REMINDED_OF


def reminders(
    start: datetime, minutes_before: Iterable[int], now: datetime
) -> Iterable[tuple[int, datetime]]:
    """How long before the start to remind of it, and when that is; not what is past already."""
    for minutes in sorted(set(minutes_before)):
        due = start - timedelta(minutes=minutes)
        if due > now:
            yield minutes, due


def is_true(kind: Kind, status: Status) -> bool:
    """Whether what was to be said about a booking is still so."""
    return status in _TRUE_OF.get(kind, frozenset(Status))


def is_outdone(event_id: UUID, others: Iterable[tuple[UUID, Kind]], status: Status) -> bool:
    """Whether something later, that is true, says to the same person what has become of it."""
    return any(other > event_id and is_true(kind, status) for other, kind in others)


def topic_of(kind: Kind, audience: Audience) -> Topic | None:
    """What a mail counts as, for who wants none of these; None: it comes in any case."""
    if audience is Audience.OWNER:
        return None
    if kind is Kind.REMINDER:
        return Topic.REMINDERS
    return Topic.APPOINTMENTS if audience is Audience.PROVIDER else Topic.BOOKINGS
