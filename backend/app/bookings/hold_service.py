"""Holding a time, so that somebody can decide."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.principal import Principal
from app.availability.errors import SlotTaken
from app.availability.plan import Candidate
from app.availability.service import AvailabilityService, Opening, Wish, taking
from app.bookings import hold_repository as repository
from app.bookings.assignment_service import Choice, choices, records_for
from app.bookings.errors import HoldExpired, PolicyReason, PolicyViolation
from app.bookings.hold_models import Hold
from app.bookings.hold_repository import Cap
from app.bookings.hold_schemas import HoldCreate, HoldCreated, HoldOut
from app.bookings.schemas import NamedProvider, NamedService
from app.bookings.waitlist_repository import announce
from app.core.clock import Clock
from app.core.errors import NotFound, Unauthenticated
from app.core.events import SYSTEM, Actor, event_values, record
from app.core.ids import new_id
from app.core.jobs import NewJob
from app.core.preconditions import IfMatch
from app.database import AnyRow

END_HOLD = "hold.end"
GUEST = Actor("guest")

_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds. `key` names those whose holds are counted together."""

    key: str
    user_id: UUID | None = None
    actor: Actor = GUEST

    @classmethod
    def of(cls, principal: Principal) -> "Holder":
        return cls(str(principal.user_id), principal.user_id, principal.actor)


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows whose hold it is: the account, or the secret of a visitor's."""

    user_id: UUID | None = None
    secret: str | None = None

    def fits(self, hold: Hold) -> bool:
        if hold.customer_id is not None:
            return self.user_id == hold.customer_id
        given = secret_digest(self.secret or "")
        return hmac.compare_digest(given, hold.secret_digest)


@dataclass(frozen=True, slots=True)
class Held:
    """A hold that was just taken: its row, and who gives what."""

    row: AnyRow
    service_name: str
    provider_name: str
    secret: str


class HoldService:
    """Holds are taken, extended, ended and handed to who books. Each locks the hold's row first.

    `most` is how many one caller may have at a time; None: any number.
    """

    def __init__(
        self,
        session: AsyncSession,
        availability: AvailabilityService,
        clock: Clock,
        most: int | None,
    ) -> None:
        self._session = session
        self._availability = availability
        self._clock = clock
        self._most = most

    async def hold(self, wanted: HoldCreate, holder: Holder) -> HoldCreated:
        """Take a time as a booking would, until it ends by itself.

        Three round trips: what the decision needs, a lock on the caller, and one that takes the
        time and writes the hold, its event, the job that cleans up and the calendars' versions.
        Each candidate lost to a race adds one; what must be decided under locks adds two (see
        `AvailabilityService.opening`).

        Raises:
            NotFound: no such service, or location.
            Unauthenticated: a visitor, and the service admits no guests.
            SlotUnavailable, SlotTaken, SlotHeld, NoSeatsLeft: see `AvailabilityService.opening`.
            PolicyViolation: the caller has as many holds as anybody may.
        """
        wish = Wish(
            wanted.service_id,
            wanted.start,
            wanted.provider_id,
            wanted.location_id,
            wanted.duration_minutes,
            wanted.seats,
        )
        held = await self.take(wish, holder, timedelta(seconds=wanted.ttl_seconds))
        return HoldCreated(
            **_described(held.row, held.service_name, held.provider_name), secret=held.secret
        )

    async def take(self, wish: Wish, holder: Holder, lifetime: timedelta) -> Held:
        """Hold a time for so long. As `hold`, which says what it costs and raises."""
        opening = await self._availability.opening(wish, ask=records_for)
        if holder.user_id is None and not opening.plan.allow_guests:
            raise Unauthenticated
        await repository.lock_caller(self._session, holder.key)
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        for choice in choices(opening, requested=wish.provider_id is not None):
            row = await self._take(opening, choice, holder, lifetime, secret)
            if row is not None:
                lead = choice.candidate.lead
                return Held(row, opening.plan.service_name, lead.display_name, secret)
        raise SlotTaken

    async def extend(
        self, hold_id: UUID, lifetime: timedelta, seen: IfMatch, proof: Proof
    ) -> HoldOut:
        """Hold on for so long from now, once. A hold does not become shorter. Five round trips.

        Raises:
            NotFound, HoldExpired, VersionMismatch.
            PolicyViolation: it was extended before.
        """
        hold = await self.mine(hold_id, proof)
        seen.check(hold.version)
        if hold.is_extended:
            raise PolicyViolation(PolicyReason.HOLD_EXTENDED_BEFORE)
        before = hold.expires_at
        hold.expires_at = max(before, self._clock() + lifetime)
        hold.is_extended = True
        subjects = [*hold.provider_ids, *hold.resource_ids]
        if not await self._availability.extend(
            hold.id, hold.allocation_id, subjects, hold.expires_at
        ):
            raise HoldExpired
        await self._session.flush()
        await record(
            self._session,
            "hold.extended",
            subject_id=hold_id,
            actor=_actor(hold),
            before={"expires_at": _text(before)},
            after={"expires_at": _text(hold.expires_at)},
        )
        names = await repository.names(self._session, hold_id)
        return HoldOut(**_described(hold, names.service_name, names.provider_name))

    async def give_up(self, hold_id: UUID, seen: IfMatch, proof: Proof) -> None:
        """End a hold before its time. Four round trips, and two for a group session's seats.

        Raises:
            NotFound, HoldExpired, VersionMismatch.
        """
        hold = await self.mine(hold_id, proof)
        seen.check(hold.version)
        await self._end(hold, "hold.released", _actor(hold))

    async def end_early(self, hold_id: UUID, proof: Proof) -> None:
        """End a hold that nobody needs any more, if it has not ended by itself."""
        hold = await repository.hold_for_update(self._session, hold_id)
        if hold is not None and proof.fits(hold):
            await self._end(hold, "hold.released", _actor(hold))

    async def end_if_due(self, hold_id: UUID) -> timedelta | None:
        """Clear away a hold that has ended; how long it still has, if it has not."""
        hold = await repository.hold_for_update(self._session, hold_id)
        if hold is None:
            return None
        left = hold.expires_at - self._clock()
        if left > timedelta():
            return left
        await self._end(hold, "hold.expired", SYSTEM)
        return None

    async def mine(self, hold_id: UUID, proof: Proof) -> Hold:
        """The caller's hold, locked. One round trip, and another one if there is none.

        Raises:
            NotFound: no such hold, or somebody else's.
            HoldExpired: it has ended.
        """
        hold = await repository.hold_for_update(self._session, hold_id)
        if hold is None:
            if await repository.has_ended(self._session, hold_id, proof.user_id):
                raise HoldExpired
            raise NotFound("There is no such hold.")
        if not proof.fits(hold):
            raise NotFound("There is no such hold.")
        if hold.expires_at <= self._clock():
            raise HoldExpired
        return hold

    async def _take(
        self,
        opening: Opening,
        choice: Choice,
        holder: Holder,
        lifetime: timedelta,
        secret: str,
    ) -> AnyRow | None:
        """Hold this candidate's time; None: somebody was faster."""
        now, hold_id, candidate = self._clock(), new_id(), choice.candidate
        until = now + lifetime
        how = taking(opening, candidate, hold_id, session_id=new_id(), until=until, is_hold=True)
        hold = {
            "id": hold_id,
            "allocation_id": how.allocation_id,
            "customer_id": holder.user_id,
            "caller": holder.key,
            "secret_digest": secret_digest(secret),
            "assigned": choice.reason,
            "expires_at": until,
            **_held(opening, candidate),
        }
        cap = Cap(holder.key, now, self._most)
        row = await repository.hold(
            self._session,
            taking=how,
            hold=hold,
            event=event_values(
                "hold.created", subject_id=hold_id, actor=holder.actor, after=_logged(hold)
            ),
            job=NewJob(END_HOLD, hold_id, lifetime),
            cap=cap,
        )
        if row is None:
            if not await repository.is_within(self._session, cap):
                raise PolicyViolation(PolicyReason.TOO_MANY_HOLDS)
            if how.subjects > 1:
                await self._availability.undo(how)
        return row

    async def _end(self, hold: Hold, event_type: str, actor: Actor) -> None:
        await self._availability.release(hold.id, hold.allocation_id)
        await self._session.delete(hold)
        await self._session.flush()
        await record(self._session, event_type, subject_id=hold.id, actor=actor)
        await announce(self._session, [*hold.provider_ids, *hold.resource_ids])


