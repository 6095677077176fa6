"""`/calendar-feeds`: secret addresses that calendars subscribe to."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request, Response, status

from app.auth.dependencies import CurrentPrincipal, Idempotent, current_session
from app.auth.throttling import Throttle, throttled
from app.bookings.calendar_entry import MEDIA_TYPE
from app.bookings.dependencies import FEEDS, Feeds, FeedsReader
from app.bookings.errors import PolicyViolation
from app.bookings.feed_schemas import CalendarFeedCreate, CalendarFeedCreated, CalendarFeedOut
from app.core.errors import (
    Forbidden,
    NotFound,
    RateLimited,
    Unauthenticated,
    ValidationFailed,
)
from app.core.idempotency import seal_answer
from app.core.pagination import Page, Paging
from app.core.preconditions import is_known
from app.core.problems import problems
from app.core.routing import ApiRouter

router = ApiRouter(prefix="/calendar-feeds", tags=["calendars"])

# A key is not to leave behind what outlives it.
_for_sessions = Depends(current_session)


class CalendarResponse(Response):
    media_type = MEDIA_TYPE


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="calendar_feeds_create",
    summary="Make a calendar feed",
    description=(
        "`url` is shown this once: give it to a calendar that subscribes to addresses. It shows 30"
        " days back and 400 ahead, 1000 bookings at most. Everybody owns 20 feeds at most."
    ),
    responses=problems(Unauthenticated, Forbidden, PolicyViolation, ValidationFailed),
    dependencies=[_for_sessions, Idempotent],
)
async def create_feed(
    new: CalendarFeedCreate, principal: CurrentPrincipal, feeds: Feeds, request: Request
) -> CalendarFeedCreated:
    base = f"{str(request.base_url).rstrip('/')}{request.scope['path']}"
    feed = await feeds.create(new, principal, lambda token: f"{base}/{token}.ics")
    seal_answer(request)
    return feed


@router.get(
    "",
    operation_id="calendar_feeds_list",
    summary="List my calendar feeds",
    description="The newest first, without their addresses.",
    responses=problems(Unauthenticated, Forbidden, ValidationFailed),
    dependencies=[_for_sessions],
)
async def list_feeds(
    page: Paging, principal: CurrentPrincipal, feeds: FeedsReader
) -> Page[CalendarFeedOut]:
    return await feeds.list_feeds(page, principal)


@router.delete(
    # A dot in it would make it the address below, which can only be read.
    "/{feed_id:uuid}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="calendar_feeds_revoke",
    summary="Revoke a calendar feed",
    description="Its address is 404 from now on.",
    responses=problems(Unauthenticated, Forbidden, NotFound, ValidationFailed),
    dependencies=[_for_sessions],
)
async def revoke_feed(feed_id: UUID, principal: CurrentPrincipal, feeds: Feeds) -> None:
    await feeds.revoke(feed_id, principal)


@router.get(
    "/{token}.ics",
    operation_id="calendar_feeds_get",
    summary="Read a calendar feed",
    description="iCalendar (RFC 5545) with METHOD:PUBLISH, by the secret address.",
    response_class=CalendarResponse,
    responses=problems(NotFound, ValidationFailed, RateLimited),
)
async def read_feed(
    token: Annotated[str, Path(max_length=200)],
    feeds: FeedsReader,
    throttle: Annotated[Throttle, throttled(FEEDS)],
    request: Request,
) -> Response:
    found = await feeds.find(token)
    # Calendars may keep it, but must ask before they use it.
    headers = {"ETag": found.etag, "Cache-Control": "private, no-cache"}
    if is_known(",".join(request.headers.getlist("if-none-match")), found.etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    await throttle.admit(str(found.id))
    return CalendarResponse(await feeds.write(found), headers=headers)
