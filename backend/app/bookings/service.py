"""Booking, seeing and cancelling appointments."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from asyncpg import ForeignKeyViolationError
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.availability.errors import SlotTaken, SlotUnavailable
from app.availability.plan import Candidate
from app.availability.rules import Reason
from app.availability.service import (
    AvailabilityService,
    Opening,
    Taking,
    Wish,
    local_day_around,
    taking,
)
from app.bookings import repository
from app.bookings.errors import PolicyReason, PolicyViolation
from app.bookings.repository import CustomersLimits, Filter
from app.bookings.rules import (
    PENDING_LIFETIME,
    Status,
    allowed_actions,
    cancel_deadline,
    is_staff,
    may_see,
)
from app.bookings.schemas import (
    AllowedActionOut,
    BookingCreate,
    BookingOut,
    Cancelled,
    Customer,
    NamedProvider,
    NamedService,
    Policy,
)
from app.catalog.schemas import Money
from app.core.clock import Clock
from app.core.errors import Forbidden, NotFound, ValidationFailed
from app.core.events import event_values, record
from app.core.ids import new_id, new_reference
from app.core.pagination import Page, PageRequest
from app.core.preconditions import IfMatch
from app.core.unit_of_work import constraint_name
from app.database import AnyRow


class BookingService:
    def __init__(
        self, session: AsyncSession, availability: AvailabilityService, clock: Clock
    ) -> None:
        self._session = session
        self._availability = availability
        self._clock = clock

    async def book(self, wanted: BookingCreate, principal: Principal) -> BookingOut:
        """Book a time with the wished provider, or with one whom the service's assignment picks.

        Two round trips: one for everything the decision needs, one that takes the time and writes
        the booking, its event and the calendars' versions. Each candidate lost to a race adds one;
        what one insert cannot decide adds two (see `AvailabilityService.opening`).

        Raises:
            NotFound: no such service, or location.
            SlotUnavailable: the time cannot be booked, with the reason.
            SlotTaken, SlotHeld, NoSeatsLeft: somebody has it, or was faster.
            Forbidden, ValidationFailed: booking for another customer.
        """
        customer_id = _customer(wanted, principal)
        wish = Wish(
            wanted.service_id,
            wanted.start,
            wanted.provider_id,
            wanted.location_id,
            wanted.duration_minutes,
            wanted.seats,
        )
        opening = await self._availability.opening(wish)
        plan = opening.plan
        if plan.limits.bind_customer and customer_id is not None:
            # Two bookings of one customer are counted one after the other.
            opening = await self._availability.opening(wish, locking=[customer_id])
        booking = {
            "customer_id": customer_id,
            "notes": wanted.notes,
            "source": "customer" if customer_id == principal.user_id else "staff",
        }
        for candidate in opening.candidates:
            row = await self._take(opening, candidate, booking, principal)
            if row is not None:
                return _booking_out(row, principal, self._clock())
        raise SlotTaken

    async def cancel(
        self, booking_id: UUID, reason: str, seen: IfMatch, principal: Principal
    ) -> BookingOut:
        """Cancel a booking and give its time back.

        Raises:
            NotFound: no such booking, or somebody else's.
            VersionMismatch, InvalidTransition.
            PolicyViolation: a customer's deadline has passed.
        """
        row = await self._visible(booking_id, principal)
        booking = await repository.booking_for_update(self._session, row.id)
        if booking is None:
            raise NotFound
        seen.check(booking.version)
        now, staff = self._clock(), is_staff(principal, row)
        if not staff and booking.customer_id != principal.user_id:
            raise Forbidden
        before = booking.status
        released = booking.cancel(by="staff" if staff else "customer", reason=reason, at=now)
        deadline = cancel_deadline(principal, row)
        if deadline is not None and now > deadline:
            raise PolicyViolation(PolicyReason.CANCEL_DEADLINE_PASSED)
        await self._session.flush()
        if released is not None:
            await self._availability.release(booking.id, released)
        await record(
            self._session,
            "booking.cancelled",
            subject_id=booking_id,
            actor=principal.actor,
            before={"status": before},
            after={"status": booking.status, "reason": reason, "by": booking.cancelled_by},
        )
        return await self.show(booking_id, principal)

    async def show(self, booking_id: UUID, principal: Principal) -> BookingOut:
        """A booking. Raises NotFound also for another person's: both look the same."""
        row = await self._visible(booking_id, principal)
        return _booking_out(row, principal, self._clock())

    async def list_bookings(
        self, wanted: Filter, page: PageRequest, *, sort: str, principal: Principal
    ) -> Page[BookingOut]:
        """The caller's bookings, as customer and as provider; all, for who may read all."""
        everyone = principal.may(Permission.BOOKINGS_READ_ALL)
        now = self._clock()
        return await repository.BOOKINGS.page(
            self._session,
            repository.bookings(wanted, visible_to=None if everyone else principal.user_id),
            page,
            sort=sort,
            build=lambda row: _booking_out(row, principal, now),
        )

    async def _visible(self, booking_id: UUID, principal: Principal) -> AnyRow:
        row = await repository.view(self._session, booking_id)
        if row is None or not may_see(principal, row):
            raise NotFound
        return row

    async def _take(
        self,
        opening: Opening,
        candidate: Candidate,
        given: dict[str, Any],
        principal: Principal,
    ) -> AnyRow | None:
        """Book this candidate; None: somebody was faster."""
        booking_id = new_id()
        how = taking(opening, candidate, booking_id, session_id=new_id())
        booking = new_booking(opening, candidate, self._clock()) | {
            "id": booking_id,
            "allocation_id": how.allocation_id,
            **given,
        }
        limits = customers_limits(opening, candidate, booking["customer_id"], self._clock())
        try:
            row = await repository.book(
                self._session,
                taking=how,
                booking=booking,
                event=event_values(
                    "booking.created",
                    subject_id=booking_id,
                    actor=principal.actor,
                    after=described(booking),
                ),
                limits=limits,
            )
        except ForeignKeyViolationError as error:
            if constraint_name(error) == "fk_bookings_customer_id_users":
                raise ValidationFailed.at("#/customer_id", "no such account") from None
            raise
        if row is None:
            await self._explain_refusal(opening, how, limits)
        return row

    async def _explain_refusal(
        self, opening: Opening, how: Taking, limits: CustomersLimits
    ) -> None:
        """Raise SlotUnavailable if the customer has enough; else undo what is half done."""
        if opening.plan.limits.bind_customer and not await repository.are_within(
            self._session, limits
        ):
            raise SlotUnavailable(Reason.LIMIT_REACHED)
        if how.subjects > 1:
            await self._availability.undo(how)


