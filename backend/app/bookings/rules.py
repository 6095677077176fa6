"""Who may do what with a booking, and when. Pure: the clock is an argument."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from app.auth.permissions import Permission
from app.auth.principal import Principal


class Status(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    CHECKED_IN = "checked_in"
    COMPLETED = "completed"
    NO_SHOW = "no_show"
    DECLINED = "declined"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


OCCUPYING = frozenset({Status.PENDING, Status.CONFIRMED, Status.CHECKED_IN})
"""The statuses that keep their time taken."""


RELEASED = frozenset({Status.DECLINED, Status.EXPIRED, Status.CANCELLED})
"""The statuses of what did not take place, and counts for nobody."""


PENDING_LIFETIME = timedelta(hours=48)
"""How long a booking waits for approval, at most until it would begin."""


class Action(StrEnum):
    CANCEL = "cancel"


TRANSITIONS: dict[Action, tuple[frozenset[Status], Status]] = {
    Action.CANCEL: (frozenset({Status.PENDING, Status.CONFIRMED}), Status.CANCELLED),
}
"""From which statuses an action may be taken, and where it leads."""


class BookingLike(Protocol):
    """What the rules look at; entities and rows alike have it."""

    @property
    def status(self) -> str: ...
    @property
    def starts_at(self) -> datetime: ...
    @property
    def customer_id(self) -> UUID | None: ...
    @property
    def provider_user_id(self) -> UUID | None: ...
    @property
    def cancel_until_minutes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class AllowedAction:
    """Something the caller may do with a booking, and until when (None: no deadline)."""

    action: Action
    until: datetime | None


def is_staff(principal: Principal, booking: BookingLike) -> bool:
    """Whether the caller acts for the business: its provider, or whoever manages all bookings."""
    return (
        principal.may(Permission.BOOKINGS_WRITE_ALL)
        or booking.provider_user_id == principal.user_id
    )


def may_see(principal: Principal, booking: BookingLike) -> bool:
    concerned = {booking.customer_id, booking.provider_user_id}
    return principal.user_id in concerned or principal.may(Permission.BOOKINGS_READ_ALL)


def may_act(principal: Principal, booking: BookingLike) -> bool:
    return booking.customer_id == principal.user_id or is_staff(principal, booking)


def cancel_deadline(principal: Principal, booking: BookingLike) -> datetime | None:
    """Until when the caller may cancel; deadlines bind customers, not staff."""
    if is_staff(principal, booking):
        return None
    return booking.starts_at - timedelta(minutes=booking.cancel_until_minutes)


def allowed_actions(
    principal: Principal, booking: BookingLike, now: datetime
) -> list[AllowedAction]:
    """What the caller may do with the booking at this moment."""
    sources, _ = TRANSITIONS[Action.CANCEL]
    until = cancel_deadline(principal, booking)
    in_time = until is None or now <= until
    if booking.status in sources and may_act(principal, booking) and in_time:
        return [AllowedAction(Action.CANCEL, until)]
    return []
