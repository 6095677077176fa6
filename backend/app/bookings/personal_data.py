"""What bookings know of a person. See `core/personal_data.py`."""

from collections import defaultdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.bookings import (
    feed_repository,
    manage_repository,
    repository,
    series_repository,
    waitlist_repository,
)
from app.bookings.views import IMPERSONAL
from app.core import events
from app.core.events import SYSTEM, Actor, event_values
from app.core.personal_data import Records
from app.database import AnyRow

_EXPORTED = (
    "id",
    "reference",
    "status",
    "service_name",
    "provider_name",
    "location_name",
    "starts_at",
    "ends_at",
    "time_zone",
    "duration_minutes",
    "seats",
    "guest_name",
    "guest_email",
    "guest_phone",
    "answers",
    "notes",
    "price_amount",
    "price_currency",
    "source",
    "cancelled_by",
    "cancelled_reason",
    "cancelled_at",
    "created_at",
    "updated_at",
)


class BookingsOfPeople:
    """A customer's bookings. Once anonymous, they occupy their time as before."""

    section = "bookings"

    async def export(self, session: AsyncSession, user_id: UUID) -> Records:
        """The person's bookings with what happened to each. Two round trips."""
        bookings = await repository.of_customer(session, user_id)
        history = defaultdict(list)
        for event in await events.about(session, "booking", [row.id for row in bookings]):
            history[event.subject_id].append(events.described(event))
        return [_exported(row) | {"history": history[row.id]} for row in bookings]

    async def erase(self, session: AsyncSession, user_id: UUID, actor: Actor) -> None:
        """Make the person's bookings anonymous, in the log too. Three round trips.

        The bookings go first: whoever is changing one at this moment is waited for, and what they
        record is then seen by the second statement.
        """
        ids = await repository.make_anonymous(session, user_id)
        await events.forget(session, "booking", ids, keep=IMPERSONAL)
        # For those who keep copies: they are to forget as well.
        await events.record_all(
            session,
            [event_values("booking.anonymised", subject_id=i, actor=actor) for i in ids],
        )


class SeriesOfPeople:
    """The rules by which somebody booked again and again."""

    section = "booking_series"

    async def export(self, session: AsyncSession, user_id: UUID) -> Records:
        return [
            {
                "id": series.id,
                "service_id": series.service_id,
                "rrule": series.rrule,
                "wall_start": series.wall_start,
                "time_zone": series.time_zone,
                "duration_minutes": series.duration_minutes,
                "created_at": series.created_at,
            }
            for series in await series_repository.of_customer(session, user_id)
        ]

    async def erase(self, session: AsyncSession, user_id: UUID, actor: Actor) -> None:  # noqa: ARG002 - the port's
        """They stay, as the bookings made by them do, and are nobody's."""
        await series_repository.make_anonymous(session, user_id)


class WaitlistOfPeople:
    """What somebody waits for. They leave the line when they are forgotten."""

    section = "waitlist"

    async def export(self, session: AsyncSession, user_id: UUID) -> Records:
        return [
            {
                "id": row.id,
                "service_name": row.service_name,
                "provider_name": row.provider_name,
                "windows": [{"start": w.lower, "end": w.upper} for w in row.windows],
                "duration_minutes": row.duration_minutes,
                "seats": row.seats,
                "status": row.status,
                "created_at": row.created_at,
                "updated_at": row.updated_at,
            }
            for row in await waitlist_repository.of_customer(session, user_id)
        ]

    async def erase(self, session: AsyncSession, user_id: UUID, actor: Actor) -> None:  # noqa: ARG002 - the port's
        """What is being offered to them is free again when its time is up."""
        await waitlist_repository.forget(session, user_id)


class FeedsOfPeople:
    """The addresses from which somebody's calendars read."""

    section = "calendar_feeds"

    async def export(self, session: AsyncSession, user_id: UUID) -> Records:
        return [
            {"id": f.id, "shows": f.shows, "name": f.name, "created_at": f.created_at}
            for f in await feed_repository.of_user(session, user_id)
        ]

    async def erase(self, session: AsyncSession, user_id: UUID, actor: Actor) -> None:  # noqa: ARG002 - the port's
        await feed_repository.forget(session, user_id)


class BookingsOfGuests:
    """A guest's bookings. They become an account's, once it has shown that the address is its.

    What an account had shown before is looked up for each new booking (`join`). Then the guest's
    link goes on working as well: whoever booked has nothing else, and is not to learn of the
    account.
    """

    async def verified(self, session: AsyncSession, user_id: UUID, email: str) -> None:
        """Hand the bookings over. One round trip, and another one if there are any."""
        ids = await manage_repository.give_to(session, user_id, email)
        actor = Actor("user", user_id)
        await events.record_all(
            session,
            [event_values("booking.claimed", subject_id=i, actor=actor) for i in ids],
        )

    async def join(self, session: AsyncSession, booking_id: UUID) -> None:
        """Let the account with the guest's address have the booking as well. Two round trips."""
        if await manage_repository.join(session, booking_id):
            await events.record(session, "booking.claimed", subject_id=booking_id, actor=SYSTEM)

    async def forget_ended_before(
        self, session: AsyncSession, moment: datetime, *, most: int
    ) -> int:
        """Make bookings anonymous that are long over and no account's; how many it were.

        As `BookingsOfPeople.erase`, in the log too. Three round trips. Answers kept for repeated
        requests go by themselves, within a day.
        """
        ids = await manage_repository.forget_ended_before(session, moment, most=most)
        await events.forget(session, "booking", ids, keep=IMPERSONAL)
        await events.record_all(
            session,
            [event_values("booking.anonymised", subject_id=i, actor=SYSTEM) for i in ids],
        )
        return len(ids)


def _exported(row: AnyRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _EXPORTED}
