"""`/bookings`."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response, status

from app.auth.dependencies import CurrentPrincipal, Idempotent
from app.auth.errors import EmailDomainNotAllowed
from app.availability.errors import NoSeatsLeft, SlotHeld, SlotTaken, SlotUnavailable
from app.bookings.calendar_entry import MEDIA_TYPE, Person, customers_entry, published
from app.bookings.dependencies import (
    BookerOrVisitor,
    Bookings,
    BookingsReader,
    GuestThrottle,
    guests_throttled,
)
from app.bookings.errors import HoldExpired
from app.bookings.repository import Filter
from app.bookings.rules import Status
from app.bookings.schemas import BookingCreate, BookingCreated, BookingOut, HistoryItem
from app.core.dependencies import AppSettings
from app.core.errors import (
    Forbidden,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    NotFound,
    RateLimited,
    Unauthenticated,
    ValidationFailed,
)
from app.core.idempotency import seal_answer
from app.core.pagination import Page, Paging, everything, sorted_by
from app.core.preconditions import answer_in_full, etag
from app.core.problems import problems
from app.core.routing import ApiRouter
from app.core.schemas import Instant


class CalendarResponse(Response):
    media_type = MEDIA_TYPE


router = ApiRouter(prefix="/bookings", tags=["bookings"])


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="bookings_create",
    summary="Book a time",
    description=(
        "For oneself; for whomever, by staff; and as a `guest`, without an account, where the"
        " service admits guests. With `hold_id`, the time that one has held becomes the booking."
    ),
    responses=problems(
        Unauthenticated,
        Forbidden,
        EmailDomainNotAllowed,
        NotFound,
        SlotTaken,
        SlotHeld,
        NoSeatsLeft,
        HoldExpired,
        SlotUnavailable,
        ValidationFailed,
        IdempotencyInProgress,
        IdempotencyKeyReused,
        RateLimited,
    ),
    openapi_extra={"security": [{}]},
    # Who has an account is told nothing of a token.
    response_model_exclude_unset=True,
    dependencies=[guests_throttled, Idempotent],
)
async def create_booking(
    wanted: BookingCreate,
    principal: BookerOrVisitor,
    bookings: Bookings,
    throttle: GuestThrottle,
    request: Request,
    response: Response,
) -> BookingCreated:
    if throttle is not None and wanted.guest is not None:
        # A mail goes there, whoever owns the address.
        await throttle.admit(wanted.guest.email)
    booking = await bookings.book(wanted, principal)
    if booking.manage_token is not None:
        seal_answer(request)
    response.headers["Location"] = f"{request.scope['path']}/{booking.id}"
    response.headers["ETag"] = etag(booking.version)
    return booking


@router.get(
    "",
    operation_id="bookings_list",
    summary="List my bookings",
    description=(
        "Mine as a customer and as a provider; everyone's with `bookings:read_all`. What nobody"
        " has approved in time is `expired`."
    ),
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
    q: Annotated[
        str | None,
        Query(max_length=200, description="Part of the reference, or of a name or address."),
    ] = None,
    sort: Annotated[str, sorted_by("start", "created_at")] = "-start",
) -> Page[BookingOut]:
    wanted = Filter(status, start_from, start_to, service_id, provider_id, customer_id, q)
    return await bookings.list_bookings(wanted, page, sort=sort, principal=principal)


# Before `/{booking_id}`, which would take the ending for a part of the id.
@router.get(
    "/{booking_id}.ics",
    operation_id="bookings_calendar",
    summary="Show a booking as a calendar entry",
    description="iCalendar (RFC 5545), to be opened by a calendar; its UID stays for life.",
    response_class=CalendarResponse,
    responses=problems(Unauthenticated, NotFound, ValidationFailed),
)
async def get_calendar_entry(
    booking_id: UUID, bookings: BookingsReader, principal: CurrentPrincipal, settings: AppSettings
) -> Response:
    booking = await bookings.show(booking_id, principal)
    entry = customers_entry(booking, project=settings.PROJECT_NAME)
    return CalendarResponse(
        published(
            entry,
            organizer=Person(settings.MAIL_FROM, settings.MAIL_FROM_NAME or settings.PROJECT_NAME),
        ),
        headers={"Content-Disposition": f'attachment; filename="{booking.reference}.ics"'},
    )


@router.get(
    "/{booking_id}",
    operation_id="bookings_get",
    summary="Show a booking",
    responses=problems(Unauthenticated, NotFound, ValidationFailed),
)
async def get_booking(
    booking_id: UUID,
    bookings: BookingsReader,
    principal: CurrentPrincipal,
    request: Request,
    response: Response,
) -> BookingOut:
    booking, is_told_by_version = await bookings.show_version(booking_id, principal)
    response.headers["ETag"] = etag(booking.version)
    if not is_told_by_version:
        answer_in_full(request)
    return booking


@router.get(
    "/{booking_id}/history",
    operation_id="bookings_history",
    summary="Show what happened to a booking",
    description="The oldest first. Customers are told nobody's id but their own.",
    responses=problems(Unauthenticated, NotFound, ValidationFailed),
)
async def get_history(
    booking_id: UUID, bookings: BookingsReader, principal: CurrentPrincipal
) -> Page[HistoryItem]:
    return everything(await bookings.history(booking_id, principal))
