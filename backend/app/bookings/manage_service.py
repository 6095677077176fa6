"""What guests do with their bookings: they have no account, but a link."""

import hmac
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.errors import LinkExpired
from app.bookings import manage_repository as links
from app.bookings import repository
from app.bookings.action_service import ActionService
from app.bookings.manage_tokens import ManageTokens
from app.bookings.rules import GUEST
from app.bookings.schemas import BookingOut, Reschedule
from app.bookings.views import booking_out
from app.core.clock import Clock
from app.core.errors import NotFound
from app.core.preconditions import IfMatch

SHOWN_AFTERWARDS = timedelta(days=30)
"""How long after its end a booking can be looked at: for who missed it, or wants to come again."""


class ManageService:
    """Guests act as customers do, by the token in their link.

    Every method raises, besides what it says itself:

    NotFound: no booking has this token, which may have been replaced when the booking moved.
    LinkExpired: it is long over.
    """

    def __init__(
        self, session: AsyncSession, actions: ActionService, tokens: ManageTokens, clock: Clock
    ) -> None:
        self._session = session
        self._actions = actions
        self._tokens = tokens
        self._clock = clock

    async def show(self, token: str) -> BookingOut:
        """The guest's booking. Two round trips."""
        row = await repository.view(self._session, await self._booking_of(token))
        if row is None:
            raise NotFound
        return booking_out(row, GUEST, self._clock())

    async def cancel(self, token: str, reason: str, seen: IfMatch) -> BookingOut:
        """Call it off: see `ActionService.cancel`; the token's row adds a round trip."""
        booking_id = await self._booking_of(token, lock=True)
        return await self._actions.cancel(booking_id, reason, seen, GUEST)

    async def reschedule(
        self, token: str, wanted: Reschedule, seen: IfMatch
    ) -> tuple[BookingOut, str]:
        """Move it: see `ActionService.reschedule`; also the token that is good from now on.

        The token's row adds two round trips.
        """
        booking_id = await self._booking_of(token, lock=True)
        booking = await self._actions.reschedule(booking_id, wanted, seen, GUEST)
        salt = await links.salt_of(self._session, booking_id)
        if salt is None:
            raise NotFound
        return booking, self._tokens.derive(booking_id, salt)

    async def _booking_of(self, token: str, *, lock: bool = False) -> UUID:
        row = await links.of_token(self._session, self._tokens.digest(token), lock=lock)
        # Whoever can write to the database, but not read SECRET_KEY, makes no tokens.
        derived = self._tokens.derive(row.id, row.manage_salt) if row is not None else ""
        if row is None or not hmac.compare_digest(derived.encode(), token.encode()):
            raise NotFound("There is no such booking.")
        if row.ends_at + SHOWN_AFTERWARDS < self._clock():
            raise LinkExpired
        booking_id: UUID = row.id
        return booking_id
