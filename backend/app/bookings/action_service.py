"""What is done with bookings once they are made.

Each action reads like this: lock the booking and see what the caller is to it, ask the rules,
change it and log it in one statement, then give its time back if its new status does not occupy
it. The calendar entry's `sequence` rises with what calendars show: its time, its place, who gives
it, and whether it is tentative, confirmed or cancelled (RFC 5546, 2.1.4).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.errors import SlotTaken, SlotUnavailable
from app.availability.plan import Candidate
from app.availability.rules import Reason
from app.availability.service import AvailabilityService, Opening, Wish, taking
from app.bookings import action_repository as actions
from app.bookings.allowance_service import customers_limits, zones_of, zones_with_enough
from app.bookings.assignment_service import choices, records_for
from app.bookings.manage_tokens import ManageTokens
from app.bookings.rules import (
    OCCUPYING,
    TRANSITIONS,
    Action,
    Caller,
    Role,
    Status,
    approval_ends,
    impossible,
    must_be_approved_again,
    role_of,
    status_at,
    why_not,
)
from app.bookings.schemas import BookingOut, Reschedule
from app.bookings.service import expire_in_time, new_booking
from app.bookings.views import booking_out, called_off, difference
from app.bookings.waitlist_repository import announce
from app.core.clock import Clock
from app.core.errors import NotFound
from app.core.events import SYSTEM, Actor, event_values
from app.core.ids import new_id
from app.core.preconditions import IfMatch
from app.database import AnyRow

_MOVED = (
    "provider_id",
    "provider_ids",
    "resource_ids",
    "location_id",
    "starts_at",
    "ends_at",
    "time_zone",
    "wall_start",
    "duration_minutes",
)
"""What another time or provider changes of a booking."""

_EVENTS = {
    Action.CONFIRM: "booking.confirmed",
    Action.DECLINE: "booking.declined",
    Action.CANCEL: "booking.cancelled",
    Action.CHECK_IN: "booking.checked_in",
    Action.COMPLETE: "booking.completed",
    Action.NO_SHOW: "booking.no_show",
    Action.RESCHEDULE: "booking.rescheduled",
    Action.REASSIGN: "booking.reassigned",
}


@dataclass(frozen=True, slots=True)
class _Case:
    """A booking whose row is locked, and who wants to do something with it that the rules allow."""

    row: AnyRow
    action: Action
    caller: Caller
    role: Role
    now: datetime


class ActionService:
    """What callers do with bookings.

    Every action raises, besides what it says itself:
        NotFound: no such booking, or somebody else's.
        VersionMismatch: it has changed since the caller saw it.
        Forbidden, InvalidTransition, PolicyViolation, SlotUnavailable: see `rules.why_not`.
    """

    def __init__(
        self,
        session: AsyncSession,
        availability: AvailabilityService,
        clock: Clock,
        tokens: ManageTokens,
    ) -> None:
        self._session = session
        self._availability = availability
        self._clock = clock
        self._tokens = tokens

    async def confirm(self, booking_id: UUID, seen: IfMatch, caller: Caller) -> BookingOut:
        """Approve a booking that waits for it. Two round trips."""
        case = await self._case(booking_id, Action.CONFIRM, seen, caller)
        changes = {
            **_leading_to(Status.CONFIRMED, case.row),
            "sequence": case.row.sequence + 1,
            "expires_at": None,
        }
        before, after = difference(case.row, changes)
        event = event_values(
            _EVENTS[case.action],
            subject_id=booking_id,
            actor=caller.actor,
            before=before,
            after=after,
        )
        confirmed = await actions.confirm(self._session, case.row, changes, event=event)
        if confirmed is None:
            # By another machine's clock it has expired, and somebody else wanted the time.
            raise impossible(Status.EXPIRED)
        return booking_out(confirmed, caller, case.now)

    async def decline(
        self, booking_id: UUID, reason: str, seen: IfMatch, caller: Caller
    ) -> BookingOut:
        """Refuse a booking that waits for approval. Five round trips."""
        case = await self._case(booking_id, Action.DECLINE, seen, caller)
        return await self._close(case, called_off(case.row, case.role, reason, case.now))

    async def cancel(
        self, booking_id: UUID, reason: str, seen: IfMatch, caller: Caller
    ) -> BookingOut:
        """Call a booking off. Five round trips."""
        case = await self._case(booking_id, Action.CANCEL, seen, caller)
        return await self._close(case, called_off(case.row, case.role, reason, case.now))

    async def check_in(self, booking_id: UUID, seen: IfMatch, caller: Caller) -> BookingOut:
        """Note that the customer is here. Two round trips."""
        return await self._close(await self._case(booking_id, Action.CHECK_IN, seen, caller))

    async def complete(self, booking_id: UUID, seen: IfMatch, caller: Caller) -> BookingOut:
        """Note that it took place; what is left of its time is free. Five round trips."""
        return await self._close(await self._case(booking_id, Action.COMPLETE, seen, caller))

    async def no_show(self, booking_id: UUID, seen: IfMatch, caller: Caller) -> BookingOut:
        """Note that nobody came; what is left of its time is free. Five round trips."""
        return await self._close(await self._case(booking_id, Action.NO_SHOW, seen, caller))

    async def reschedule(
        self, booking_id: UUID, wanted: Reschedule, seen: IfMatch, caller: Caller
    ) -> BookingOut:
        """Move a booking to another time, and to another provider if need be.

        It keeps its provider if none is named and they can give it then. The same time again
        changes nothing. Whatever refuses the new time leaves the booking as it is. Where approval
        is required, what a customer or guest has moved waits for it again.

        Eight round trips.

        Raises:
            SlotUnavailable, SlotTaken, SlotHeld, NoSeatsLeft: the new time cannot be had.
        """
        case = await self._case(booking_id, Action.RESCHEDULE, seen, caller)
        row = case.row
        duration = wanted.duration_minutes or row.duration_minutes
        stays = (wanted.start, duration) == (row.starts_at, row.duration_minutes)
        if stays and wanted.provider_id in {None, row.provider_id}:
            return booking_out(row, caller, case.now)
        wish = Wish(
            service_id=row.service_id,
            start=wanted.start,
            provider_id=wanted.provider_id,
            location_id=row.location_id,
            duration_minutes=duration,
            seats=row.seats,
            without=row.id,
        )
        return await self._move(case, wish)

    async def reassign(
        self, booking_id: UUID, provider_id: UUID, seen: IfMatch, caller: Caller
    ) -> BookingOut:
        """Give a booking to another provider, at the same time. Eight round trips.

        Raises:
            SlotUnavailable, SlotTaken, SlotHeld, NoSeatsLeft: that one cannot give it then.
        """
        case = await self._case(booking_id, Action.REASSIGN, seen, caller)
        row = case.row
        if provider_id == row.provider_id:
            return booking_out(row, caller, case.now)
        wish = Wish(
            service_id=row.service_id,
            start=row.starts_at,
            provider_id=provider_id,
            location_id=row.location_id,
            duration_minutes=row.duration_minutes,
            seats=row.seats,
            without=row.id,
            is_agreed=True,
        )
        return await self._move(case, wish)

    async def expire(self, booking_id: UUID) -> None:
        """End the wait of a booking that nobody has approved in time; too early, wait on.

        Five round trips. Once it is no longer waiting, there is nothing to do.
        """
        row = await actions.view_locked(self._session, booking_id)
        if row is None or row.status != Status.PENDING:
            return
        now = self._clock()
        if status_at(row, now) is not Status.EXPIRED:
            await expire_in_time(self._session, row, now)
            return
        changes = _leading_to(Status.EXPIRED, row) | {"sequence": row.sequence + 1}
        await self._change(row, changes, event="booking.expired", actor=SYSTEM)

    async def _case(self, booking_id: UUID, action: Action, seen: IfMatch, caller: Caller) -> _Case:
        row = await actions.view_locked(self._session, booking_id)
        role = role_of(caller, row) if row is not None else None
        if row is None or role is None:
            raise NotFound
        seen.check(row.version)
        now = self._clock()
        refusal = why_not(role, action, row, now)
        if refusal is not None:
            raise refusal
        return _Case(row, action, caller, role, now)

    async def _close(self, case: _Case, changes: dict[str, Any] | None = None) -> BookingOut:
        """Go where the action leads."""
        _, target = TRANSITIONS[case.action]
        row = await self._change(
            case.row,
            _leading_to(target or Status(case.row.status), case.row) | (changes or {}),
            event=_EVENTS[case.action],
            actor=case.caller.actor,
        )
        return booking_out(row, case.caller, case.now)

    async def _change(
        self, row: AnyRow, changes: dict[str, Any], *, event: str, actor: Actor
    ) -> AnyRow:
        before, after = difference(row, changes)
        if changes.get("cancelled_at"):
            after |= {"reason": changes["cancelled_reason"], "by": changes["cancelled_by"]}
        changed = await actions.change(
            self._session,
            row,
            changes,
            event=event_values(event, subject_id=row.id, actor=actor, before=before, after=after),
        )
        if row.allocation_id is not None and changed.allocation_id is None:
            await self._availability.release(row.id, row.allocation_id)
            await announce(self._session, [*row.provider_ids, *row.resource_ids])
        return changed

    async def _move(self, case: _Case, wish: Wish) -> BookingOut:
        """Swap the booking's time for what is wished for."""
        row = case.row
        leaving = [*row.provider_ids, *row.resource_ids]
        try:
            opening = await self._availability.opening(
                wish, customer_id=_limited(row), locking=leaving, ask=records_for
            )
        except NotFound:
            # The booking is there; what is not offered any more is its service, or its place.
            raise SlotUnavailable(Reason.NOT_OFFERED) from None
        await self._availability.release(row.id, row.allocation_id)
        moved = await self._taken(case, opening, requested=wish.provider_id is not None)
        await announce(self._session, [*row.provider_ids, *row.resource_ids])
        if case.action is Action.RESCHEDULE:
            await expire_in_time(self._session, moved, case.now)
        return booking_out(moved, case.caller, case.now)

    async def _taken(self, case: _Case, opening: Opening, *, requested: bool) -> AnyRow:
        """The booking, moved: with whoever has it now, else with whose turn it is.

        Raises:
            SlotTaken: all of them are lost to races.
            SlotUnavailable: the customer has enough.
        """
        row = case.row
        order = [(c.candidate, c.reason) for c in choices(opening, requested=requested)]
        order.sort(key=lambda choice: choice[0].lead.id != row.provider_id)
        enough: Collection[str] = ()
        for candidate, reason in order:
            if candidate.lead.hours.zone in enough:
                continue
            stays = candidate.lead.id == row.provider_id
            moved = await self._take(case, opening, candidate, row.assigned if stays else reason)
            if moved is not None:
                return moved
            enough = await zones_with_enough(
                *(self._session, opening.plan, opening.start, zones_of(opening)),
                *(_limited(row), case.now),
                without=row.id,
            )
        raise SlotUnavailable(Reason.LIMIT_REACHED) if enough else SlotTaken

    async def _take(
        self,
        case: _Case,
        opening: Opening,
        candidate: Candidate,
        reason: Mapping[str, Any] | None,
    ) -> AnyRow | None:
        """Move the booking there, for this reason; None: somebody was faster."""
        row = case.row
        changes = _moved(case, opening, candidate)
        until = changes.get("expires_at", row.expires_at)
        how = taking(opening, candidate, row.id, session_id=new_id(), until=until)
        changes |= {"allocation_id": how.allocation_id, "assigned": reason}
        if case.action is Action.RESCHEDULE and row.manage_salt is not None:
            # Whoever has the mail about the old time need not be who has the new one.
            changes |= self._tokens.new_columns(row.id)
        limits = customers_limits(opening, candidate, _limited(row), case.now, without=row.id)
        before, after = difference(row, changes)
        moved = await actions.move(
            self._session,
            row,
            changes,
            taking=how,
            event=event_values(
                _EVENTS[case.action],
                subject_id=row.id,
                actor=case.caller.actor,
                before=before,
                after=after,
            ),
            limits=limits,
        )
        if moved is None and how.subjects > 1:
            await self._availability.undo(how)
        return moved