def used_event(hold: Hold, booking_id: UUID, actor: Actor) -> dict[str, Any]:
    """What the log says of a hold that has become a booking."""
    after = {"booking_id": str(booking_id)}
    return event_values("hold.used", subject_id=hold.id, actor=actor, after=after)


def secret_digest(secret: str) -> bytes:
    """As the database keeps it: of 256 random bits a plain hash is enough."""
    return hashlib.sha256(secret.encode(errors="replace")).digest()


def _held(opening: Opening, candidate: Candidate) -> dict[str, Any]:
    """The columns of a hold that an opening and a candidate decide."""
    return {
        "service_id": opening.plan.service_id,
        "provider_id": candidate.lead.id,
        "location_id": candidate.location_id,
        "provider_ids": candidate.provider_ids,
        "resource_ids": list(candidate.resource_ids),
        "starts_at": opening.start,
        "ends_at": opening.end,
        "time_zone": candidate.lead.hours.zone,
        "duration_minutes": opening.duration,
        "seats": opening.seats,
    }


def _logged(hold: dict[str, Any]) -> dict[str, Any]:
    """A new hold for the log: ids and times, nothing personal."""
    return {
        "service_id": str(hold["service_id"]),
        "provider_id": str(hold["provider_id"]),
        "start": _text(hold["starts_at"]),
        "end": _text(hold["ends_at"]),
        "seats": hold["seats"],
        "expires_at": _text(hold["expires_at"]),
    }


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _actor(hold: Hold) -> Actor:
    return Actor("user", hold.customer_id) if hold.customer_id else GUEST


def _described(hold: Hold | AnyRow, service_name: str, provider_name: str) -> dict[str, Any]:
    zone = ZoneInfo(hold.time_zone)
    return {
        "id": hold.id,
        "service": NamedService(id=hold.service_id, name=service_name),
        "provider": NamedProvider(id=hold.provider_id, display_name=provider_name),
        "location_id": hold.location_id,
        "start": hold.starts_at.astimezone(zone),
        "end": hold.ends_at.astimezone(zone),
        "time_zone": hold.time_zone,
        "duration_minutes": hold.duration_minutes,
        "seats": hold.seats,
        "expires_at": hold.expires_at,
        "is_extended": hold.is_extended,
        "version": hold.version,
        "created_at": hold.created_at,
        "updated_at": hold.updated_at,
    }
