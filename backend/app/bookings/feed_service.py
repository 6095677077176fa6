"""Calendar feeds: made, listed and revoked by their owners, read by whoever has their address."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.principal import Principal
from app.bookings import feed_repository as repository
from app.bookings.calendar_entry import (
    Person,
    customers_entry,
    feed,
    providers_entry,
)
from app.bookings.errors import PolicyReason, PolicyViolation
from app.bookings.feed_models import CalendarFeed
from app.bookings.feed_schemas import (
    CalendarFeedCreate,
    CalendarFeedCreated,
    CalendarFeedOut,
    Shows,
)
from app.bookings.rules import Caller
from app.bookings.views import booking_out
from app.config import Settings
from app.core.clock import Clock
from app.core.errors import NotFound, Unauthenticated, ValidationFailed
from app.core.events import record
from app.core.pagination import Page, PageRequest
from app.core.system import VERSION
from app.database import AnyRow

MAXIMUM_FEEDS: Final = 20
"""Of one account."""
MAXIMUM_ENTRIES: Final = 1000
"""Of one feed; what lies furthest ahead is left out."""
DAYS_BACK: Final = timedelta(days=30)
DAYS_AHEAD: Final = timedelta(days=400)
_TOKEN_BYTES: Final = 32

_writer = ThreadPoolExecutor(1, thread_name_prefix="calendar-feeds")


@dataclass(frozen=True, slots=True)
class FoundFeed:
    """A feed that somebody has the address of."""

    row: AnyRow
    etag: str
    """Changes when the feed does."""
    now: datetime

    @property
    def id(self) -> UUID:
        feed_id: UUID = self.row.id
        return feed_id


class FeedService:
    def __init__(self, session: AsyncSession, settings: Settings, clock: Clock) -> None:
        self._session = session
        self._settings = settings
        self._clock = clock

    async def create(
        self, new: CalendarFeedCreate, principal: Principal, address: Callable[[str], str]
    ) -> CalendarFeedCreated:
        """Make a feed, whose address can be read in this answer only. Four round trips.

        Args:
            new: what it shows.
            principal: whose it is.
            address: the URL of the feed with this token.

        Raises:
            ValidationFailed: it would show a calendar, and the caller owns none.
            PolicyViolation: the caller has as many as anybody may.
        """
        owner = await repository.lock_owner(self._session, principal.user_id)
        if owner is None:
            raise Unauthenticated
        if new.shows is Shows.CALENDAR and owner.calendar is None:
            raise ValidationFailed.at("#/shows", "you own no calendar")
        if owner.feeds >= MAXIMUM_FEEDS:
            raise PolicyViolation(PolicyReason.TOO_MANY_FEEDS)
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        made = CalendarFeed(
            user_id=principal.user_id,
            shows=new.shows.value,
            name=new.name,
            digest=_digest(token),
            created_at=self._clock(),
        )
        self._session.add(made)
        await self._session.flush()
        out = CalendarFeedOut.model_validate(made)
        await record(
            self._session,
            "user.calendar_feed_created",
            subject_id=principal.user_id,
            actor=principal.actor,
            after={"calendar_feed": out.model_dump(mode="json")},
        )
        return CalendarFeedCreated(**out.model_dump(), url=address(token))

    async def list_feeds(self, page: PageRequest, principal: Principal) -> Page[CalendarFeedOut]:
        """The caller's feeds, the newest first."""
        return await repository.FEEDS.page(
            self._session,
            repository.feeds_of(principal.user_id),
            page,
            sort="-created_at",
            build=lambda row: CalendarFeedOut.model_validate(row[0]),
        )

    async def revoke(self, feed_id: UUID, principal: Principal) -> None:
        """Delete a feed; nobody can read it from now on. Raises NotFound: not the caller's."""
        removed = await repository.remove(self._session, principal.user_id, feed_id)
        if removed is None:
            raise NotFound
        await record(
            self._session,
            "user.calendar_feed_revoked",
            subject_id=principal.user_id,
            actor=principal.actor,
            before={
                "calendar_feed": CalendarFeedOut.model_validate(removed).model_dump(mode="json")
            },
        )

    # --- Reading -----------------------------------------------------------------------------
    async def find(self, token: str) -> FoundFeed:
        """The feed with this token. One round trip.

        Raises:
            NotFound: there is none, it was revoked, or its owner has been disabled.
        """
        now = self._clock()
        row = await repository.feed(self._session, _digest(token), **_window(now))
        if row is None:
            raise NotFound("There is no such feed.")
        # Besides its bookings, all that its bytes are made of.
        told = (VERSION, row.shows, row.calendar_name, *self._signature, row.fingerprint)
        digest = hashlib.blake2b("\0".join(map(str, told)).encode(), digest_size=16)
        return FoundFeed(row, f'"{digest.hexdigest()}"', now)

    async def write(self, found: FoundFeed) -> bytes:
        """The feed as iCalendar. One round trip; the session is at its end then.

        A thousand entries take half a second: they are written without a connection, in a thread,
        and one feed at a time, for more threads would only take the interpreter from all others.
        """
        rows = await repository.bookings(self._session, found.row, **_window(found.now))
        await self._session.close()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_writer, self._written, found, rows)

    @property
    def _signature(self) -> tuple[str, ...]:
        settings = self._settings
        project, frontend = settings.PROJECT_NAME, str(settings.FRONTEND_HOST).rstrip("/")
        return project, settings.MAIL_FROM, settings.MAIL_FROM_NAME or project, frontend

    def _written(self, found: FoundFeed, rows: Any) -> bytes:  # noqa: ANN401 - rows
        project, address, sender, frontend = self._signature
        shows_calendar = found.row.shows == Shows.CALENDAR
        describe = providers_entry if shows_calendar else customers_entry
        # As its owner sees them, without whatever else the owner may do.
        reader = Caller.of(Principal(found.row.user_id, None, frozenset()))
        entries = (
            describe(
                booking_out(row, reader, found.now),
                project=project,
                link=f"{frontend}/bookings/{row.id}",
            )
            for row in rows
        )
        name = f"{project}: {found.row.calendar_name}" if shows_calendar else project
        return feed(entries, organizer=Person(address, sender), name=name)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _window(now: datetime) -> dict[str, Any]:
    """What a feed shows at this moment; whole days, so that it does not change all the time."""
    today = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    return {
        "begin": today - DAYS_BACK,
        "end": today + DAYS_AHEAD,
        "now": now,
        "most": MAXIMUM_ENTRIES,
    }
