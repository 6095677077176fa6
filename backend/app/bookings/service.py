"""Booking and seeing appointments; what is done with them later is in `action_service`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from secrets import SystemRandom
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from asyncpg import ForeignKeyViolationError
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.errors import EmailDomainNotAllowed
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.auth.rules import email_domain_allowed
from app.availability.errors import SlotTaken, SlotUnavailable
from app.availability.plan import Candidate
from app.availability.rules import Reason
from app.availability.service import (
    AvailabilityService,
    Opening,
    Wish,
    taking,
    taking_held,
)
from app.bookings import repository
from app.bookings.allowance_service import customers_limits, zones_of, zones_with_enough
from app.bookings.assignment_service import Choice, choices, records_for
from app.bookings.errors import HoldExpired
from app.bookings.hold_models import Hold
from app.bookings.hold_service import HoldService, Proof, used_event
from app.bookings.manage_tokens import ManageTokens
from app.bookings.questions import checked_answers
from app.bookings.repository import Filter
from app.bookings.rules import (
    GUEST,
    Caller,
    Role,
    Status,
    approval_ends,
    changes_with_time,
    role_of,
)
from app.bookings.schemas import BookingCreate, BookingCreated, BookingOut, Guest, HistoryItem
from app.bookings.views import booking_out, described, history
from app.config import Settings
from app.core.clock import Clock
from app.core.errors import FieldError, Forbidden, NotFound, Unauthenticated, ValidationFailed
from app.core.events import about, event_values
from app.core.ids import new_id, new_reference
from app.core.jobs import NewJob, enqueue, enqueue_all
from app.core.metrics import BOOKINGS_CREATED
from app.core.pagination import Page, PageRequest
from app.core.unit_of_work import constraint_name, when_committed
from app.database import AnyRow

EXPIRE = "booking.expire"
"""The job that ends a booking's wait for approval."""
JOIN_ACCOUNT = "booking.join_account"
"""The job that looks whether the guest's address is an account's."""

_random = SystemRandom()


