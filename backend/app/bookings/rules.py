"""Who may do what with a booking, and when. Pure: the clock is an argument."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol
from uuid import UUID

from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.availability.errors import SlotUnavailable
from app.availability.rules import Reason
from app.bookings.errors import PolicyReason, PolicyViolation
from app.core.errors import AppError, Forbidden, InvalidTransition
from app.core.events import Actor


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

CHECK_IN_OPENS = timedelta(hours=12)
"""How long before the start somebody may have arrived: early, but not on another day."""


class Action(StrEnum):
    """What can be done with a booking, as it is called in `POST /bookings/{id}/<action>`."""

    CONFIRM = "confirm"
    DECLINE = "decline"
    CANCEL = "cancel"
    RESCHEDULE = "reschedule"
    REASSIGN = "reassign"
    CHECK_IN = "check-in"
    COMPLETE = "complete"
    NO_SHOW = "no-show"


UPCOMING: Final = frozenset({Status.PENDING, Status.CONFIRMED})
"""The statuses in which a booking can still be moved or called off."""

TRANSITIONS: Final[Mapping[Action, tuple[frozenset[Status], Status | None]]] = {
    Action.CONFIRM: (frozenset({Status.PENDING}), Status.CONFIRMED),
    Action.DECLINE: (frozenset({Status.PENDING}), Status.DECLINED),
    Action.CANCEL: (UPCOMING, Status.CANCELLED),
    Action.RESCHEDULE: (UPCOMING, None),
    Action.REASSIGN: (UPCOMING, None),
    Action.CHECK_IN: (frozenset({Status.CONFIRMED}), Status.CHECKED_IN),
    # After a no-show it is a correction: they came after all.
    Action.COMPLETE: (
        frozenset({Status.CONFIRMED, Status.CHECKED_IN, Status.NO_SHOW}),
        Status.COMPLETED,
    ),
    Action.NO_SHOW: (frozenset({Status.CONFIRMED}), Status.NO_SHOW),
}
"""From which statuses an action may be taken, and where it leads; None: it stays as it is."""


class Role(StrEnum):
    """What somebody is to a booking."""

    STAFF = "staff"
    """One of those who give it, or who may act on all bookings."""
    CUSTOMER = "customer"
    GUEST = "guest"
    """Who booked it without an account, and has its link."""
    READER = "reader"
    """Who may see all bookings and act on none."""


_OWN: Final = frozenset({Action.CANCEL, Action.RESCHEDULE})
_MAY: Final = {
    Role.STAFF: frozenset(Action),
    Role.CUSTOMER: _OWN,
    Role.GUEST: _OWN,
    Role.READER: frozenset[Action](),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks about a booking: somebody with an account, or the guest who sent its link."""

    actor: Actor
    principal: Principal | None

    @classmethod
    def of(cls, principal: Principal) -> "Caller":
        return cls(principal.actor, principal)

    def is_customer(self, customer_id: UUID | None) -> bool:
        return self.principal is not None and self.principal.user_id == customer_id


GUEST: Final = Caller(Actor("guest"), None)


