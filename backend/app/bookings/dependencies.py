"""Bookings for routes: to read, to write, to act on, to hold; and callers without an account."""

import hashlib
import hmac
from typing import Annotated, Final

from fastapi import Depends, Header, Request, Response
from pydantic import SecretStr

from app.auth.dependencies import MaybePrincipal, current_principal
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.auth.throttling import HOUR, MINUTE, QUARTER, Limits, Throttle, throttled
from app.availability.dependencies import Availability, AvailabilityReader
from app.availability.service import AvailabilityService
from app.availability.vacancy_service import VacancyService
from app.bookings.action_service import ActionService
from app.bookings.feed_service import FeedService
from app.bookings.hold_service import Holder, HoldService, Proof
from app.bookings.manage_service import ManageService
from app.bookings.manage_tokens import ManageTokens
from app.bookings.series_service import SeriesService
from app.bookings.service import BookingService
from app.bookings.waitlist_service import WaitlistService
from app.core.dependencies import AppClock, AppSettings
from app.core.errors import Forbidden
from app.core.rate_limit import Policy, network_of
from app.core.unit_of_work import ReadSession, Session

GUEST_BOOKINGS: Final = Limits(
    account=Policy("guest-bookings-email", 10, HOUR),
    address=Policy("guest-bookings", 60, HOUR),
    overall=Policy("guest-bookings-overall", 600, MINUTE),
)
MANAGE: Final = Limits(
    address=Policy("manage", 120, QUARTER), overall=Policy("manage-overall", 6000, MINUTE)
)
FEEDS: Final = Limits(
    # Full answers; those that have not changed cost next to nothing.
    account=Policy("calendar-feed", 60, HOUR),
    address=Policy("calendar-feeds", 600, QUARTER),
    overall=Policy("calendar-feeds-overall", 6000, MINUTE),
)

manage_throttled = throttled(MANAGE)


# The busiest asks the application itself: each dependency of a dependency costs a request time.
async def bookings(request: Request, session: Session) -> BookingService:
    state = request.app.state
    availability = AvailabilityService(session, state.clock)
    return BookingService(session, availability, state.clock, state.settings)


async def bookings_reader(request: Request, session: ReadSession) -> BookingService:
    state = request.app.state
    availability = AvailabilityService(session, state.clock)
    return BookingService(session, availability, state.clock, state.settings)


async def actions(
    session: Session, availability: Availability, clock: AppClock, settings: AppSettings
) -> ActionService:
    return ActionService(session, availability, clock, ManageTokens(settings))


async def managed(
    session: Session, availability: Availability, clock: AppClock, settings: AppSettings
) -> ManageService:
    tokens = ManageTokens(settings)
    actions = ActionService(session, availability, clock, tokens)
    return ManageService(session, actions, tokens, clock)


async def managed_reader(
    session: ReadSession,
    availability: AvailabilityReader,
    clock: AppClock,
    settings: AppSettings,
) -> ManageService:
    tokens = ManageTokens(settings)
    actions = ActionService(session, availability, clock, tokens)
    return ManageService(session, actions, tokens, clock)


Managed = Annotated[ManageService, Depends(managed)]
ManagedReader = Annotated[ManageService, Depends(managed_reader)]
Actions = Annotated[ActionService, Depends(actions)]
Bookings = Annotated[BookingService, Depends(bookings)]
BookingsReader = Annotated[BookingService, Depends(bookings_reader)]


async def series(session: Session, availability: Availability, clock: AppClock) -> SeriesService:
    return SeriesService(session, availability, clock)


async def series_reader(
    session: ReadSession, availability: AvailabilityReader, clock: AppClock
) -> SeriesService:
    return SeriesService(session, availability, clock)


Series = Annotated[SeriesService, Depends(series)]
SeriesReader = Annotated[SeriesService, Depends(series_reader)]


async def feeds(session: Session, clock: AppClock, settings: AppSettings) -> FeedService:
    return FeedService(session, settings, clock)


async def feeds_reader(session: ReadSession, clock: AppClock, settings: AppSettings) -> FeedService:
    return FeedService(session, settings, clock)


Feeds = Annotated[FeedService, Depends(feeds)]
FeedsReader = Annotated[FeedService, Depends(feeds_reader)]


async def holds(
    session: Session, availability: Availability, clock: AppClock, settings: AppSettings
) -> HoldService:
    return HoldService(session, availability, clock, settings.HOLDS_PER_CALLER)


Holds = Annotated[HoldService, Depends(holds)]


async def waitlist(
    session: Session, bookings: Bookings, holds: Holds, clock: AppClock
) -> WaitlistService:
    return WaitlistService(session, VacancyService(session, clock), bookings, holds, clock)


async def waitlist_reader(
    session: ReadSession,
    availability: AvailabilityReader,
    bookings: BookingsReader,
    clock: AppClock,
    settings: AppSettings,
) -> WaitlistService:
    holds = HoldService(session, availability, clock, settings.HOLDS_PER_CALLER)
    return WaitlistService(session, VacancyService(session, clock), bookings, holds, clock)


Waitlist = Annotated[WaitlistService, Depends(waitlist)]
WaitlistReader = Annotated[WaitlistService, Depends(waitlist_reader)]


async def booker_or_visitor(principal: MaybePrincipal) -> Principal | None:
    """Who wants to book: an account that may, or a visitor, who may where guests are admitted."""
    if principal is None:
        return None
    if not (await current_principal(principal)).may(Permission.BOOKINGS_CREATE):
        raise Forbidden
    return principal


BookerOrVisitor = Annotated[Principal | None, Depends(booker_or_visitor)]


async def guest_throttle(
    request: Request, response: Response, principal: MaybePrincipal
) -> Throttle | None:
    """The limits of a visitor who books; who has an account is known by it."""
    if principal is not None:
        return None
    limiter = request.app.state.rate_limiter
    throttle = Throttle(limiter, GUEST_BOOKINGS, _network(request), response)
    await throttle.enter()
    return throttle


def _network(request: Request) -> str:
    return network_of(request.client.host if request.client else "")


guests_throttled = Depends(guest_throttle)
GuestThrottle = Annotated[Throttle | None, guests_throttled]


async def holder(request: Request, principal: BookerOrVisitor, settings: AppSettings) -> Holder:
    """Whose holds are counted together. Networks are digested: the database holds no address."""
    if principal is not None:
        return Holder.of(principal)
    key = settings.SECRET_KEY.get_secret_value().encode()
    digest = hmac.digest(key, f"holder\0{_network(request)}".encode(), hashlib.sha256)
    return Holder(f"network {digest[:16].hex()}")


async def proof(
    principal: MaybePrincipal,
    secret: Annotated[
        SecretStr | None,
        Header(alias="X-Hold-Secret", description="A visitor's hold is used with its secret."),
    ] = None,
) -> Proof:
    return Proof(
        principal.user_id if principal else None, secret.get_secret_value() if secret else None
    )


CallersHolder = Annotated[Holder, Depends(holder)]
HoldProof = Annotated[Proof, Depends(proof)]
