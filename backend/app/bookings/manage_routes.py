"""`/manage/{token}`: a guest's booking, by the link that was mailed."""

from typing import Annotated

from fastapi import Path, Request, Response

from app.auth.dependencies import Idempotent
from app.auth.errors import LinkExpired
from app.availability.errors import NoSeatsLeft, SlotHeld, SlotTaken, SlotUnavailable
from app.bookings.dependencies import Managed, ManagedReader, manage_throttled
from app.bookings.errors import PolicyViolation
from app.bookings.schemas import BookingCreated, BookingOut, Cancellation, Reschedule
from app.core.errors import (
    InvalidTransition,
    NotFound,
    RateLimited,
    ValidationFailed,
    VersionMismatch,
)
from app.core.idempotency import seal_answer
from app.core.preconditions import Precondition, answer_in_full, etag
from app.core.problems import problems
from app.core.routing import ApiRouter

router = ApiRouter(prefix="/manage/{token}", tags=["manage"])

Token = Annotated[str, Path(max_length=200, description="What followed `#token=` in the link.")]


@router.get(
    "",
    operation_id="manage_get",
    summary="Show a guest's booking",
    description="Until 30 days after its end.",
    responses=problems(NotFound, LinkExpired, ValidationFailed, RateLimited),
    dependencies=[manage_throttled],
)
async def show_booking(
    token: Token, managed: ManagedReader, request: Request, response: Response
) -> BookingOut:
    booking = await managed.show(token)
    response.headers["ETag"] = etag(booking.version)
    # Time changes what may be done, and no version with it.
    answer_in_full(request)
    return booking


@router.post(
    "/cancel",
    operation_id="manage_cancel",
    summary="Cancel a guest's booking",
    description="Its time is offered again at once. Deadlines bind guests as they do customers.",
    responses=problems(
        NotFound,
        InvalidTransition,
        LinkExpired,
        VersionMismatch,
        PolicyViolation,
        ValidationFailed,
        RateLimited,
    ),
    dependencies=[manage_throttled, Idempotent],
)
async def cancel_booking(
    token: Token,
    managed: Managed,
    seen: Precondition,
    response: Response,
    cancellation: Cancellation | None = None,
) -> BookingOut:
    booking = await managed.cancel(token, cancellation.reason if cancellation else "", seen)
    response.headers["ETag"] = etag(booking.version)
    return booking


@router.post(
    "/reschedule",
    operation_id="manage_reschedule",
    summary="Move a guest's booking to another time",
    description=(
        "The token that led here is dead then: the answer has the new one, and so has another"
        " mail. The same time again changes nothing, and keeps the token."
    ),
    responses=problems(
        NotFound,
        InvalidTransition,
        SlotTaken,
        SlotHeld,
        NoSeatsLeft,
        LinkExpired,
        VersionMismatch,
        SlotUnavailable,
        PolicyViolation,
        ValidationFailed,
        RateLimited,
    ),
    dependencies=[manage_throttled, Idempotent],
)
async def reschedule_booking(
    token: Token,
    wanted: Reschedule,
    managed: Managed,
    seen: Precondition,
    request: Request,
    response: Response,
) -> BookingCreated:
    booking, next_token = await managed.reschedule(token, wanted, seen)
    seal_answer(request)
    response.headers["ETag"] = etag(booking.version)
    return BookingCreated.model_construct(**booking.__dict__, manage_token=next_token)
