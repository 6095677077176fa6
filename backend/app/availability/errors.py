"""Why a time cannot be had.

Conflict
├── SlotTaken         409 slot_taken: somebody has it
├── SlotHeld          409 slot_held: somebody is deciding about it, and may yet leave it
└── NoSeatsLeft       409 no_seats_left: the group session has fewer seats than were asked for
Unprocessable
└── SlotUnavailable   422 slot_unavailable, with a `reason` (rules.Reason)
"""

from app.availability.rules import Reason
from app.core.errors import Conflict, Unprocessable


class SlotTaken(Conflict):
    code, title = "slot_taken", "Somebody else has this time."


class SlotHeld(Conflict):
    code, title = "slot_held", "Somebody is holding this time."


class NoSeatsLeft(Conflict):
    code, title = "no_seats_left", "There are not enough seats left."


class SlotUnavailable(Unprocessable):
    code, title = "slot_unavailable", "This time cannot be booked."

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"{self.title[:-1]}: {reason.replace('_', ' ')}.", reason=reason.value)
