"""`/holds`."""

from datetime import timedelta
from uuid import UUID

from fastapi import Request, Response, status

from app.auth.dependencies import Idempotent
from app.availability.errors import NoSeatsLeft, SlotHeld, SlotTaken, SlotUnavailable
from app.bookings.dependencies import CallersHolder, HoldProof, Holds
from app.bookings.errors import HoldExpired, PolicyViolation
from app.bookings.hold_schemas import HoldCreate, HoldCreated, HoldExtension, HoldOut
from app.core.errors import (
    Forbidden,
    NotFound,
    RateLimited,
    Unauthenticated,
    ValidationFailed,
    VersionMismatch,
)
from app.core.idempotency import seal_answer
from app.core.preconditions import Precondition, etag
from app.core.problems import problems
from app.core.routing import ApiRouter

router = ApiRouter(prefix="/holds", tags=["holds"])


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="holds_create",
    summary="Hold a time while deciding",
    description=(
        "Nobody else can have it until `expires_at`, when it is free by itself. Visitors may hold "
        "what guests may book."
    ),
    responses=problems(
        Unauthenticated,
        Forbidden,
        NotFound,
        SlotTaken,
        SlotHeld,
        NoSeatsLeft,
        SlotUnavailable,
        PolicyViolation,
        ValidationFailed,
        RateLimited,
    ),
    openapi_extra={"security": [{}]},
    dependencies=[Idempotent],
)
async def create_hold(
    wanted: HoldCreate, holder: CallersHolder, holds: Holds, request: Request, response: Response
) -> HoldCreated:
    hold = await holds.hold(wanted, holder)
    seal_answer(request)
    response.headers["Location"] = f"{request.scope['path']}/{hold.id}"
    response.headers["ETag"] = etag(hold.version)
    return hold


@router.patch(
    "/{hold_id}",
    operation_id="holds_extend",
    summary="Hold on for longer, once",
    responses=problems(
        NotFound, HoldExpired, PolicyViolation, ValidationFailed, VersionMismatch, RateLimited
    ),
)
async def extend_hold(
    hold_id: UUID,
    extension: HoldExtension,
    proof: HoldProof,
    holds: Holds,
    seen: Precondition,
    response: Response,
) -> HoldOut:
    lifetime = timedelta(seconds=extension.ttl_seconds)
    hold = await holds.extend(hold_id, lifetime, seen, proof)
    response.headers["ETag"] = etag(hold.version)
    return hold


@router.delete(
    "/{hold_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="holds_end",
    summary="End a hold",
    description="Its time is offered again at once.",
    responses=problems(NotFound, HoldExpired, ValidationFailed, VersionMismatch, RateLimited),
)
async def end_hold(hold_id: UUID, proof: HoldProof, holds: Holds, seen: Precondition) -> None:
    await holds.give_up(hold_id, seen, proof)
