"""Who may do what with a booking and when: every status, action and role."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.bookings.rules import (
    GUEST,
    TRANSITIONS,
    Action,
    Caller,
    Role,
    Status,
    allowed_actions,
    approval_ends,
    changes_with_time,
    must_be_approved_again,
    role_of,
    status_at,
    why_not,
)

START = datetime(2026, 3, 3, 9, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
ADA, GRACE, BOB, EVE = (UUID(int=number) for number in range(1, 5))
PROVIDER, OTHER = UUID(int=10), UUID(int=11)
POLICY = {"cancel_until_minutes": 60, "reschedule_until_minutes": 120, "max_reschedules": 2}


@dataclass(frozen=True)
class Booking:
    """Ada's booking with Grace, at START."""

    status: str = Status.CONFIRMED
    starts_at: datetime = START
    expires_at: datetime | None = None
    customer_id: UUID | None = ADA
    provider_ids: tuple[UUID, ...] = (PROVIDER,)
    provider_user_ids: tuple[UUID | None, ...] = (GRACE,)
    is_collective: bool = False
    reschedules: int = 0
    policy: Mapping[str, Any] = field(default_factory=lambda: dict(POLICY))


def booking(status: Status, **fields: Any) -> Booking:
    """One in this status; what is pending waits until START."""
    expires_at = START if status is Status.PENDING else None
    return replace(Booking(status=status, expires_at=expires_at), **fields)


def code(role: Role, action: Action, about: Booking, now: datetime) -> str | None:
    refusal = why_not(role, action, about, now)
    return None if refusal is None else str(refusal.extensions.get("reason", refusal.code))


# --- The table -------------------------------------------------------------------------------
# By status: what staff can do an hour before (-) and an hour after (+) the start.
STAFF = {
    Status.PENDING: ("confirm decline cancel reschedule reassign", ""),
    Status.CONFIRMED: (
        "cancel reschedule reassign check-in",
        "cancel reschedule check-in complete no-show",
    ),
    Status.CHECKED_IN: ("", "complete"),
    Status.COMPLETED: ("", ""),
    Status.NO_SHOW: ("", "complete"),
    Status.DECLINED: ("", ""),
    Status.EXPIRED: ("", ""),
    Status.CANCELLED: ("", ""),
}
OWN = {"cancel", "reschedule"}
HOUR, WEEK = timedelta(hours=1), timedelta(weeks=1)


def can(role: Role, about: Booking, now: datetime) -> set[str]:
    return {a.value for a in Action if why_not(role, a, about, now) is None}


@pytest.mark.parametrize("status", Status)
def test_staff_can_what_the_status_allows_around_the_start(status: Status) -> None:
    before, after = (set(column.split()) for column in STAFF[status])
    assert can(Role.STAFF, booking(status), START - HOUR) == before
    assert can(Role.STAFF, booking(status), START + HOUR) == after


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.GUEST])
@pytest.mark.parametrize("status", Status)
def test_who_booked_can_call_off_and_move_what_is_ahead(status: Status, role: Role) -> None:
    ahead = status in {Status.PENDING, Status.CONFIRMED}
    assert can(role, booking(status), START - WEEK) == (OWN if ahead else set())
    assert can(role, booking(status), START + HOUR) == set()


@pytest.mark.parametrize("status", Status)
def test_who_may_only_read_can_do_nothing(status: Status) -> None:
    for action in Action:
        assert code(Role.READER, action, booking(status), START - HOUR) == "forbidden"


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.GUEST])
@pytest.mark.parametrize("action", [a for a in Action if a not in OWN])
def test_what_staff_decide_is_forbidden_to_others_in_every_status(
    action: Action, role: Role
) -> None:
    for status in Status:
        assert code(role, action, booking(status), START - HOUR) == "forbidden"


@pytest.mark.parametrize("action", Action)
def test_from_every_other_status_an_action_is_an_invalid_transition(action: Action) -> None:
    for status in set(Status) - TRANSITIONS[action][0]:
        assert code(Role.STAFF, action, booking(status), START - HOUR) == "invalid_transition"


