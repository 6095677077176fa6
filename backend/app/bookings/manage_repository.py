"""The SQL of guests' bookings."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Uuid, bindparam, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.bookings.models import Booking
from app.bookings.repository import NO_GUEST, NOTHING_SAID
from app.database import AnyRow

# The account's row is waited for: if its address is being verified, or it is being erased, that
# comes first.
_JOIN = text(
    """WITH owner AS MATERIALIZED (
        SELECT u.id, u.email_verified FROM users u JOIN bookings b ON b.guest_email = u.email
        WHERE b.id = :booking_id FOR SHARE OF u
    )
    UPDATE bookings b SET customer_id = owner.id, joined_at = now() FROM owner
    WHERE owner.email_verified AND b.id = :booking_id
        AND b.guest_email IS NOT NULL AND b.customer_id IS NULL
    RETURNING b.id"""
).bindparams(bindparam("booking_id", type_=Uuid()))


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
        .where(Booking.guest_email == email, Booking.customer_id.is_(None))
        .values(customer_id=user_id, version=Booking.version + 1, **NO_GUEST)
        .returning(Booking.id)
        .execution_options(synchronize_session=False)
    )
    return claimed.all()


async def join(session: AsyncSession, booking_id: UUID) -> bool:
    """Let the account that has verified a guest's address have the booking too, if there is one.

    To the guest it is the same as before, version and all. One round trip; whoever is verifying
    the address at this moment is waited for.
    """
    joined = await session.execute(_JOIN, {"booking_id": booking_id})
    return joined.first() is not None


async def forget_ended_before(
    session: AsyncSession, moment: datetime, *, most: int
) -> Sequence[UUID]:
    """Take the guests out of bookings that ended before then, and that no account has.

    One round trip. Who is acting on one at this moment is left for the next time.
    """
    due = (
        select(Booking.id)
        .where(
            Booking.guest_email.is_not(None),
            Booking.customer_id.is_(None),
            Booking.ends_at < moment,
        )
        .order_by(Booking.ends_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    forgotten = await session.scalars(
        update(Booking)
        .where(Booking.id.in_(due))
        .values(version=Booking.version + 1, **NO_GUEST, **NOTHING_SAID)
        .returning(Booking.id)
        .execution_options(synchronize_session=False)
    )
    return forgotten.all()