def _customer(wanted: BookingCreate, principal: Principal) -> UUID:
    if wanted.customer_id is None or wanted.customer_id == principal.user_id:
        return principal.user_id
    if not principal.may(Permission.BOOKINGS_WRITE_ALL):
        raise Forbidden("Only staff book for others.")
    return wanted.customer_id


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
        # Nobody can confirm what has begun.
        "expires_at": min(opening.start, now + PENDING_LIFETIME) if is_pending else None,
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


def customers_limits(
    opening: Opening, candidate: Candidate, customer_id: UUID | None, now: datetime
) -> CustomersLimits:
    """How many bookings the service lets this customer have; a guest has no number."""
    limits = opening.plan.limits
    if customer_id is None or not limits.bind_customer:
        return CustomersLimits()
    day_start, day_end = local_day_around(candidate.lead.hours.zone, opening.start)
    return CustomersLimits(
        customer_id,
        opening.plan.service_id,
        limits.per_customer_active,
        limits.per_customer_per_day,
        now,
        day_start,
        day_end,
    )


def described(booking: dict[str, Any]) -> dict[str, Any]:
    """A new booking for the log: ids and times, nothing personal."""
    return {
        "status": booking["status"],
        "reference": booking["reference"],
        "service_id": str(booking["service_id"]),
        "provider_id": str(booking["provider_id"]),
        "customer_id": str(booking["customer_id"]) if booking["customer_id"] else None,
        "start": booking["starts_at"].astimezone(UTC).isoformat(),
        "end": booking["ends_at"].astimezone(UTC).isoformat(),
        "time_zone": booking["time_zone"],
        "seats": booking["seats"],
    }


def _booking_out(row: AnyRow, principal: Principal, now: datetime) -> BookingOut:
    zone = ZoneInfo(row.time_zone)
    return BookingOut(
        id=row.id,
        reference=row.reference,
        status=row.status,
        service=NamedService(id=row.service_id, name=row.service_name),
        provider=NamedProvider(id=row.provider_id, display_name=row.provider_name),
        start=row.starts_at.astimezone(zone),
        end=row.ends_at.astimezone(zone),
        time_zone=row.time_zone,
        duration_minutes=row.duration_minutes,
        seats=row.seats,
        customer=_customer_out(row),
        notes=row.notes,
        price=_price(row),
        policy=Policy(**row.policy),
        source=row.source,
        sequence=row.sequence,
        version=row.version,
        allowed_actions=[
            AllowedActionOut(action=a.action, until=a.until)
            for a in allowed_actions(principal, row, now)
        ],
        cancelled=_cancelled(row),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _customer_out(row: AnyRow) -> Customer | None:
    if row.customer_id is None:
        return None
    return Customer(
        id=row.customer_id,
        name=row.customer_name,
        email=row.customer_email,
        phone=row.customer_phone,
    )


def _price(row: AnyRow) -> Money | None:
    if row.price_amount is None:
        return None
    return Money(amount=row.price_amount, currency=row.price_currency)


def _cancelled(row: AnyRow) -> Cancelled | None:
    if row.cancelled_at is None:
        return None
    return Cancelled(by=row.cancelled_by, reason=row.cancelled_reason, at=row.cancelled_at)
