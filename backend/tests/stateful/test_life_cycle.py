"""Random sequences of all commands, by several callers, against a model of a few lines.

The model knows who has which hour of a day. After each command the application must have said the
same, list the same hours, and hold no two for one; in the end the log must tell all that was done.
"""

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import httpx
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from app.main import create_app
from tests.business import WEEKDAYS, Business, Caller, Hands, execute, ok, serving
from tests.conftest import cloned_database, make_settings

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
FIRST = datetime(2026, 3, 3, tzinfo=UTC)
SLOTS, HOUR = 6, timedelta(hours=1)
HOLDS_PER_CALLER = 3
CANCEL_UNTIL, CHECK_IN_OPENS = timedelta(minutes=120), timedelta(hours=12)
OCCUPYING = {"pending", "confirmed", "checked_in"}
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
OVERLAPS = (
    "SELECT count(*) FROM allocations a JOIN allocations b ON a.subject_id = b.subject_id"
    " AND a.id < b.id AND a.during && b.during"
)
OVERFULL = (
    "SELECT count(*) FROM allocations a WHERE a.capacity > 1 AND (a.seats_taken > a.capacity OR"
    " a.seats_taken <> (SELECT sum(seats) FROM session_seats s WHERE s.allocation_id = a.id))"
)
LOGGED = "SELECT count(*) FROM events WHERE subject_id = :id"

slots, services = st.integers(0, SLOTS - 1), st.sampled_from(sorted(SERVICES))
who, which = st.integers(0, 1), st.integers(0, 30)


@dataclass
class Claim:
    """A booking, or a hold: somebody's hour of some providers."""

    service: str
    slot: int
    providers: list[int]
    seats: int
    owner: int
    status: str = "confirmed"
    ends: datetime | None = None
    log: list[str] = field(default_factory=list)

    @property
    def start(self) -> datetime:
        return FIRST + self.slot * HOUR

    def takes_time(self, now: datetime) -> bool:
        if self.status == "held":
            return self.ends is not None and now < self.ends
        return self.status in OCCUPYING


@dataclass
class World:
    """The running application, and the loop it runs in."""

    app: FastAPI
    clock: Hands
    business: Business
    callers: list[Caller]
    run: Callable[[Coroutine[Any, Any, Any]], Any]


