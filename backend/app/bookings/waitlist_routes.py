"""`/waitlist`."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response, status

from app.auth.dependencies import CurrentPrincipal, Idempotent, require
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.availability.errors import SlotUnavailable
from app.bookings.dependencies import Waitlist, WaitlistReader
from app.bookings.errors import HoldExpired, PolicyViolation
from app.bookings.schemas import BookingOut
from app.bookings.waitlist_schemas import Acceptance, EntryStatus, WaitlistJoin, WaitlistOut
from app.core.errors import (
    Forbidden,
    InvalidTransition,
    NotFound,
    Unauthenticated,
    ValidationFailed,
    VersionMismatch,
)
from app.core.pagination import Page, Paging, sorted_by
from app.core.preconditions import Precondition, etag
from app.core.problems import problems
from app.core.routing import ApiRouter

router = ApiRouter(prefix="/waitlist", tags=["waiting list"])

Booker = Annotated[Principal, Depends(require(Permission.BOOKINGS_CREATE))]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="waitlist_join",
    summary="Wait for a time that may become free",
    description="When one does, the first in line whom it suits is mailed, and it is kept for "
    "them for a while; then the next.",
    responses=problems(Unauthenticated, Forbidden, NotFound, PolicyViolation, ValidationFailed),
    dependencies=[Idempotent],
)
async def join_waitlist(
    wanted: WaitlistJoin, principal: Booker, waitlist: Waitlist, response: Response
) -> WaitlistOut:
    entry = await waitlist.join(wanted, principal)
    response.headers["ETag"] = etag(entry.version)
    return entry


@router.get(
    "",
    operation_id="waitlist_list",
    summary="List what I wait for",
    description="What everybody waits for, with `bookings:read_all`.",
    responses=problems(Unauthenticated, ValidationFailed),
)
async def list_waitlist(
    waitlist: WaitlistReader,
    principal: CurrentPrincipal,
    page: Paging,
    *,
    service_id: UUID | None = None,
    status: EntryStatus | None = None,
    sort: Annotated[str, sorted_by("created_at")] = ("created_at"),
) -> Page[WaitlistOut]:
    return await waitlist.list_entries(
        page, sort=sort, principal=principal, service_id=service_id, status=status
    )


@router.delete(
    "/{entry_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="waitlist_withdraw",
    summary="Wait no longer",
    description="What is being offered goes to the next in line.",
    responses=problems(
        Unauthenticated, NotFound, InvalidTransition, VersionMismatch, ValidationFailed
    ),
)
async def withdraw_from_waitlist(
    entry_id: UUID, seen: Precondition, principal: CurrentPrincipal, waitlist: Waitlist
) -> None:
    await waitlist.withdraw(entry_id, seen, principal)


@router.post(
    "/{entry_id}/accept",
    status_code=status.HTTP_201_CREATED,
    operation_id="waitlist_accept",
    summary="Book what is offered",
    responses=problems(
        Unauthenticated,
        Forbidden,
        NotFound,
        InvalidTransition,
        HoldExpired,
        VersionMismatch,
        SlotUnavailable,
        ValidationFailed,
    ),
    dependencies=[Idempotent],
)
async def accept_offer(
    entry_id: UUID,
    seen: Precondition,
    principal: Booker,
    waitlist: Waitlist,
    request: Request,
    response: Response,
    wanted: Acceptance | None = None,
) -> BookingOut:
    booking = await waitlist.accept(entry_id, wanted or Acceptance(), seen, principal)
    base = request.scope["path"].partition("/waitlist/")[0]
    response.headers["Location"] = f"{base}/bookings/{booking.id}"
    response.headers["ETag"] = etag(booking.version)
    return booking
