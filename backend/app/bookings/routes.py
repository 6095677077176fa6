"""`/bookings`."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response, status

from app.auth.dependencies import CurrentPrincipal, Idempotent, require
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.availability.errors import SlotTaken, SlotUnavailable
from app.bookings.dependencies import Bookings, BookingsReader
from app.bookings.errors import PolicyViolation
from app.bookings.repository import Filter
from app.bookings.rules import Status
from app.bookings.schemas import BookingCreate, BookingOut, Cancellation
from app.core.errors import (
    Forbidden,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    InvalidTransition,
    NotFound,
    Unauthenticated,
    ValidationFailed,
    VersionMismatch,
)
from app.core.pagination import Page, Paging
from app.core.preconditions import Precondition, etag
from app.core.problems import problems
from app.core.routing import ApiRoute
from app.core.schemas import Instant

router = APIRouter(prefix="/bookings", tags=["bookings"], route_class=ApiRoute)

Booker = Annotated[Principal, Depends(require(Permission.BOOKINGS_CREATE))]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="bookings_create",
    summary="Book a time",
    responses=problems(
        Unauthenticated,
        Forbidden,
        NotFound,
        SlotTaken,
        SlotUnavailable,
        ValidationFailed,
        IdempotencyInProgress,
        IdempotencyKeyReused,
    ),
    dependencies=[Idempotent],
)
async def create_booking(
    wanted: BookingCreate,
    principal: Booker,
    bookings: Bookings,
    request: Request,
    response: Response,
) -> BookingOut:
    booking = await bookings.book(wanted, principal)
    response.headers["Location"] = f"{request.scope['path']}/{booking.id}"
    response.headers["ETag"] = etag(booking.version)
    return booking


@router.get(
    "",
    operation_id="bookings_list",
    summary="List my bookings",
    description="Mine as a customer and as a provider; everyone's with `bookings:read_all`.",
    responses=problems(Unauthenticated, ValidationFailed),
)
async def list_bookings(
    bookings: BookingsReader,
    principal: CurrentPrincipal,
    page: Paging,
    *,
    status: Annotated[list[Status] | None, Query(description="May be repeated.")] = None,
    start_from: Annotated[Instant | None, Query(description="Inclusive.")] = None,
    start_to: Annotated[Instant | None, Query(description="Exclusive.")] = None,
    service_id: UUID | None = None,
    provider_id: UUID | None = None,
    customer_id: UUID | None = None,
    sort: Annotated[
        str, Query(description="`start` or `created_at`; `-` before it: descending.")
    ] = "-start",
) -> Page[BookingOut]:
    wanted = Filter(status, start_from, start_to, service_id, provider_id, customer_id)
    return await bookings.list_bookings(wanted, page, sort=sort, principal=principal)


@router.get(
    "/{booking_id}",
    operation_id="bookings_get",
    summary="Show a booking",
    responses=problems(Unauthenticated, NotFound, ValidationFailed),
)
async def get_booking(
    booking_id: UUID, bookings: BookingsReader, principal: CurrentPrincipal, response: Response
) -> BookingOut:
    booking = await bookings.show(booking_id, principal)
    response.headers["ETag"] = etag(booking.version)
    return booking


@router.post(
    "/{booking_id}/cancel",
    operation_id="bookings_cancel",
    summary="Cancel a booking",
    description="Its time is offered again at once. Deadlines bind customers, not staff.",
    responses=problems(
        Unauthenticated,
        Forbidden,
        NotFound,
        InvalidTransition,
        VersionMismatch,
        PolicyViolation,
        ValidationFailed,
        IdempotencyInProgress,
        IdempotencyKeyReused,
    ),
    dependencies=[Idempotent],
)
async def cancel_booking(
    booking_id: UUID,
    principal: CurrentPrincipal,
    bookings: Bookings,
    seen: Precondition,
    response: Response,
    cancellation: Cancellation | None = None,
) -> BookingOut:
    reason = cancellation.reason if cancellation else ""
    booking = await bookings.cancel(booking_id, reason, seen, principal)
    response.headers["ETag"] = etag(booking.version)
    return booking
