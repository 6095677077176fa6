"""`/bookings/{id}/…`: what is done with bookings."""

from typing import Any
from uuid import UUID

from fastapi import Response

from app.auth.dependencies import CurrentPrincipal, Idempotent
from app.availability.errors import NoSeatsLeft, SlotHeld, SlotTaken, SlotUnavailable
from app.bookings.dependencies import Actions
from app.bookings.errors import PolicyViolation
from app.bookings.rules import Caller
from app.bookings.schemas import (
    BookingOut,
    Cancellation,
    Declination,
    Reassignment,
    Reschedule,
)
from app.core.errors import (
    AppError,
    Forbidden,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    InvalidTransition,
    NotFound,
    Unauthenticated,
    ValidationFailed,
    VersionMismatch,
)
from app.core.preconditions import Precondition, etag
from app.core.problems import problems
from app.core.routing import ApiRouter

router = ApiRouter(prefix="/bookings/{booking_id}", tags=["bookings"])


def _refusals(*errors: type[AppError]) -> dict[int | str, dict[str, Any]]:
    return problems(
        Unauthenticated,
        Forbidden,
        NotFound,
        InvalidTransition,
        VersionMismatch,
        *errors,
        ValidationFailed,
        IdempotencyInProgress,
        IdempotencyKeyReused,
    )


_MOVES = (SlotTaken, SlotHeld, NoSeatsLeft, SlotUnavailable)


def _tagged(booking: BookingOut, response: Response) -> BookingOut:
    response.headers["ETag"] = etag(booking.version)
    return booking


@router.post(
    "/confirm",
    operation_id="bookings_confirm",
    summary="Approve a booking",
    description="Staff only; until it expires.",
    responses=_refusals(),
    dependencies=[Idempotent],
)
async def confirm_booking(
    booking_id: UUID,
    principal: CurrentPrincipal,
    actions: Actions,
    seen: Precondition,
    response: Response,
) -> BookingOut:
    return _tagged(await actions.confirm(booking_id, seen, Caller.of(principal)), response)


@router.post(
    "/decline",
    operation_id="bookings_decline",
    summary="Decline a booking",
    description="Staff only; until it expires. Its time is offered again at once.",
    responses=_refusals(),
    dependencies=[Idempotent],
)
async def decline_booking(
    booking_id: UUID,
    principal: CurrentPrincipal,
    actions: Actions,
    seen: Precondition,
    response: Response,
    declination: Declination | None = None,
) -> BookingOut:
    reason = declination.reason if declination else ""
    caller = Caller.of(principal)
    return _tagged(await actions.decline(booking_id, reason, seen, caller), response)


@router.post(
    "/cancel",
    operation_id="bookings_cancel",
    summary="Cancel a booking",
    description="Its time is offered again at once. Deadlines bind customers, not staff.",
    responses=_refusals(PolicyViolation),
    dependencies=[Idempotent],
)
async def cancel_booking(
    booking_id: UUID,
    principal: CurrentPrincipal,
    actions: Actions,
    seen: Precondition,
    response: Response,
    cancellation: Cancellation | None = None,
) -> BookingOut:
    reason = cancellation.reason if cancellation else ""
    caller = Caller.of(principal)
    return _tagged(await actions.cancel(booking_id, reason, seen, caller), response)


@router.post(
    "/reschedule",
    operation_id="bookings_reschedule",
    summary="Move a booking to another time",
    description=(
        "It stays the same booking, with the same id and reference. If the new time cannot be had,"
        " the old one stays. Deadlines bind customers, not staff; where approval is required, what"
        " a customer moves waits for it again. The same time again changes nothing."
    ),
    responses=_refusals(*_MOVES, PolicyViolation),
    dependencies=[Idempotent],
)
async def reschedule_booking(
    booking_id: UUID,
    wanted: Reschedule,
    principal: CurrentPrincipal,
    actions: Actions,
    seen: Precondition,
    response: Response,
) -> BookingOut:
    caller = Caller.of(principal)
    return _tagged(await actions.reschedule(booking_id, wanted, seen, caller), response)


@router.post(
    "/reassign",
    operation_id="bookings_reassign",
    summary="Give a booking to another provider",
    description="Staff only; at the same time, before it begins.",
    responses=_refusals(*_MOVES),
    dependencies=[Idempotent],
)
async def reassign_booking(
    booking_id: UUID,
    wanted: Reassignment,
    principal: CurrentPrincipal,
    actions: Actions,
    seen: Precondition,
    response: Response,
) -> BookingOut:
    caller = Caller.of(principal)
    return _tagged(await actions.reassign(booking_id, wanted.provider_id, seen, caller), response)


@router.post(
    "/check-in",
    operation_id="bookings_check_in",
    summary="Note that the customer has arrived",
    description="Staff only; from twelve hours before the start.",
    responses=_refusals(PolicyViolation),
    dependencies=[Idempotent],
)
async def check_in_booking(
    booking_id: UUID,
    principal: CurrentPrincipal,
    actions: Actions,
    seen: Precondition,
    response: Response,
) -> BookingOut:
    return _tagged(await actions.check_in(booking_id, seen, Caller.of(principal)), response)


@router.post(
    "/complete",
    operation_id="bookings_complete",
    summary="Note that it took place",
    description="Staff only; from its start. Corrects a no-show, too. What is left of it is free.",
    responses=_refusals(PolicyViolation),
    dependencies=[Idempotent],
)
async def complete_booking(
    booking_id: UUID,
    principal: CurrentPrincipal,
    actions: Actions,
    seen: Precondition,
    response: Response,
) -> BookingOut:
    return _tagged(await actions.complete(booking_id, seen, Caller.of(principal)), response)


@router.post(
    "/no-show",
    operation_id="bookings_no_show",
    summary="Note that nobody came",
    description="Staff only; from its start. What is left of it is free.",
    responses=_refusals(PolicyViolation),
    dependencies=[Idempotent],
)
async def no_show_booking(
    booking_id: UUID,
    principal: CurrentPrincipal,
    actions: Actions,
    seen: Precondition,
    response: Response,
) -> BookingOut:
    return _tagged(await actions.no_show(booking_id, seen, Caller.of(principal)), response)
