"""Offering what has become free to who waits for it, in order."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.errors import NoSeatsLeft, SlotHeld, SlotTaken, SlotUnavailable
from app.availability.schemas import instant, minute
from app.availability.service import Wish
from app.availability.vacancy_service import VacancyService
from app.bookings import waitlist_repository as repository
from app.bookings.hold_service import Holder, HoldService
from app.bookings.waitlist import Vacancies, Waiting
from app.bookings.waitlist_models import WaitlistEntry
from app.bookings.waitlist_schemas import EntryStatus
from app.core.clock import Clock
from app.core.events import SYSTEM, event_values, record, record_all
from app.core.jobs import enqueue
from app.database import AnyRow

MAIL_OFFER = "waitlist.mail_offer"

_MOST_AT_ONCE = 50
"""Offers of one run; what is left is for the next one, so that no transaction grows without end."""
_REFUSALS = (SlotTaken, SlotHeld, NoSeatsLeft, SlotUnavailable)


class WaitlistOfferService:
    """`lifetime` is how long an offer lasts, if the time that is offered does not begin before."""

    def __init__(
        self,
        session: AsyncSession,
        vacancies: VacancyService,
        holds: HoldService,
        clock: Clock,
        lifetime: timedelta,
    ) -> None:
        self._session = session
        self._vacancies = vacancies
        self._holds = holds
        self._clock = clock
        self._lifetime = lifetime

    async def offer(self, service_id: UUID) -> None:
        """End the service's offers that are over, and offer what is free to the first in line.

        However often and by however many it is run, at once or one after the other: the second
        waits for the first and finds nothing left to do. Five round trips if nothing is to be
        offered, and nine for each offer.
        """
        await repository.lock_list(self._session, service_id)
        queue, offered = await self._still_waiting(service_id), 0
        if not queue:
            return
        until = max(end for entry in queue for _, end in _windows(entry))
        vacancies = await self._look(service_id, until)
        while queue and vacancies is not None:
            entry = queue[0]
            start = vacancies.first_for(_waiting(entry))
            if start is None:
                queue.pop(0)
                continue
            if offered == _MOST_AT_ONCE:
                await repository.announce_service(self._session, service_id)
                return
            if await self._offer(entry, instant(start)):
                offered += 1
            # Else somebody was faster: this one is the first to be asked next time as well.
            queue.pop(0)
            vacancies = await self._look(service_id, until)

    async def _still_waiting(self, service_id: UUID) -> list[WaitlistEntry]:
        """Those who wait, in order, once what is over has ended."""
        entries = await repository.live_entries(self._session, service_id)
        ended = await repository.end_offers(
            self._session, [entry.id for entry in entries], self._clock()
        )
        if ended:
            await record_all(self._session, [_ending(row) for row in ended])
            entries = await repository.live_entries(self._session, service_id)
        return [entry for entry in entries if entry.status == EntryStatus.WAITING]

    async def _look(self, service_id: UUID, until: datetime) -> Vacancies | None:
        plan = await self._vacancies.plan(service_id, until)
        return Vacancies(plan, self._clock(), minute(until)) if plan is not None else None

    async def _offer(self, entry: WaitlistEntry, start: datetime) -> bool:
        """Hold the time for them, and have them told; False: somebody was faster."""
        wish = Wish(
            entry.service_id,
            start,
            entry.provider_id,
            duration_minutes=entry.duration_minutes,
            seats=entry.seats,
        )
        # Whoever holds something else may be offered this all the same: each counts for itself.
        holder = Holder(f"waitlist {entry.id}", entry.customer_id, SYSTEM)
        lifetime = min(self._lifetime, start - self._clock())
        try:
            held = (await self._holds.take(wish, holder, lifetime)).row
        except _REFUSALS:
            return False
        entry.status = EntryStatus.OFFERED.value
        entry.hold_id, entry.offered_until = held.id, held.expires_at
        entry.offered_during = Range(held.starts_at, held.ends_at)
        await self._session.flush()
        await record(
            self._session,
            "waitlist.offered",
            subject_id=entry.id,
            actor=SYSTEM,
            after={
                "status": entry.status,
                "hold_id": str(held.id),
                "start": held.starts_at.astimezone(UTC).isoformat(),
                "end": held.ends_at.astimezone(UTC).isoformat(),
            },
        )
        await enqueue(self._session, MAIL_OFFER, entry.id)
        return True


def _ending(row: AnyRow) -> dict[str, Any]:
    """The event for an entry that is no longer what it was."""
    what = "offer_ended" if row.status == EntryStatus.WAITING else row.status
    after = {"status": row.status}
    return event_values(f"waitlist.{what}", subject_id=row.id, actor=SYSTEM, after=after)


def _windows(entry: WaitlistEntry) -> list[tuple[datetime, datetime]]:
    return [
        (w.lower, w.upper) for w in entry.windows if w.lower is not None and w.upper is not None
    ]


def _waiting(entry: WaitlistEntry) -> Waiting:
    return Waiting(
        [(minute(begin), int(end.timestamp() // 60)) for begin, end in _windows(entry)],
        entry.provider_id,
        entry.duration_minutes,
        entry.seats,
    )
