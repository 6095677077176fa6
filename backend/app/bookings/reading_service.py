"""Bookings as the rooms above read them, who tell people of them."""

import hmac
from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, literal
from sqlalchemy.ext.asyncio import AsyncSession

from app.bookings import repository
from app.bookings.manage_tokens import ManageTokens
from app.bookings.models import Booking
from app.database import AnyRow, table


async def row_of(session: AsyncSession, booking_id: UUID) -> AnyRow | None:
    """A booking, as `views.booking_out` takes it."""
    return await repository.view(session, booking_id)


async def rows_of(session: AsyncSession, booking_ids: Collection[UUID]) -> Sequence[AnyRow]:
    """Several, in the order of their times."""
    ids = literal(list(booking_ids), ARRAY(Uuid()))
    rows: Sequence[AnyRow] = (
        await session.execute(
            repository.view_of(table(Booking))
            .where(Booking.id == any_(ids))
            .order_by(Booking.starts_at, Booking.id)
        )
    ).all()
    return rows


def manage_token(tokens: ManageTokens, booking: AnyRow) -> str | None:
    """The token with which a guest manages a booking; None: there is none that would be good."""
    if booking.manage_salt is None:
        return None
    token = tokens.derive(booking.id, booking.manage_salt)
    is_current = hmac.compare_digest(tokens.digest(token), booking.manage_digest)
    return token if is_current else None
