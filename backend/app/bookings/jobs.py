"""Bookings' jobs. Each runs outside any request, in transactions of its own."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import structlog

from app.availability.service import AvailabilityService
from app.availability.vacancy_service import VacancyService
from app.bookings import hold_repository, mails, waitlist_repository
from app.bookings.action_service import ActionService
from app.bookings.hold_service import END_HOLD, HoldService
from app.bookings.manage_tokens import ManageTokens
from app.bookings.personal_data import BookingsOfGuests
from app.bookings.service import EXPIRE, JOIN_ACCOUNT
from app.bookings.waitlist_offer_service import MAIL_OFFER, WaitlistOfferService
from app.bookings.waitlist_repository import OFFER, announce_all
from app.config import Settings
from app.core.cleaning import in_batches
from app.core.clock import Clock
from app.core.jobs import Handler, Routine, enqueue
from app.core.letters import set_letter
from app.core.mail import Mailer
from app.core.words import words_for
from app.database import Database

log = structlog.get_logger(__name__)

_BATCH = 500
"""Bookings made anonymous in one transaction, so that none takes long."""

_OVERDUE = timedelta(minutes=10)
_KEPT_AFTER_WAITING = timedelta(days=90)


class BookingJobs:
    def __init__(self, database: Database, settings: Settings, clock: Clock) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return {
            EXPIRE: self.expire,
            END_HOLD: self.end_hold,
            JOIN_ACCOUNT: self.join_account,
        }

    @property
    def routines(self) -> Mapping[str, tuple[str, Routine]]:
        return {
            "bookings.forget_guests": ("23 3 * * *", self.forget_guests),
            "holds.sweep": ("*/10 * * * *", self.end_overdue_holds),
        }

    async def join_account(self, booking_id: UUID) -> None:
        """Let an account find what was booked as a guest with an address that it has verified."""
        async with self._database.transaction() as session:
            await BookingsOfGuests().join(session, booking_id)

    async def forget_guests(self) -> None:
        """Forget those guests whose appointments ended GUEST_DATA_RETENTION_DAYS ago; 0: nobody."""
        days = self._settings.GUEST_DATA_RETENTION_DAYS
        if not days:
            return
        ended_before, forgotten = self._clock() - timedelta(days=days), _BATCH
        while forgotten == _BATCH:
            async with self._database.transaction() as session:
                forgotten = await BookingsOfGuests().forget_ended_before(
                    session, ended_before, most=_BATCH
                )
            log.info("guests_forgotten", bookings=forgotten)

    async def expire(self, booking_id: UUID) -> None:
        """End the wait of a booking that nobody has approved in time."""
        async with self._database.transaction() as session:
            availability = AvailabilityService(session, self._clock)
            await ActionService(
                session, availability, self._clock, ManageTokens(self._settings)
            ).expire(booking_id)

    async def end_hold(self, hold_id: UUID) -> None:
        """Clear away a hold that has ended; one that was extended is looked at again."""
        async with self._database.transaction() as session:
            availability = AvailabilityService(session, self._clock)
            most = self._settings.HOLDS_PER_CALLER
            holds = HoldService(session, availability, self._clock, most)
            left = await holds.end_if_due(hold_id)
            if left is not None:
                await enqueue(session, END_HOLD, hold_id, after=left)

    async def end_overdue_holds(self) -> None:
        """Clear away holds whose own job has not: it failed for good, or was lost."""
        before = self._clock() - _OVERDUE
        async with self._database.reading() as session:
            ids = await hold_repository.overdue(session, before, _BATCH)
        if ids:
            log.warning("holds_overdue", holds=len(ids))
        for hold_id in ids:
            await self.end_hold(hold_id)


class WaitlistJobs:
    """What is free is offered to who waits for it."""

    def __init__(
        self, database: Database, mailer: Mailer, settings: Settings, clock: Clock
    ) -> None:
        self._database = database
        self._mailer = mailer
        self._settings = settings
        self._clock = clock

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return {OFFER: self.offer, MAIL_OFFER: self.mail_offer}

    @property
    def routines(self) -> Mapping[str, tuple[str, Routine]]:
        return {
            "waitlist.sweep": ("* * * * *", self.sweep),
            "waitlist.forget_ended": ("37 3 * * *", self.forget_ended),
        }

    async def offer(self, service_id: UUID) -> None:
        """Look who can be offered something of a service; see `WaitlistOfferService`."""
        async with self._database.transaction() as session:
            settings, clock = self._settings, self._clock
            availability = AvailabilityService(session, clock)
            offers = WaitlistOfferService(
                session,
                VacancyService(session, clock),
                HoldService(session, availability, clock, settings.HOLDS_PER_CALLER),
                clock,
                timedelta(minutes=settings.WAITLIST_OFFER_MINUTES),
            )
            await offers.offer(service_id)

    async def sweep(self) -> None:
        """Look at every line each minute: not all that frees time announces it.

        Schedules change, booking windows move on, and a machine may have died in between.
        """
        async with self._database.transaction() as session:
            await announce_all(session)

    async def forget_ended(self) -> None:
        """Forget who has waited for what, 90 days after the wait ended, well or not."""
        before = self._clock() - _KEPT_AFTER_WAITING
        forget = waitlist_repository.forget_ended
        await in_batches(self._database, "waitlist_entries", forget, before)

    async def mail_offer(self, entry_id: UUID) -> None:
        """Tell somebody what is kept for them, while it is.

        Raises:
            MailNotSent, MailRefused.
        """
        async with self._database.reading() as session:
            row = await waitlist_repository.offer_to_mail(session, entry_id, self._clock())
        if row is None:
            return
        project, frontend = self._settings.PROJECT_NAME, str(self._settings.FRONTEND_HOST)
        say = words_for(row.customer_locale, self._settings.DEFAULT_LOCALE)
        link = f"{frontend.rstrip('/')}/waitlist/{row.id}"
        letter = set_letter(mails.offered(say, project, row, link), say, project)
        await self._mailer.send(letter, to=row.customer_email, reference=f"hold.{row.offer_id}")