class BookingLike(Protocol):
    """What the rules look at: the row of a booking, with the accounts of those who give it."""

    @property
    def status(self) -> str: ...
    @property
    def starts_at(self) -> datetime: ...
    @property
    def expires_at(self) -> datetime | None: ...
    @property
    def customer_id(self) -> UUID | None: ...
    @property
    def provider_user_ids(self) -> Sequence[UUID | None]: ...
    @property
    def provider_ids(self) -> Sequence[UUID]: ...
    @property
    def is_collective(self) -> bool: ...
    @property
    def reschedules(self) -> int: ...
    @property
    def policy(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class AllowedAction:
    """Something the caller may do with a booking, and until when (None: no deadline)."""

    action: Action
    until: datetime | None


def role_of(caller: Caller, booking: BookingLike) -> Role | None:
    """What the caller is to the booking; None: a stranger, to whom it does not exist.

    Who books with themselves acts as staff. The guest is whom the link has let in.
    """
    principal = caller.principal
    if principal is None:
        return Role.GUEST
    gives_it = principal.user_id in booking.provider_user_ids
    is_theirs = booking.customer_id == principal.user_id
    sees_all = principal.may(Permission.BOOKINGS_READ_ALL)
    if not (gives_it or is_theirs or sees_all):
        return None
    if gives_it or principal.may(Permission.BOOKINGS_WRITE_ALL):
        return Role.STAFF
    return Role.CUSTOMER if is_theirs else Role.READER


def status_at(booking: BookingLike, now: datetime) -> Status:
    """What the booking is. Nobody has to have noticed that it has expired."""
    status = Status(booking.status)
    has_ended = booking.expires_at is not None and booking.expires_at <= now
    return Status.EXPIRED if status is Status.PENDING and has_ended else status


def why_not(role: Role, action: Action, booking: BookingLike, now: datetime) -> AppError | None:
    """The error that says why this action cannot be taken now; None: it can.

    Forbidden, InvalidTransition, PolicyViolation, or SlotUnavailable for what has begun. A move to
    another time or provider may fail all the same, for what is free is not asked here.
    """
    if action not in _MAY[role]:
        return Forbidden()
    status = status_at(booking, now)
    if status not in TRANSITIONS[action][0]:
        return impossible(status)
    if action is Action.REASSIGN and (booking.is_collective or len(booking.provider_ids) > 1):
        return InvalidTransition("All of the service's providers give it together.")
    return _against_policy(role, action, booking, now)


def impossible(status: Status) -> InvalidTransition:
    """What to raise when a booking of this status cannot take an action."""
    return InvalidTransition(f"A booking that is {status} cannot take this action.")


def _against_policy(
    role: Role, action: Action, booking: BookingLike, now: datetime
) -> AppError | None:
    opens, closes = _opens(action, booking), _closes(role, action, booking)
    if opens is not None and now < opens:
        return PolicyViolation(PolicyReason.TOO_EARLY)
    if closes is not None and now > closes:
        return _too_late(action)
    if action is Action.RESCHEDULE and not _has_moves_left(role, booking):
        return PolicyViolation(PolicyReason.RESCHEDULE_LIMIT_REACHED)
    return None


def allowed_actions(role: Role, booking: BookingLike, now: datetime) -> list[AllowedAction]:
    """What may be done with the booking at this moment: whatever `why_not` has nothing against."""
    return [
        AllowedAction(action, until(role, action, booking))
        for action in Action
        if why_not(role, action, booking, now) is None
    ]


def until(role: Role, action: Action, booking: BookingLike) -> datetime | None:
    """Until when an action stays allowed, if nothing else changes."""
    waits_until = booking.expires_at if booking.status == Status.PENDING else None
    moments = [m for m in (_closes(role, action, booking), waits_until) if m is not None]
    return min(moments, default=None)


def changes_with_time(role: Role, booking: BookingLike, now: datetime) -> bool:
    """Whether the passing of time has changed what this role may do, or may have.

    What lies before `now` may have passed since the booking was last changed.
    """
    moments = [
        moment
        for action in Action
        if action in _MAY[role] and booking.status in TRANSITIONS[action][0]
        for moment in (_opens(action, booking), until(role, action, booking))
    ]
    if booking.status == Status.PENDING:
        moments.append(booking.expires_at)
    return any(moment is not None and moment <= now for moment in moments)


def approval_ends(start: datetime, now: datetime) -> datetime:
    """Until when a request of this moment waits. Nobody can confirm what has begun."""
    return min(start, now + PENDING_LIFETIME)


def must_be_approved_again(role: Role, status: Status, approval: str) -> bool:
    """Whether a confirmed booking waits for approval again once it has moved.

    What a customer or a guest moves is a new request. Staff, who approve, have done so.
    """
    return approval == "required" and status is Status.CONFIRMED and role is not Role.STAFF


def _opens(action: Action, booking: BookingLike) -> datetime | None:
    if action is Action.CHECK_IN:
        return booking.starts_at - CHECK_IN_OPENS
    if action in {Action.COMPLETE, Action.NO_SHOW}:
        return booking.starts_at
    return None


def _closes(role: Role, action: Action, booking: BookingLike) -> datetime | None:
    """The last moment for an action. Deadlines of the policy bind all but staff."""
    if action is Action.REASSIGN:
        return booking.starts_at
    if role is Role.STAFF or action not in _DEADLINES:
        return None
    minutes = booking.policy.get(_DEADLINES[action], 0)
    return booking.starts_at - timedelta(minutes=minutes)


_DEADLINES: Final = {
    Action.CANCEL: "cancel_until_minutes",
    Action.RESCHEDULE: "reschedule_until_minutes",
}


def _too_late(action: Action) -> AppError:
    if action is Action.CANCEL:
        return PolicyViolation(PolicyReason.CANCEL_DEADLINE_PASSED)
    if action is Action.RESCHEDULE:
        return PolicyViolation(PolicyReason.RESCHEDULE_DEADLINE_PASSED)
    # Nobody else can begin what has begun.
    return SlotUnavailable(Reason.PAST)


def _has_moves_left(role: Role, booking: BookingLike) -> bool:
    most = booking.policy.get("max_reschedules")
    return role is Role.STAFF or most is None or booking.reschedules < most
