"""Every table there is, gathered for migrations."""

from app.auth import mfa_models as mfa
from app.auth import models as auth
from app.availability import models as availability
from app.bookings import feed_models as feeds
from app.bookings import hold_models as holds
from app.bookings import models as bookings
from app.bookings import series_models as series
from app.bookings import waitlist_models as waitlist
from app.catalog import models as catalog
from app.core import events, followers, idempotency
from app.notifications import models as notifications
from app.providers import models as providers
from app.schedules import models as schedules
from app.webhooks import models as webhooks

__all__ = [
    "auth",
    "availability",
    "bookings",
    "catalog",
    "events",
    "feeds",
    "followers",
    "holds",
    "idempotency",
    "mfa",
    "notifications",
    "providers",
    "schedules",
    "series",
    "waitlist",
    "webhooks",
]
