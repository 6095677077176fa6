"""What the policy of a booking does not allow.

Unprocessable
└── PolicyViolation   422 policy_violation, with a `reason`
"""

from enum import StrEnum

from app.core.errors import Unprocessable


class PolicyReason(StrEnum):
    CANCEL_DEADLINE_PASSED = "cancel_deadline_passed"


class PolicyViolation(Unprocessable):
    code, title = "policy_violation", "The service's policy does not allow this."

    def __init__(self, reason: PolicyReason) -> None:
        super().__init__(f"{self.title[:-1]}: {reason.replace('_', ' ')}.", reason=reason.value)
