"""The SQL of guests' bookings."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.bookings.models import Booking
from app.database import AnyRow


async def of_token(session: AsyncSession, digest: bytes, *, lock: bool = False) -> AnyRow | None:
    """Which booking this token is for: `id`, `manage_salt`, `ends_at`.

    `lock`: of two who use it at once, the second is told what the first has made of it.
    """
    statement = select(Booking.id, Booking.manage_salt, Booking.ends_at).where(
        Booking.manage_digest == digest
    )
    if lock:
        statement = statement.with_for_update()
    row: AnyRow | None = (await session.execute(statement)).one_or_none()
    return row


async def salt_of(session: AsyncSession, booking_id: UUID) -> bytes | None:
    return await session.scalar(select(Booking.manage_salt).where(Booking.id == booking_id))


async def give_to(session: AsyncSession, user_id: UUID, email: str) -> Sequence[UUID]:
    """Make the bookings of a guest with this address the account's; their tokens are dead."""
    claimed = await session.scalars(
        update(Booking)
        .where(Booking.guest_email == email)
        .values(
            customer_id=user_id,
            guest_name=None,
            guest_email=None,
            guest_phone=None,
            guest_time_zone=None,
            manage_digest=None,
            manage_salt=None,
            version=Booking.version + 1,
        )
        .returning(Booking.id)
        .execution_options(synchronize_session=False)
    )
    return claimed.all()