def test_the_transitions_are_those_of_the_contract() -> None:
    moves = {
        (source.value, target.value)
        for sources, target in TRANSITIONS.values()
        for source in sources
        if target is not None
    }
    assert moves == {
        ("pending", "confirmed"),
        ("pending", "declined"),
        ("pending", "cancelled"),
        ("confirmed", "checked_in"),
        ("confirmed", "completed"),
        ("confirmed", "no_show"),
        ("confirmed", "cancelled"),
        ("checked_in", "completed"),
        ("no_show", "completed"),
    }


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("status", Status)
def test_what_is_listed_is_what_can_be_done(status: Status, role: Role) -> None:
    for minutes in range(-50 * 60, 120, 30):
        now = START + timedelta(minutes=minutes)
        listed = allowed_actions(role, booking(status), now)
        assert {a.action.value for a in listed} == can(role, booking(status), now)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("status", Status)
def test_until_is_the_last_moment_of_what_is_listed(status: Status, role: Role) -> None:
    about = booking(status)
    for allowed in allowed_actions(role, about, START - HOUR * 3):
        if allowed.until is None:
            assert why_not(role, allowed.action, about, START + WEEK) is None
            continue
        # What waits for approval has expired at that very moment.
        last = allowed.until - (INSTANT if allowed.until == about.expires_at else 0 * INSTANT)
        assert why_not(role, allowed.action, about, last) is None
        assert why_not(role, allowed.action, about, last + INSTANT) is not None


# --- Deadlines -------------------------------------------------------------------------------
@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.GUEST])
@pytest.mark.parametrize(
    ("action", "minutes", "reason"),
    [
        (Action.CANCEL, 60, "cancel_deadline_passed"),
        (Action.RESCHEDULE, 120, "reschedule_deadline_passed"),
    ],
)
def test_deadlines_bind_who_booked_and_not_staff(
    role: Role, action: Action, minutes: int, reason: str
) -> None:
    deadline = START - timedelta(minutes=minutes)
    assert code(role, action, booking(Status.CONFIRMED), deadline) is None
    assert code(role, action, booking(Status.CONFIRMED), deadline + INSTANT) == reason
    assert code(Role.STAFF, action, booking(Status.CONFIRMED), START + WEEK) is None


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.GUEST])
def test_only_so_many_moves_are_allowed_to_who_booked(role: Role) -> None:
    moved_once = booking(Status.CONFIRMED, reschedules=1)
    moved_twice = booking(Status.CONFIRMED, reschedules=2)
    move = Action.RESCHEDULE
    assert code(role, move, moved_once, START - WEEK) is None
    assert code(role, move, moved_twice, START - WEEK) == "reschedule_limit_reached"
    assert code(Role.STAFF, move, moved_twice, START - WEEK) is None
    unlimited = booking(Status.CONFIRMED, reschedules=99, policy={"cancel_until_minutes": 0})
    assert code(role, move, unlimited, START) is None


def test_no_moves_at_all_may_be_the_policy() -> None:
    fixed = booking(Status.CONFIRMED, policy=POLICY | {"max_reschedules": 0})
    reason = code(Role.CUSTOMER, Action.RESCHEDULE, fixed, START - WEEK)
    assert reason == "reschedule_limit_reached"


def test_nobody_arrives_half_a_day_early() -> None:
    opens = START - timedelta(hours=12)
    about = booking(Status.CONFIRMED)
    assert code(Role.STAFF, Action.CHECK_IN, about, opens) is None
    assert code(Role.STAFF, Action.CHECK_IN, about, opens - INSTANT) == "too_early"


@pytest.mark.parametrize("action", [Action.COMPLETE, Action.NO_SHOW])
def test_what_has_not_begun_is_neither_done_nor_missed(action: Action) -> None:
    about = booking(Status.CONFIRMED)
    assert code(Role.STAFF, action, about, START) is None
    assert code(Role.STAFF, action, about, START - INSTANT) == "too_early"


def test_nobody_else_can_begin_what_has_begun() -> None:
    about = booking(Status.CONFIRMED)
    assert code(Role.STAFF, Action.REASSIGN, about, START) is None
    assert code(Role.STAFF, Action.REASSIGN, about, START + INSTANT) == "past"


@pytest.mark.parametrize("fields", [{"is_collective": True}, {"provider_ids": (PROVIDER, OTHER)}])
def test_what_all_give_together_cannot_be_given_to_another(fields: dict[str, Any]) -> None:
    about = booking(Status.CONFIRMED, **fields)
    assert code(Role.STAFF, Action.REASSIGN, about, START - HOUR) == "invalid_transition"


