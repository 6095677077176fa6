"""Why a time cannot be had.

Conflict
└── SlotTaken         409 slot_taken: somebody has it
Unprocessable
└── SlotUnavailable   422 slot_unavailable, with a `reason` (rules.Reason)
"""

from app.availability.rules import Reason
from app.core.errors import Conflict, Unprocessable


class SlotTaken(Conflict):
    code, title = "slot_taken", "Somebody else has this time."


class SlotUnavailable(Unprocessable):
    code, title = "slot_unavailable", "This time cannot be booked."

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"{self.title[:-1]}: {reason.replace('_', ' ')}.", reason=reason.value)
