"""What the policy of a booking does not allow.

Unprocessable
└── PolicyViolation   422 policy_violation, with a `reason`
HoldExpired           410 hold_expired
"""

from enum import StrEnum

from app.core.errors import AppError, Unprocessable


class PolicyReason(StrEnum):
    CANCEL_DEADLINE_PASSED = "cancel_deadline_passed"
    RESCHEDULE_DEADLINE_PASSED = "reschedule_deadline_passed"
    RESCHEDULE_LIMIT_REACHED = "reschedule_limit_reached"
    TOO_MANY_ENTRIES = "too_many_entries"
    TOO_MANY_FEEDS = "too_many_feeds"
    TOO_EARLY = "too_early"
    """Nobody checks in the day before, or stays away from what has not begun."""
    TOO_MANY_HOLDS = "too_many_holds"
    HOLD_EXTENDED_BEFORE = "hold_extended_before"


class PolicyViolation(Unprocessable):
    code, title = "policy_violation", "The service's policy does not allow this."

    def __init__(self, reason: PolicyReason) -> None:
        super().__init__(f"{self.title[:-1]}: {reason.replace('_', ' ')}.", reason=reason.value)


class HoldExpired(AppError):
    status, code, title = 410, "hold_expired", "The hold has ended."
