"""Waiting for a time that may become free."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.availability.plan import Plan
from app.availability.vacancy_service import VacancyService
from app.bookings import waitlist_repository as repository
from app.bookings.errors import HoldExpired, PolicyReason, PolicyViolation
from app.bookings.hold_service import HoldService, Proof
from app.bookings.schemas import BookingCreate, BookingOut, NamedProvider, NamedService
from app.bookings.service import BookingService
from app.bookings.waitlist_models import WaitlistEntry
from app.bookings.waitlist_schemas import (
    Acceptance,
    EntryStatus,
    OfferOut,
    WaitlistJoin,
    WaitlistOut,
    Window,
    WindowOut,
)
from app.core.clock import Clock
from app.core.errors import InvalidTransition, NotFound, ValidationFailed
from app.core.events import record
from app.core.ids import new_id
from app.core.pagination import Page, PageRequest
from app.core.preconditions import IfMatch
from app.database import AnyRow

MAXIMUM_ENTRIES: Final = 20
"""How many times one customer may wait for at once."""


class WaitlistService:
    def __init__(
        self,
        session: AsyncSession,
        vacancies: VacancyService,
        bookings: BookingService,
        holds: HoldService,
        clock: Clock,
    ) -> None:
        self._session = session
        self._vacancies = vacancies
        self._bookings = bookings
        self._holds = holds
        self._clock = clock

    async def join(self, wanted: WaitlistJoin, principal: Principal) -> WaitlistOut:
        """Get in line. If what is waited for is free already, it is offered at once.

        Six round trips.

        Raises:
            NotFound: no such service.
            ValidationFailed: nobody gives it like this, or a window is past.
            PolicyViolation: the customer waits for enough already.
        """
        plan = await self._vacancies.offer(wanted.service_id)
        if plan is None:
            raise NotFound("There is no such service.")
        _check(wanted, plan)
        now = self._clock()
        for number, window in enumerate(wanted.windows):
            if window.end <= now:
                raise ValidationFailed.at(f"#/windows/{number}/end", "it is past")
        if await repository.live_count(self._session, principal.user_id) >= MAXIMUM_ENTRIES:
            raise PolicyViolation(PolicyReason.TOO_MANY_ENTRIES)
        entry = WaitlistEntry(
            id=new_id(),
            service_id=wanted.service_id,
            customer_id=principal.user_id,
            provider_id=wanted.provider_id,
            duration_minutes=wanted.duration_minutes,
            seats=wanted.seats,
            windows=_merged(wanted.windows),
            status=EntryStatus.WAITING.value,
        )
        self._session.add(entry)
        await self._session.flush()
        await record(
            self._session,
            "waitlist.joined",
            subject_id=entry.id,
            actor=principal.actor,
            after={"status": entry.status, "service_id": str(entry.service_id)},
        )
        await repository.announce_service(self._session, entry.service_id)
        return await self._shown(entry.id)

    async def list_entries(
        self,
        page: PageRequest,
        *,
        sort: str,
        principal: Principal,
        service_id: UUID | None,
        status: EntryStatus | None,
    ) -> Page[WaitlistOut]:
        """The caller's places in lines; everybody's, for who may read all bookings."""
        everyone = principal.may(Permission.BOOKINGS_READ_ALL)
        return await repository.ENTRIES.page(
            self._session,
            repository.entries(
                self._clock(),
                visible_to=None if everyone else principal.user_id,
                service_id=service_id,
                status=status.value if status else None,
            ),
            page,
            sort=sort,
            build=_out,
        )

    async def withdraw(self, entry_id: UUID, seen: IfMatch, principal: Principal) -> None:
        """Leave the line; what is being offered goes to the next. At most nine round trips.

        Raises:
            NotFound: no such entry, or somebody else's.
            VersionMismatch, InvalidTransition.
        """
        entry = await self._locked(entry_id, principal, for_others=True)
        seen.check(entry.version)
        if entry.status not in {EntryStatus.WAITING, EntryStatus.OFFERED}:
            raise InvalidTransition(f"An entry that is {entry.status} cannot be withdrawn.")
        hold_id, customer_id = entry.hold_id, entry.customer_id
        _close(entry, EntryStatus.WITHDRAWN)
        await self._session.flush()
        if hold_id is not None:
            await self._holds.end_early(hold_id, Proof(customer_id))
        await record(
            self._session,
            "waitlist.withdrawn",
            subject_id=entry_id,
            actor=principal.actor,
            after={"status": entry.status},
        )

    async def accept(
        self, entry_id: UUID, wanted: Acceptance, seen: IfMatch, principal: Principal
    ) -> BookingOut:
        """Book what is offered, with the hold that keeps it.

        Raises:
            NotFound: no such entry, or somebody else's.
            HoldExpired: the offer is over.
            VersionMismatch.
            InvalidTransition: nothing has been offered, or it has been accepted before.
            ValidationFailed, SlotUnavailable: as for any booking.
        """
        entry = await self._locked(entry_id, principal)
        seen.check(entry.version)
        if entry.status in {EntryStatus.WAITING, EntryStatus.EXPIRED} and (
            await repository.was_offered(self._session, entry_id)
        ):
            raise HoldExpired
        if entry.hold_id is None:
            raise InvalidTransition(f"There is nothing to accept: the entry is {entry.status}.")
        try:
            hold = await self._holds.mine(entry.hold_id, Proof(principal.user_id))
        except NotFound:
            raise HoldExpired from None
        booking = await self._bookings.book(
            BookingCreate(
                service_id=hold.service_id,
                start=hold.starts_at,
                hold_id=hold.id,
                answers=wanted.answers,
                notes=wanted.notes,
            ),
            principal,
        )
        _close(entry, EntryStatus.ACCEPTED)
        entry.booking_id = booking.id
        await self._session.flush()
        await record(
            self._session,
            "waitlist.accepted",
            subject_id=entry_id,
            actor=principal.actor,
            after={"status": entry.status, "booking_id": str(booking.id)},
        )
        return booking

    async def _locked(
        self, entry_id: UUID, principal: Principal, *, for_others: bool = False
    ) -> WaitlistEntry:
        entry = await repository.entry_for_update(self._session, entry_id)
        may = for_others and principal.may(Permission.BOOKINGS_WRITE_ALL)
        if entry is None or not (may or entry.customer_id == principal.user_id):
            raise NotFound
        return entry

    async def _shown(self, entry_id: UUID) -> WaitlistOut:
        row = await repository.entry(self._session, entry_id, self._clock())
        if row is None:
            raise NotFound
        return _out(row)


def _check(wanted: WaitlistJoin, plan: Plan) -> None:
    """Raise ValidationFailed for what can never be offered."""
    duration = wanted.duration_minutes or plan.durations[0]
    if duration not in plan.durations:
        raise ValidationFailed.at("#/duration_minutes", "not one of the service's durations")
    if wanted.seats > plan.capacity:
        raise ValidationFailed.at("#/seats", "more than a session has")
    if wanted.provider_id is not None and not plan.groups(wanted.provider_id):
        raise ValidationFailed.at("#/provider_id", "they do not give this service")
    for number, window in enumerate(wanted.windows):
        if (window.end - window.start).total_seconds() < duration * 60:
            raise ValidationFailed.at(f"#/windows/{number}", "the appointment does not fit in")


def _merged(windows: Sequence[Window]) -> list[Range[datetime]]:
    """The windows in order, those that touch as one, as Postgres keeps them."""
    merged: list[tuple[datetime, datetime]] = []
    for window in sorted(windows, key=lambda w: w.start):
        if merged and window.start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], window.end))
        else:
            merged.append((window.start, window.end))
    return [Range(start, end) for start, end in merged]


def _close(entry: WaitlistEntry, status: EntryStatus) -> None:
    entry.status = status.value
    entry.hold_id = entry.offered_until = entry.offered_during = None


def _out(row: AnyRow) -> WaitlistOut:
    provider = None
    if row.provider_id is not None:
        provider = NamedProvider(id=row.provider_id, display_name=row.provider_name)
    return WaitlistOut(
        id=row.id,
        status=row.status,
        service=NamedService(id=row.service_id, name=row.service_name),
        provider=provider,
        customer_id=row.customer_id,
        windows=[WindowOut(start=w.lower, end=w.upper) for w in row.windows],
        duration_minutes=row.duration_minutes,
        seats=row.seats,
        offer=_offer(row),
        booking_id=row.booking_id,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _offer(row: AnyRow) -> OfferOut | None:
    if row.offer_id is None:
        return None
    zone = ZoneInfo(row.offer_time_zone)
    return OfferOut(
        start=row.offer_starts_at.astimezone(zone),
        end=row.offer_ends_at.astimezone(zone),
        time_zone=row.offer_time_zone,
        provider=NamedProvider(id=row.offer_provider_id, display_name=row.offer_provider_name),
        until=row.offer_until,
    )
