"""`/booking-series`."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response, status

from app.auth.dependencies import CurrentPrincipal, Idempotent, require
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.availability.errors import NoSeatsLeft, SlotHeld, SlotTaken, SlotUnavailable
from app.bookings.dependencies import Series, SeriesReader
from app.bookings.series_schemas import (
    SeriesCancellation,
    SeriesCancelled,
    SeriesCreate,
    SeriesCreated,
    SeriesOut,
)
from app.core.errors import (
    Forbidden,
    NotFound,
    Unauthenticated,
    ValidationFailed,
    VersionMismatch,
)
from app.core.preconditions import Precondition, answer_in_full, etag
from app.core.problems import problems
from app.core.routing import ApiRouter

router = ApiRouter(prefix="/booking-series", tags=["booking series"])

Booker = Annotated[Principal, Depends(require(Permission.BOOKINGS_CREATE))]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="booking_series_create",
    summary="Book a time again and again",
    description="All with one provider and in one transaction. An error names the first "
    "`occurrence` that cannot be had.",
    responses=problems(
        Unauthenticated,
        Forbidden,
        NotFound,
        SlotTaken,
        SlotHeld,
        NoSeatsLeft,
        SlotUnavailable,
        ValidationFailed,
    ),
    dependencies=[Idempotent],
)
async def create_series(
    wanted: SeriesCreate,
    principal: Booker,
    series: Series,
    request: Request,
    response: Response,
) -> SeriesCreated:
    created = await series.book(wanted, principal)
    response.headers["Location"] = f"{request.scope['path']}/{created.id}"
    response.headers["ETag"] = etag(created.version)
    return created


@router.get(
    "/{series_id}",
    operation_id="booking_series_get",
    summary="Show a series with its bookings",
    responses=problems(Unauthenticated, NotFound, ValidationFailed),
)
async def get_series(
    series_id: UUID,
    series: SeriesReader,
    principal: CurrentPrincipal,
    request: Request,
    response: Response,
) -> SeriesOut:
    shown = await series.show(series_id, principal)
    response.headers["ETag"] = etag(shown.version)
    # Its bookings change without it.
    answer_in_full(request)
    return shown


@router.post(
    "/{series_id}/cancel",
    operation_id="booking_series_cancel",
    summary="Cancel what lies ahead of a series",
    description="Deadlines bind customers, not staff: what is too late to cancel is listed.",
    responses=problems(Unauthenticated, Forbidden, NotFound, VersionMismatch, ValidationFailed),
    dependencies=[Idempotent],
)
async def cancel_series(
    series_id: UUID,
    wanted: SeriesCancellation,
    seen: Precondition,
    principal: CurrentPrincipal,
    series: Series,
) -> SeriesCancelled:
    return await series.cancel(series_id, wanted, seen, principal)
