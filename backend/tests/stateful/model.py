"""A model of a few rules: who has which hour of a day, and what may be done about it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, count
from typing import Any, TypeVar

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
FIRST = datetime(2026, 3, 3, tzinfo=UTC)
SLOTS, HOUR = 6, timedelta(hours=1)
DAY = 24
"""A series goes on so many slots later."""
HOLDS_PER_CALLER = 3
HOLD, OFFER, REQUEST = timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=4)
"""How long a hold, an offer to who waits, and a request for approval last."""
CANCEL_UNTIL, CHECK_IN_OPENS = timedelta(minutes=120), timedelta(hours=12)
STAFF = 2
OCCUPYING = {"pending", "confirmed", "checked_in"}
RELEASED = {"declined", "expired", "cancelled"}
SOURCES = {
    "confirm": {"pending"},
    "decline": {"pending"},
    "cancel": {"pending", "confirmed"},
    "check-in": {"confirmed"},
    "complete": {"confirmed", "checked_in", "no_show"},
    "no-show": {"confirmed"},
}
TARGETS = {
    "confirm": "confirmed",
    "decline": "declined",
    "cancel": "cancelled",
    "check-in": "checked_in",
    "complete": "completed",
    "no-show": "no_show",
}
SERVICES: dict[str, dict[str, Any]] = {
    "talk": {"cancel_until_minutes": 120},
    "pair": {"capacity": 2},
    "team": {"assignment": "collective"},
    "asked": {"approval": "required"},
}
GIVEN_BY = {"talk": [[0], [1]], "pair": [[0]], "team": [[0, 1]], "asked": [[1]]}
WAITED_FOR = "asked"

_numbers = count()
_T = TypeVar("_T")


@dataclass
class Claim:
    """A booking, a hold or an offer: somebody's hour of some providers, maybe only until `ends`.

    A guest's has no owner but the `token` of its link, and, `joins`, soon an account's.
    """

    service: str
    slot: int
    providers: list[int]
    seats: int
    owner: int | None
    status: str = "confirmed"
    ends: datetime | None = None
    token: str | None = None
    joins: bool = False
    has_joined: bool = False
    is_extended: bool = False
    log: list[str] = field(default_factory=list)
    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def start(self) -> datetime:
        return FIRST + self.slot * HOUR

    def takes_time(self, now: datetime) -> bool:
        return self.status in OCCUPYING | {"held"} and (self.ends is None or now < self.ends)

    def status_at(self, now: datetime) -> str:
        return "expired" if self.status == "pending" and not self.takes_time(now) else self.status

    def ask(self, now: datetime) -> None:
        """Wait for approval, from now on."""
        self.status, self.ends = "pending", min(self.start, now + REQUEST)


@dataclass
class Entry:
    """Somebody in line for one hour. What is `offered` is held for them."""

    slot: int
    owner: int
    status: str = "waiting"
    offered: Claim | None = None
    number: int = field(default_factory=lambda: next(_numbers))


class Model:
    def __init__(self) -> None:
        self.now = NOW
        self.bookings: dict[str, Claim] = {}
        self.holds: dict[str, Claim] = {}
        self.line: dict[str, Entry] = {}
        self.series: dict[str, list[str]] = {}
        self.away: dict[str, tuple[int, int]] = {}

    # --- What is free ------------------------------------------------------------------------
    def claims(self, slot: int, provider: int, without: Claim | None = None) -> list[Claim]:
        offers = [entry.offered for entry in self.line.values() if entry.offered]
        return [
            claim
            for claim in [*self.bookings.values(), *self.holds.values(), *offers]
            if claim is not without
            and claim.slot == slot
            and provider in claim.providers
            and claim.takes_time(self.now)
        ]

    def why_not(
        self, service: str, slot: int, group: list[int], seats: int, without: Claim | None = None
    ) -> str | None:
        taken = [self.claims(slot, provider, without) for provider in group]
        is_session = service == "pair" and all(c.service == "pair" for c in taken[0]) and taken[0]
        if FIRST + slot * HOUR < self.now:
            return "past"
        if is_session:
            left = 2 - sum(claim.seats for claim in taken[0])
            return None if seats <= left else "no_seats_left"
        if any((provider, slot) in self.away.values() for provider in group):
            return "time_off"
        claims = [*chain(*taken)]
        if any(c.status == "held" and c.service != "pair" for c in claims):
            return "slot_held"
        return "slot_taken" if claims else None

    def free(
        self, service: str, slot: int, seats: int = 1, without: Claim | None = None
    ) -> tuple[list[list[int]], str]:
        """The groups that can give it; else the reason that comes closest to a yes."""
        order = ["past", "time_off", "slot_taken", "slot_held", "no_seats_left"]
        verdicts = [self.why_not(service, slot, g, seats, without) for g in GIVEN_BY[service]]
        groups = [g for g, why in zip(GIVEN_BY[service], verdicts, strict=True) if why is None]
        return groups, max((why for why in verdicts if why), key=order.index, default="")

    def has_too_many_holds(self, caller: int) -> bool:
        mine = [h for h in self.holds.values() if h.owner == caller and h.takes_time(self.now)]
        return len(mine) >= HOLDS_PER_CALLER

    # --- What may be done --------------------------------------------------------------------
    def against(self, caller: int | None, action: str, booking: Claim) -> str | None:
        """What the rules have against an action, whatever is free; no caller: the guest."""
        is_staff = caller == STAFF
        if not is_staff and caller is not None and caller != booking.owner:
            return "not_found"
        if not is_staff and action not in {"cancel", "reschedule"}:
            return "forbidden"
        if booking.status_at(self.now) not in SOURCES.get(action, SOURCES["cancel"]):
            return "invalid_transition"
        return self._untimely(action, booking, is_staff=is_staff)

    def _untimely(self, action: str, booking: Claim, *, is_staff: bool) -> str | None:
        left = booking.start - self.now
        opens = CHECK_IN_OPENS if action == "check-in" else timedelta()
        if action in {"check-in", "complete", "no-show"} and left > opens:
            return "too_early"
        deadline = CANCEL_UNTIL if (action, booking.service) == ("cancel", "talk") else timedelta()
        if action in {"cancel", "reschedule"} and not is_staff and left < deadline:
            return f"{action}_deadline_passed"
        return None

    def against_hold(self, caller: int, hold: Claim) -> str | None:
        if caller != hold.owner:
            return "not_found"
        return None if hold.takes_time(self.now) else "hold_expired"

    def against_accepting(self, caller: int, entry: Entry) -> str | None:
        if caller != entry.owner:
            return "not_found"
        if entry.offered is not None:
            return None if entry.offered.takes_time(self.now) else "hold_expired"
        # Who was offered it once, and did not come, is told so.
        return "hold_expired" if entry.status == "expired-offer" else "invalid_transition"

    # --- What is done ------------------------------------------------------------------------
    def act(self, action: str, booking: Claim) -> None:
        booking.status = TARGETS[action]
        if action == "confirm":
            booking.ends = None
        event = booking.status if action != "no-show" else "no_show"
        booking.log.append(f"booking.{event}")

    @property
    def has_work(self) -> bool:
        claims = [*self.bookings.values(), *self.holds.values()]
        has_ended = any(
            claim.status in {"pending", "held"} and not claim.takes_time(self.now)
            for claim in claims
        )
        is_waiting = any(entry.status in {"waiting", "offered"} for entry in self.line.values())
        return has_ended or is_waiting or any(claim.joins for claim in claims)

    def work(self) -> None:
        """What jobs do when they come: they note what has ended, and offer what is free."""
        for booking in self.bookings.values():
            if booking.status != booking.status_at(self.now):
                booking.status = "expired"
                booking.log.append("booking.expired")
            if booking.joins:
                booking.joins, booking.owner, booking.has_joined = False, 0, True
        for hold in self.holds.values():
            if not hold.takes_time(self.now) and "hold.expired" not in hold.log:
                hold.log.append("hold.expired")
        for entry in self.line.values():
            self._end(entry)
        for entry in self.line.values():
            groups, _ = self.free(WAITED_FOR, entry.slot)
            start = FIRST + entry.slot * HOUR
            if entry.status == "waiting" and groups and start > self.now:
                entry.status, entry.number = "offered", next(_numbers)
                entry.offered = Claim(WAITED_FOR, entry.slot, groups[0], 1, entry.owner, "held")
                entry.offered.ends = min(self.now + OFFER, start)

    def _end(self, entry: Entry) -> None:
        """End an offer, or a wait, that is over; who booked it otherwise has had their way."""
        if entry.offered is not None and not entry.offered.takes_time(self.now):
            booked = [
                b
                for b in self.bookings.values()
                if (b.service, b.slot, b.owner) == (WAITED_FOR, entry.slot, entry.owner)
                and b.number > entry.number
                and b.status_at(self.now) not in RELEASED
            ]
            entry.status, entry.offered = "accepted" if booked else "expired-offer", None
        elif entry.status == "waiting" and FIRST + (entry.slot + 1) * HOUR <= self.now:
            entry.status = "expired"


def pick(claims: dict[str, _T], number: int) -> tuple[str, _T]:
    return list(claims.items())[number % len(claims)]
