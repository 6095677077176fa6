"""How often a caller may take time, whatever else they ask for: bookings and holds block others."""

from collections.abc import Mapping
from typing import Final

from app.config import Settings
from app.core.rate_limit import Policy

_QUARTER: Final = 900
HOLDS: Final = Policy("holds", 120, _QUARTER)
_BOOKINGS_SHARE: Final = 0.4
"""Of all the requests that a caller may make, those that may book or change bookings."""


def limits(settings: Settings) -> Mapping[str, Policy]:
    """Policies for requests that write, by the first segment of their path."""
    quota = max(1, int(settings.RATE_LIMIT_REQUESTS * _BOOKINGS_SHARE))
    bookings = Policy("bookings", quota, settings.RATE_LIMIT_WINDOW)
    return {
        "bookings": bookings,
        "booking-series": bookings,
        "waitlist": bookings,
        "holds": HOLDS,
    }