def _limited(row: AnyRow) -> UUID | None:
    """The customer whose limits bind this booking; what a guest booked is bound by none.

    Else whoever moves it by the guest's link could learn what the account has booked.
    """
    customer_id: UUID | None = row.customer_id if row.guest_email is None else None
    return customer_id


def _leading_to(status: Status, row: AnyRow) -> dict[str, Any]:
    """The changes that a status brings: what does not occupy the calendar owns none of it."""
    changes: dict[str, Any] = {"status": status.value}
    if row.allocation_id is not None and status not in OCCUPYING:
        changes["allocation_id"] = None
    return changes


def _moved(case: _Case, opening: Opening, candidate: Candidate) -> dict[str, Any]:
    """What a move changes: all that a new booking would have there, and nothing that was agreed."""
    row, new = case.row, new_booking(opening, candidate, case.now)
    changes = {name: new[name] for name in _MOVED} | {"sequence": row.sequence + 1}
    if case.action is Action.REASSIGN:
        return changes
    status = Status(row.status)
    if must_be_approved_again(case.role, status, opening.plan.approval):
        status = Status.PENDING
    changes["status"] = status.value
    if status is Status.PENDING:
        # A new time, a new request.
        changes["expires_at"] = approval_ends(opening.start, case.now)
    if case.role is not Role.STAFF:
        changes["reschedules"] = row.reschedules + 1
    return changes