# --- Waiting for approval --------------------------------------------------------------------
def test_what_nobody_approved_in_time_has_expired_by_itself() -> None:
    about = booking(Status.PENDING, expires_at=START - HOUR)
    assert status_at(about, START - HOUR - INSTANT) is Status.PENDING
    assert status_at(about, START - HOUR) is Status.EXPIRED
    for role in (Role.STAFF, Role.CUSTOMER, Role.GUEST):
        assert can(role, about, START - HOUR) == set()
    assert code(Role.STAFF, Action.CONFIRM, about, START - HOUR) == "invalid_transition"


def test_a_request_waits_two_days_but_never_past_its_start() -> None:
    assert approval_ends(START, START - WEEK) == START - WEEK + timedelta(hours=48)
    assert approval_ends(START, START - HOUR) == START


@pytest.mark.parametrize(
    ("role", "status", "approval", "again"),
    [
        (Role.CUSTOMER, Status.CONFIRMED, "required", True),
        (Role.GUEST, Status.CONFIRMED, "required", True),
        (Role.STAFF, Status.CONFIRMED, "required", False),
        (Role.CUSTOMER, Status.CONFIRMED, "automatic", False),
        (Role.CUSTOMER, Status.PENDING, "required", False),
    ],
)
def test_what_a_customer_moves_must_be_approved_again(
    role: Role, status: Status, approval: str, *, again: bool
) -> None:
    assert must_be_approved_again(role, status, approval) is again


# --- Roles -----------------------------------------------------------------------------------
def caller(user_id: UUID, *permissions: Permission, is_superuser: bool = False) -> Caller:
    return Caller.of(Principal(user_id, None, frozenset(permissions), is_superuser))


@pytest.mark.parametrize(
    ("who", "role"),
    [
        (caller(ADA), Role.CUSTOMER),
        (caller(GRACE), Role.STAFF),
        (caller(BOB), Role.STAFF),
        (caller(EVE), None),
        (caller(EVE, Permission.BOOKINGS_READ_ALL), Role.READER),
        (caller(EVE, Permission.BOOKINGS_READ_ALL, Permission.BOOKINGS_WRITE_ALL), Role.STAFF),
        (caller(EVE, Permission.BOOKINGS_WRITE_ALL), None),
        (caller(EVE, is_superuser=True), Role.STAFF),
        (caller(ADA, Permission.BOOKINGS_WRITE_ALL), Role.STAFF),
        (GUEST, Role.GUEST),
    ],
)
def test_what_a_caller_is_to_a_booking(who: Caller, role: Role | None) -> None:
    given_by_two = booking(
        Status.CONFIRMED, provider_ids=(PROVIDER, OTHER), provider_user_ids=(GRACE, BOB)
    )
    assert role_of(who, given_by_two) is role


def test_an_account_is_not_the_customer_of_an_anonymous_booking() -> None:
    anonymous = booking(Status.CONFIRMED, customer_id=None, provider_user_ids=(None,))
    assert role_of(caller(ADA), anonymous) is None


# --- What time changes -----------------------------------------------------------------------
@pytest.mark.parametrize("role", [Role.STAFF, Role.CUSTOMER, Role.GUEST, Role.READER])
@pytest.mark.parametrize("status", Status)
def test_as_long_as_time_has_changed_nothing_two_looks_show_the_same(
    status: Status, role: Role
) -> None:
    about = booking(status)
    first = START - WEEK
    seen = (status_at(about, first), allowed_actions(role, about, first))
    for minutes in range(0, 8 * 24 * 60, 15):
        now = first + timedelta(minutes=minutes)
        if (status_at(about, now), allowed_actions(role, about, now)) != seen:
            assert changes_with_time(role, about, now)


def test_what_is_far_ahead_or_over_does_not_change_with_time() -> None:
    for role in Role:
        assert not changes_with_time(role, booking(Status.CONFIRMED), START - WEEK)
        for status in (Status.COMPLETED, Status.CANCELLED, Status.DECLINED, Status.EXPIRED):
            assert not changes_with_time(role, booking(status), START + WEEK)