class BookingService:
    def __init__(
        self,
        session: AsyncSession,
        availability: AvailabilityService,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._session = session
        self._availability = availability
        self._clock = clock
        self._settings = settings
        self._holds = HoldService(session, availability, clock, settings.HOLDS_PER_CALLER)
        self._tokens = ManageTokens(settings)

    async def book(self, wanted: BookingCreate, principal: Principal | None) -> BookingCreated:
        """Book a time with the wished provider, or with one whom the service's assignment picks.

        Two round trips: one for everything the decision needs, one that takes the time and writes
        the booking, its event, what is to follow and the calendars' versions. What must be decided
        under locks takes four (see `AvailabilityService.opening`). A hold that is used adds one,
        and another one where customers are limited. Each candidate lost to a race adds one.

        Raises:
            NotFound: no such service, location or hold.
            SlotUnavailable: the time cannot be booked, with the reason.
            SlotTaken, SlotHeld, NoSeatsLeft: somebody has it, or was faster.
            HoldExpired: the hold has ended.
            Unauthenticated: a visitor, and the service admits no guests.
            Forbidden, EmailDomainNotAllowed, ValidationFailed: for whom it is.
        """
        customer_id = self._customer(wanted, principal)
        hold = None
        if wanted.hold_id is not None:
            hold = await self._hold(wanted, principal)
            opening = await self._held(hold, customer_id)
        else:
            opening = await self._opening(wanted, customer_id)
        if principal is None and not opening.plan.allow_guests:
            raise Unauthenticated
        booking = {
            "customer_id": customer_id,
            "answers": checked_answers(wanted.answers, opening.plan.questions),
            "notes": wanted.notes,
            "source": _source(customer_id, principal),
            **(_guest_columns(wanted.guest) if wanted.guest else {}),
        }
        if hold is not None:
            choose = [Choice(opening.candidates[0], hold.assigned or {})]
        else:
            choose = choices(opening, requested=wanted.provider_id is not None)
        enough: Collection[str] = ()
        for choice in choose:
            if choice.candidate.lead.hours.zone in enough:
                continue
            booking["assigned"] = choice.reason or None
            row = await self._take(opening, choice.candidate, booking, principal, hold)
            if row is not None:
                when_committed(self._session, BOOKINGS_CREATED.inc)
                return self._answer(row, principal)
            enough = await zones_with_enough(
                *(self._session, opening.plan, opening.start, zones_of(opening)),
                *(customer_id, self._clock()),
            )
        if enough:
            raise SlotUnavailable(Reason.LIMIT_REACHED)
        raise SlotTaken if hold is None else HoldExpired

    async def _opening(self, wanted: BookingCreate, customer_id: UUID | None) -> Opening:
        wish = Wish(
            wanted.service_id,
            wanted.start,
            wanted.provider_id,
            wanted.location_id,
            wanted.duration_minutes,
            wanted.seats,
        )
        return await self._availability.opening(wish, customer_id=customer_id, ask=records_for)

    async def _hold(self, wanted: BookingCreate, principal: Principal | None) -> Hold:
        """The caller's hold, if it is of what is wanted."""
        if wanted.hold_id is None:
            raise ValueError("no hold is named")
        secret = wanted.hold_secret.get_secret_value() if wanted.hold_secret else None
        proof = Proof(principal.user_id if principal else None, secret)
        hold = await self._holds.mine(wanted.hold_id, proof)
        _check_that_it_is_held(wanted, hold)
        return hold

    async def _held(self, hold: Hold, customer_id: UUID | None) -> Opening:
        wish = Wish(
            hold.service_id,
            hold.starts_at,
            hold.provider_id,
            hold.location_id,
            hold.duration_minutes,
            hold.seats,
        )
        opening = await self._availability.kept(
            wish, provider_ids=hold.provider_ids, resource_ids=hold.resource_ids
        )
        if opening.plan.limits.bind_customer and customer_id is not None:
            await self._availability.lock([customer_id])
        return opening

    def _answer(self, row: AnyRow, principal: Principal | None) -> BookingCreated:
        """A new booking as who made it sees it; a guest's answer has the token."""
        caller = Caller.of(principal) if principal else GUEST
        booking = booking_out(row, caller, self._clock())
        if row.manage_salt is None or principal is not None:
            return BookingCreated.model_construct(**booking.__dict__)
        # It is the guest's, and none of the staff's business.
        token = self._tokens.derive(row.id, row.manage_salt)
        return BookingCreated.model_construct(**booking.__dict__, manage_token=token)

    async def show(self, booking_id: UUID, principal: Principal) -> BookingOut:
        """A booking. Raises NotFound also for another person's: both look the same."""
        caller = Caller.of(principal)
        row, _ = await self._visible(booking_id, caller)
        return booking_out(row, caller, self._clock())

    async def show_version(self, booking_id: UUID, principal: Principal) -> tuple[BookingOut, bool]:
        """A booking, and whether its version says all there is to say about the answer.

        It does not once time has changed what may be done, or somebody the name of somebody or
        something in it: then two answers may differ and have the same version.

        Raises:
            NotFound: no such booking, or somebody else's.
        """
        caller, now = Caller.of(principal), self._clock()
        row, role = await self._visible(booking_id, caller)
        may_differ = changes_with_time(role, row, now) or row.named_at > row.updated_at
        return booking_out(row, caller, now), not may_differ

    async def history(self, booking_id: UUID, principal: Principal) -> list[HistoryItem]:
        """All that happened to a booking, the oldest first. Two round trips.

        Raises:
            NotFound: no such booking, or somebody else's.
        """
        caller = Caller.of(principal)
        row, role = await self._visible(booking_id, caller)
        events = await about(self._session, "booking", [booking_id])
        return history(events, caller, role, row.customer_id)

    async def list_bookings(
        self, wanted: Filter, page: PageRequest, *, sort: str, principal: Principal
    ) -> Page[BookingOut]:
        """The caller's bookings, as customer and as provider; all, for who may read all."""
        everyone = principal.may(Permission.BOOKINGS_READ_ALL)
        caller, now = Caller.of(principal), self._clock()
        return await repository.BOOKINGS.page(
            self._session,
            repository.bookings(
                wanted, visible_to=None if everyone else principal.user_id, now=now
            ),
            page,
            sort=sort,
            build=lambda row: booking_out(row, caller, now),
        )

    async def _visible(self, booking_id: UUID, caller: Caller) -> tuple[AnyRow, Role]:
        row = await repository.view(self._session, booking_id)
        role = role_of(caller, row) if row is not None else None
        if row is None or role is None:
            raise NotFound
        return row, role

    async def _take(
        self,
        opening: Opening,
        candidate: Candidate,
        given: dict[str, Any],
        principal: Principal | None,
        hold: Hold | None,
    ) -> AnyRow | None:
        """Book this candidate; None: somebody was faster, or the customer has enough."""
        booking_id, actor = new_id(), principal.actor if principal else GUEST.actor
        now = self._clock()
        booking = new_booking(opening, candidate, now) | given
        until = booking["expires_at"]
        if hold is None:
            how = taking(opening, candidate, booking_id, session_id=new_id(), until=until)
        else:
            how = taking_held(
                booking_id,
                hold_id=hold.id,
                allocation_id=hold.allocation_id,
                subjects=len(candidate.subject_ids),
                now=now,
                until=until,
            )
        booking |= {"id": booking_id, "allocation_id": how.allocation_id}
        if booking["guest_email"] is not None:
            booking |= self._tokens.new_columns(booking_id)
        limits = customers_limits(opening, candidate, booking["customer_id"], now)
        try:
            row = await repository.book(
                self._session,
                taking=how,
                booking=booking,
                event=event_values(
                    "booking.created",
                    subject_id=booking_id,
                    actor=actor,
                    after=described(booking),
                ),
                limits=limits,
                jobs=self._following(booking, now),
                hold_event=used_event(hold, booking_id, actor) if hold else None,
            )
        except ForeignKeyViolationError as error:
            if constraint_name(error) == "fk_bookings_customer_id_users":
                raise ValidationFailed.at("#/customer_id", "no such account") from None
            raise
        if row is None and how.subjects > 1:
            await self._availability.undo(how)
        return row

    def _following(self, booking: Mapping[str, Any], now: datetime) -> list[NewJob]:
        """What a new booking brings about.

        Whether a guest's address has an account is looked up later, at a random moment: neither
        the answer nor the time that it takes depends on it (ADR 11).
        """
        jobs = []
        if booking["status"] == Status.PENDING:
            jobs.append(NewJob(EXPIRE, booking["id"], booking["expires_at"] - now))
        if booking["guest_email"] is not None:
            later = timedelta(seconds=_random.uniform(0, self._settings.ACCOUNT_MAIL_DELAY_SECONDS))
            jobs.append(NewJob(JOIN_ACCOUNT, booking["id"], later))
        return jobs

    def _customer(self, wanted: BookingCreate, principal: Principal | None) -> UUID | None:
        """The account that it is for; None: a guest's."""
        guest = wanted.guest
        if guest is not None and wanted.customer_id is not None:
            raise ValidationFailed.at("#/guest", "either a guest or a customer")
        if principal is None:
            if guest is None:
                raise Unauthenticated
        elif guest is None:
            return customer_of(wanted.customer_id, principal)
        elif not principal.may(Permission.BOOKINGS_WRITE_ALL):
            raise Forbidden("Only staff book for others.")
        if guest is not None:
            domains = self._settings.ALLOWED_EMAIL_DOMAINS
            if self._settings.ENFORCE_EMAIL_DOMAIN and not email_domain_allowed(
                guest.email, domains
            ):
                raise EmailDomainNotAllowed
        return wanted.customer_id


async def expire_in_time(session: AsyncSession, booking: AnyRow, now: datetime) -> None:
    """Have a booking that waits for approval expire when its time is up; one round trip."""
    if booking.status == Status.PENDING:
        await enqueue(session, EXPIRE, booking.id, after=booking.expires_at - now)


async def expire_each_in_time(
    session: AsyncSession, bookings: Sequence[AnyRow], now: datetime
) -> None:
    """The same for many of them; one round trip."""
    waits = {b.id: b.expires_at - now for b in bookings if b.status == Status.PENDING}
    await enqueue_all(session, EXPIRE, waits)


def customer_of(wanted_id: UUID | None, principal: Principal) -> UUID:
    """Whom a booking is for: the caller, or whom staff name. Raises Forbidden."""
    if wanted_id is None or wanted_id == principal.user_id:
        return principal.user_id
    if not principal.may(Permission.BOOKINGS_WRITE_ALL):
        raise Forbidden("Only staff book for others.")
    return wanted_id


def _source(customer_id: UUID | None, principal: Principal | None) -> str:
    if principal is None:
        return Role.GUEST.value
    return (Role.CUSTOMER if customer_id == principal.user_id else Role.STAFF).value


def _guest_columns(guest: Guest) -> dict[str, Any]:
    return {
        "guest_name": guest.name,
        "guest_email": guest.email,
        "guest_phone": guest.phone,
        "guest_time_zone": guest.time_zone,
    }


def _check_that_it_is_held(wanted: BookingCreate, hold: Hold) -> None:
    """Raise ValidationFailed for whatever is named and is not what the hold has taken."""
    held = {
        "service_id": hold.service_id,
        "start": hold.starts_at,
        "provider_id": hold.provider_id,
        "location_id": hold.location_id,
        "duration_minutes": hold.duration_minutes,
        "seats": hold.seats,
    }
    errors = [
        FieldError("not what is held", f"#/{name}")
        for name, value in held.items()
        if name in wanted.model_fields_set and getattr(wanted, name) not in {None, value}
    ]
    if errors:
        raise ValidationFailed(errors=errors)


def new_booking(opening: Opening, candidate: Candidate, now: datetime) -> dict[str, Any]:
    """The columns of a booking that an opening and a candidate decide; others are empty."""
    plan, lead = opening.plan, candidate.lead
    zone = lead.hours.zone
    is_pending = plan.approval == "required"
    return {
        "provider_id": lead.id,
        "provider_ids": candidate.provider_ids,
        "resource_ids": list(candidate.resource_ids),
        "location_id": candidate.location_id,
        "service_id": plan.service_id,
        "series_id": None,
        "reference": new_reference(),
        "status": (Status.PENDING if is_pending else Status.CONFIRMED).value,
        "expires_at": approval_ends(opening.start, now) if is_pending else None,
        "starts_at": opening.start,
        "ends_at": opening.end,
        "time_zone": zone,
        "wall_start": opening.start.astimezone(ZoneInfo(zone)).replace(tzinfo=None),
        "duration_minutes": opening.duration,
        "seats": opening.seats,
        "price_amount": plan.price_amount,
        "price_currency": plan.price_currency,
        "policy": dict(plan.policy),
        "answers": {},
        "assigned": None,
        "guest_name": None,
        "guest_email": None,
        "guest_phone": None,
        "guest_time_zone": None,
        "manage_digest": None,
        "manage_salt": None,
    }