class LifeCycle(RuleBasedStateMachine):
    world: World

    def __init__(self) -> None:
        super().__init__()
        self.bookings: dict[str, Claim] = {}
        self.holds: dict[str, Claim] = {}
        self.away: dict[str, tuple[int, int]] = {}

    # --- The model ---------------------------------------------------------------------------
    @property
    def now(self) -> datetime:
        return self.world.clock.now

    def claims(self, slot: int, provider: int, without: Claim | None = None) -> list[Claim]:
        return [
            claim
            for claim in [*self.bookings.values(), *self.holds.values()]
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

    def pick(self, claims: dict[str, Claim], number: int) -> tuple[str, Claim] | None:
        return list(claims.items())[number % len(claims)] if claims else None

    # --- The application ---------------------------------------------------------------------
    def send(self, caller: int, method: str, path: str, **options: Any) -> httpx.Response:
        answer: httpx.Response = self.world.run(
            self.world.callers[caller].request(method, path, **options)
        )
        assert answer.status_code < 500, answer.text
        return answer

    def said(self, answer: httpx.Response) -> str:
        if answer.is_success:
            return "ok"
        body = answer.json()
        statuses = {"slot_unavailable": 422, "policy_violation": 422, "not_found": 404}
        statuses |= {"forbidden": 403, "hold_expired": 410}
        assert answer.status_code == statuses.get(body["code"], 409), body
        return str(body.get("reason", body["code"]))

    def gave(self, answer: dict[str, Any], groups: list[list[int]]) -> list[int]:
        lead = self.providers.index(answer["provider"]["id"])
        return next(group for group in groups if lead in group)

    @initialize()
    def open(self) -> None:
        self.world.run(self._open())

    async def _open(self) -> None:
        world, hours = self.world, {day: [("00:00", "24:00")] for day in WEEKDAYS}
        world.clock.now = NOW
        self.services = {
            name: (await world.business.service(durations_minutes=[60], **fields))["id"]
            for name, fields in SERVICES.items()
        }
        self.providers = []
        for number in range(2):
            gives = [n for n, groups in GIVEN_BY.items() if any(number in g for g in groups)]
            given = [{"id": self.services[name]} for name in gives]
            provider = await world.business.provider(*given, zone="UTC", hours=hours)
            self.providers.append(provider["id"])

    # --- Commands ----------------------------------------------------------------------------
    @rule(caller=who, service=services, slot=slots, seats=st.sampled_from([1, 1, 2]))
    def book(self, caller: int, service: str, slot: int, seats: int) -> None:
        self._take("/bookings", caller, service, slot, seats)

    @rule(caller=who, service=services, slot=slots, seats=st.sampled_from([1, 1, 2]))
    def hold(self, caller: int, service: str, slot: int, seats: int) -> None:
        self._take("/holds", caller, service, slot, seats)

    def _take(self, path: str, caller: int, service: str, slot: int, seats: int) -> None:
        seats = seats if service == "pair" else 1
        groups, why = self.free(service, slot, seats)
        mine = [h for h in self.holds.values() if h.owner == caller and h.takes_time(self.now)]
        if path == "/holds" and groups and len(mine) >= HOLDS_PER_CALLER:
            groups, why = [], "too_many_holds"
        start = (FIRST + slot * HOUR).isoformat()
        body = {"service_id": self.services[service], "start": start, "seats": seats}
        answer = self.send(caller, "POST", path, json=body)
        assert self.said(answer) == ("ok" if groups else why), (service, slot, answer.text)
        if groups:
            created = answer.json()
            claim = Claim(service, slot, self.gave(created, groups), seats, caller)
            if path == "/holds":
                claim.status, claim.ends = "held", self.now + timedelta(minutes=5)
                self.holds[created["id"]] = claim
            else:
                self._booked(created, claim)

    def _booked(self, created: dict[str, Any], claim: Claim) -> None:
        claim.status = "pending" if claim.service == "asked" else "confirmed"
        assert created["status"] == claim.status
        claim.log.append("booking.created")
        self.bookings[created["id"]] = claim

    @rule(caller=who, number=which)
    def use_hold(self, caller: int, number: int) -> None:
        held = self.pick(self.holds, number)
        if held is None or held[1].start < self.now:
            return
        hold_id, hold = held
        body = {
            "service_id": self.services[hold.service],
            "start": hold.start.isoformat(),
            "hold_id": hold_id,
        }
        answer = self.send(caller, "POST", "/bookings", json=body)
        expected = "ok" if hold.takes_time(self.now) else "hold_expired"
        if caller != hold.owner:
            expected = "not_found"
        assert self.said(answer) == expected, answer.text
        if expected == "ok":
            del self.holds[hold_id]
            booked = Claim(hold.service, hold.slot, hold.providers, hold.seats, caller)
            self._booked(answer.json(), booked)
            assert self._logged(hold_id) == 2

    @rule(caller=who, number=which)
    def give_hold_up(self, caller: int, number: int) -> None:
        held = self.pick(self.holds, number)
        if held is None:
            return
        hold_id, hold = held
        expected = "ok" if hold.takes_time(self.now) else "hold_expired"
        if caller != hold.owner:
            expected = "not_found"
        assert self.said(self.send(caller, "DELETE", f"/holds/{hold_id}")) == expected
        if expected == "ok":
            del self.holds[hold_id]
            assert self._logged(hold_id) == 2

    @rule(caller=st.integers(0, 2), action=st.sampled_from(sorted(SOURCES)), number=which)
    def act(self, caller: int, action: str, number: int) -> None:
        picked = self.pick(self.bookings, number)
        if picked is None:
            return
        booking_id, booking = picked
        expected = self._against(caller, action, booking)
        answer = self.send(caller, "POST", f"/bookings/{booking_id}/{action}")
        assert self.said(answer) == (expected or "ok"), (action, booking, answer.text)
        if expected is None:
            booking.status = TARGETS[action]
            assert answer.json()["status"] == booking.status
            event = booking.status if action != "no-show" else "no_show"
            booking.log.append(f"booking.{event}")

    def _against(self, caller: int, action: str, booking: Claim) -> str | None:
        """What the rules have against an action, whatever is free."""
        is_staff, begun = caller == 2, booking.start <= self.now
        status = "expired" if booking.status == "pending" and begun else booking.status
        if not is_staff and caller != booking.owner:
            return "not_found"
        if not is_staff and action not in {"cancel", "reschedule"}:
            return "forbidden"
        if status not in SOURCES.get(action, SOURCES["cancel"]):
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

    @rule(caller=st.integers(0, 2), number=which, slot=slots)
    def reschedule(self, caller: int, number: int, slot: int) -> None:
        picked = self.pick(self.bookings, number)
        if picked is None:
            return
        booking_id, booking = picked
        expected, groups = self._against(caller, "reschedule", booking), []
        if expected is None and slot != booking.slot:
            groups, why = self.free(booking.service, slot, booking.seats, without=booking)
            expected = None if groups else why
        body = {"start": (FIRST + slot * HOUR).isoformat()}
        answer = self.send(caller, "POST", f"/bookings/{booking_id}/reschedule", json=body)
        assert self.said(answer) == (expected or "ok"), (booking, slot, answer.text)
        if expected is None and slot != booking.slot:
            if booking.providers in groups:
                groups = [booking.providers]
            booking.slot, booking.providers = slot, self.gave(answer.json(), groups)
            if booking.service == "asked" and caller != 2:
                booking.status = "pending"
            assert answer.json()["status"] == booking.status
            booking.log.append("booking.rescheduled")

    @rule(number=which, provider=who)
    def reassign(self, number: int, provider: int) -> None:
        picked = self.pick(self.bookings, number)
        if picked is None:
            return
        booking_id, booking = picked
        expected = self._against(2, "reschedule", booking)
        changes = [provider] != booking.providers
        if expected is None and booking.service == "team":
            expected = "invalid_transition"
        if expected is None and booking.start < self.now:
            expected = "past"
        if expected is None and changes:
            offered = [provider] in GIVEN_BY[booking.service]
            seats, slot = booking.seats, booking.slot
            why = self.why_not(booking.service, slot, [provider], seats, without=booking)
            expected = why if offered else "not_offered"
        body = {"provider_id": self.providers[provider]}
        answer = self.send(2, "POST", f"/bookings/{booking_id}/reassign", json=body)
        assert self.said(answer) == (expected or "ok"), (booking, provider, answer.text)
        if expected is None and changes:
            booking.providers = [provider]
            booking.log.append("booking.reassigned")

    @rule(provider=who, slot=slots)
    def take_time_off(self, provider: int, slot: int) -> None:
        start = FIRST + slot * HOUR
        body = {"start": start.isoformat(), "end": (start + HOUR).isoformat()}
        path = f"/providers/{self.providers[provider]}/time-off"
        created = ok(self.send(2, "POST", path, json=body))
        self.away[created["id"]] = provider, slot

    @rule(number=which)
    def come_back(self, number: int) -> None:
        if self.away:
            time_off_id, (provider, _) = list(self.away.items())[number % len(self.away)]
            path = f"/providers/{self.providers[provider]}/time-off/{time_off_id}"
            assert self.send(2, "DELETE", path).status_code == 204
            del self.away[time_off_id]

    @rule(minutes=st.sampled_from([3, 3, 6, 240, 420]))
    def wait(self, minutes: int) -> None:
        if self.now + timedelta(minutes=minutes) < NOW + timedelta(days=1):  # tokens last a day
            self.world.clock.advance(minutes=minutes)

    # --- What is always true -----------------------------------------------------------------
    @invariant()
    def lists_what_is_free(self) -> None:
        for service, service_id in getattr(self, "services", {}).items():
            day = FIRST.date().isoformat()
            params = {"service_id": service_id, "start": day, "end": day, "time_zone": "UTC"}
            answer = ok(self.send(0, "GET", "/availability", params=params))
            listed = [
                (FIRST.replace(hour=int(slot["start"][11:13])) - FIRST) // HOUR
                for slot in answer["days"][0]["slots"]
            ]
            expected = [slot for slot in range(SLOTS) if self.free(service, slot)[0]]
            assert [slot for slot in listed if slot < SLOTS] == expected, service

    @invariant()
    def nobody_has_what_somebody_has(self) -> None:
        assert self._count(OVERLAPS) == 0
        assert self._count(OVERFULL) == 0

    def teardown(self) -> None:
        for booking_id, booking in self.bookings.items():
            history = ok(self.send(2, "GET", f"/bookings/{booking_id}/history"))
            assert [event["type"] for event in history["items"]] == booking.log
        # The next sequence begins at the same moment, with the same callers and another business.
        self.world.run(execute(self.world.app, "DELETE FROM holds"))

    def _logged(self, subject_id: str) -> int:
        return self._count(LOGGED, id=uuid.UUID(subject_id))

    def _count(self, query: str, **values: object) -> int:
        async def count() -> int:
            async with self.world.app.state.database.transaction() as session:
                found: int = (await session.execute(text(query), values)).scalar_one()
                return found

        number: int = self.world.run(count())
        return number


def test_whatever_is_done_in_whatever_order_the_model_says_the_same() -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def begin() -> World:
            name = await stack.enter_async_context(cloned_database())
            changes = {"ACCESS_TOKEN_EXPIRE_MINUTES": 1440, "HOLDS_PER_CALLER": HOLDS_PER_CALLER}
            clock = Hands(NOW)
            app = create_app(make_settings(POSTGRES_DB=name, **changes), clock=clock)
            business = Business(await stack.enter_async_context(serving(app)))
            callers = [await business.customer() for _ in range(2)]
            return World(app, clock, business, [*callers, await business.admin()], runner.run)

        LifeCycle.world = runner.run(begin())
        try:
            run_state_machine_as_test(
                LifeCycle,
                settings=settings(
                    max_examples=25,
                    stateful_step_count=30,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(stack.aclose())
