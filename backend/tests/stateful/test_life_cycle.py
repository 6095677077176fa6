"""Random sequences of all commands, by several callers, against a model of a few lines.

The model knows who has which hour of a day. After each command the application must have said the
same, list the same hours, and hold no two for one; in the end the log must tell all that was done.
"""

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from app.bookings import rules
from app.main import create_app
from tests.business import WEEKDAYS, Business, Caller, Hands, execute, ok, serving
from tests.conftest import cloned_database, make_settings
from tests.stateful.model import (
    DAY,
    FIRST,
    GIVEN_BY,
    HOLD,
    HOLDS_PER_CALLER,
    HOUR,
    NOW,
    REQUEST,
    SERVICES,
    SLOTS,
    SOURCES,
    STAFF,
    WAITED_FOR,
    Claim,
    Entry,
    Model,
    pick,
)

WRONG = (
    "SELECT (SELECT count(*) FROM allocations a JOIN allocations b ON a.subject_id = b.subject_id"
    " AND a.id < b.id AND a.during && b.during) + (SELECT count(*) FROM allocations a"
    " WHERE a.capacity > 1 AND (a.seats_taken > a.capacity OR a.seats_taken <>"
    " (SELECT sum(seats) FROM session_seats s WHERE s.allocation_id = a.id)))"
)
LOGGED = "SELECT array_agg(type ORDER BY id) FROM events WHERE subject_id = :id"
TWICE = "FREQ=DAILY;COUNT=2"

slots, services = st.integers(0, SLOTS - 1), st.sampled_from(sorted(SERVICES))
customer, caller, which = st.integers(0, 1), st.integers(0, STAFF), st.integers(0, 30)


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
        self.model = Model()
        self.dead_tokens: list[str] = []
        self.to_list: list[str] = []

    @property
    def guests(self) -> dict[str, Claim]:
        """The bookings of those guests whose last link is known to them."""
        return {b.token: b for b in self.model.bookings.values() if b.token is not None}

    # --- The application ---------------------------------------------------------------------
    def send(self, caller: int | None, method: str, path: str, **options: Any) -> httpx.Response:
        world = self.world
        request = (
            world.business.client.request(method, f"/api/v1{path}", **options)
            if caller is None
            else world.callers[caller].request(method, path, **options)
        )
        answer: httpx.Response = world.run(request)
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
            name: (
                await world.business.service(durations_minutes=[60], allow_guests=True, **fields)
            )["id"]
            for name, fields in SERVICES.items()
        }
        self.providers = []
        for number in range(2):
            gives = [n for n, groups in GIVEN_BY.items() if any(number in g for g in groups)]
            given = [{"id": self.services[name]} for name in gives]
            provider = await world.business.provider(*given, zone="UTC", hours=hours)
            self.providers.append(provider["id"])

    # --- Taking ------------------------------------------------------------------------------
    @rule(caller=customer, service=services, slot=slots, seats=st.sampled_from([1, 1, 2]))
    def book(self, caller: int, service: str, slot: int, seats: int) -> None:
        seats = seats if service == "pair" else 1
        groups, why = self.model.free(service, slot, seats)
        answer = self.send(caller, "POST", "/bookings", json=self._wish(service, slot, seats))
        assert self.said(answer) == ("ok" if groups else why), (service, slot, answer.text)
        if groups:
            created = answer.json()
            self._booked(created, Claim(service, slot, self.gave(created, groups), seats, caller))

    @rule(service=services, slot=slots, has_account=st.booleans())
    def book_as_guest(self, *, service: str, slot: int, has_account: bool) -> None:
        groups, why = self.model.free(service, slot)
        email = self.world.callers[0].user["email"] if has_account else "guest@example.com"
        body = self._wish(service, slot) | {"guest": {"name": "Guest", "email": email}}
        answer = self.send(None, "POST", "/bookings", json=body)
        assert self.said(answer) == ("ok" if groups else why), (service, slot, answer.text)
        if groups:
            created = answer.json()
            claim = Claim(service, slot, self.gave(created, groups), 1, None, joins=has_account)
            claim.token = created["manage_token"]
            self._booked(created, claim)

    def _wish(self, service: str, slot: int, seats: int = 1) -> dict[str, Any]:
        start = (FIRST + slot * HOUR).isoformat()
        return {"service_id": self.services[service], "start": start, "seats": seats}

    def _booked(self, created: dict[str, Any], claim: Claim) -> None:
        if claim.service == "asked":
            claim.ask(self.model.now)
        assert created["status"] == claim.status
        claim.log.append("booking.created")
        self.model.bookings[created["id"]] = claim

    @rule(
        caller=customer,
        service=st.sampled_from(["pair", "team", "asked"]),
        slot=slots,
        on_conflict=st.sampled_from(["fail", "skip"]),
    )
    def book_series(self, caller: int, service: str, slot: int, on_conflict: str) -> None:
        (group,) = GIVEN_BY[service]
        verdicts = {n: self.model.why_not(service, n, group, 1) for n in (slot, slot + DAY)}
        had = [n for n, why in verdicts.items() if why is None]
        refused = next((why for why in verdicts.values() if why), "ok")
        expected = "ok" if on_conflict == "skip" and had else refused
        body = self._wish(service, slot) | {"rrule": TWICE, "on_conflict": on_conflict}
        answer = self.send(caller, "POST", "/booking-series", json=body)
        assert self.said(answer) == expected, (service, slot, verdicts, answer.text)
        if expected == "ok":
            created = answer.json()
            for booking, number in zip(created["bookings"], had, strict=True):
                self._booked(booking, Claim(service, number, group, 1, caller))
            self.model.series[created["id"]] = [b["id"] for b in created["bookings"]]

    # --- Holding -----------------------------------------------------------------------------
    @rule(caller=customer, service=services, slot=slots, seats=st.sampled_from([1, 1, 2]))
    def hold(self, caller: int, service: str, slot: int, seats: int) -> None:
        seats = seats if service == "pair" else 1
        groups, why = self.model.free(service, slot, seats)
        if groups and self.model.has_too_many_holds(caller):
            groups, why = [], "too_many_holds"
        answer = self.send(caller, "POST", "/holds", json=self._wish(service, slot, seats))
        assert self.said(answer) == ("ok" if groups else why), (service, slot, answer.text)
        if groups:
            held = answer.json()
            claim = Claim(service, slot, self.gave(held, groups), seats, caller, "held")
            claim.ends = self.model.now + HOLD
            claim.log.append("hold.created")
            self.model.holds[held["id"]] = claim

    @precondition(lambda self: self.model.holds)
    @rule(caller=customer, number=which)
    def use_hold(self, caller: int, number: int) -> None:
        hold_id, hold = pick(self.model.holds, number)
        if hold.start < self.model.now:
            return
        expected = self.model.against_hold(caller, hold)
        body = self._wish(hold.service, hold.slot, hold.seats) | {"hold_id": hold_id}
        answer = self.send(caller, "POST", "/bookings", json=body)
        assert self.said(answer) == (expected or "ok"), answer.text
        if expected is None:
            self._gone(hold_id, "hold.used")
            booked = Claim(hold.service, hold.slot, hold.providers, hold.seats, caller)
            self._booked(answer.json(), booked)

    @precondition(lambda self: self.model.holds)
    @rule(caller=customer, number=which)
    def extend_hold(self, caller: int, number: int) -> None:
        hold_id, hold = pick(self.model.holds, number)
        expected = self.model.against_hold(caller, hold)
        if expected is None and hold.is_extended:
            expected = "hold_extended_before"
        answer = self.send(caller, "PATCH", f"/holds/{hold_id}", json={"ttl_seconds": 300})
        assert self.said(answer) == (expected or "ok"), answer.text
        if expected is None:
            hold.ends, hold.is_extended = self.model.now + HOLD, True
            hold.log.append("hold.extended")

    @precondition(lambda self: self.model.holds)
    @rule(caller=customer, number=which)
    def give_hold_up(self, caller: int, number: int) -> None:
        hold_id, hold = pick(self.model.holds, number)
        expected = self.model.against_hold(caller, hold)
        assert self.said(self.send(caller, "DELETE", f"/holds/{hold_id}")) == (expected or "ok")
        if expected is None:
            self._gone(hold_id, "hold.released")

    def _gone(self, hold_id: str, event: str) -> None:
        assert self._logged(hold_id) == [*self.model.holds.pop(hold_id).log, event]

    # --- Acting ------------------------------------------------------------------------------
    @precondition(lambda self: self.model.bookings)
    @rule(caller=caller, action=st.sampled_from(sorted(SOURCES)), number=which)
    def act(self, caller: int, action: str, number: int) -> None:
        booking_id, booking = pick(self.model.bookings, number)
        self._act(caller, action, booking, f"/bookings/{booking_id}/{action}")

    def _act(self, caller: int | None, action: str, booking: Claim, path: str) -> None:
        expected = self.model.against(caller, action, booking)
        answer = self.send(caller, "POST", path)
        assert self.said(answer) == (expected or "ok"), (action, booking, answer.text)
        if expected is None:
            self.model.act(action, booking)
            assert answer.json()["status"] == booking.status

    @precondition(lambda self: self.model.bookings)
    @rule(caller=caller, number=which, slot=slots)
    def reschedule(self, caller: int, number: int, slot: int) -> None:
        booking_id, booking = pick(self.model.bookings, number)
        self._reschedule(caller, booking, slot, f"/bookings/{booking_id}/reschedule")

    def _reschedule(self, caller: int | None, booking: Claim, slot: int, path: str) -> None:
        expected, groups = self.model.against(caller, "reschedule", booking), []
        if expected is None and slot != booking.slot:
            groups, why = self.model.free(booking.service, slot, booking.seats, without=booking)
            expected = None if groups else why
        answer = self.send(caller, "POST", path, json={"start": (FIRST + slot * HOUR).isoformat()})
        assert self.said(answer) == (expected or "ok"), (booking, slot, answer.text)
        if expected is not None or slot == booking.slot:
            return
        if booking.providers in groups:
            groups = [booking.providers]
        moved = answer.json()
        booking.slot, booking.providers = slot, self.gave(moved, groups)
        if booking.service == "asked" and (caller != STAFF or booking.status == "pending"):
            booking.ask(self.model.now)
        assert moved["status"] == booking.status
        booking.log.append("booking.rescheduled")
        if booking.token is not None:
            self.dead_tokens.append(booking.token)
            booking.token = moved.get("manage_token")

    @precondition(lambda self: self.guests)
    @rule(number=which, slot=slots, moves=st.booleans())
    def manage(self, *, number: int, slot: int, moves: bool) -> None:
        """What a guest does by the link, the last one that this guest was given."""
        token, booking = pick(self.guests, number)
        link = f"/manage/{token}"
        seen = ok(self.send(None, "GET", link))
        assert (seen["status"], seen["customer"]["id"]) == (booking.status_at(self.model.now), None)
        if moves:
            self._reschedule(None, booking, slot, f"{link}/reschedule")
        else:
            self._act(None, "cancel", booking, f"{link}/cancel")

    @precondition(lambda self: self.dead_tokens)
    @rule(number=which)
    def manage_by_an_old_link(self, number: int) -> None:
        token = self.dead_tokens[number % len(self.dead_tokens)]
        assert self.said(self.send(None, "POST", f"/manage/{token}/cancel")) == "not_found"

    @precondition(lambda self: self.model.bookings)
    @rule(number=which, provider=customer)
    def reassign(self, number: int, provider: int) -> None:
        booking_id, booking = pick(self.model.bookings, number)
        expected = self.model.against(STAFF, "reschedule", booking)
        changes = [provider] != booking.providers
        if expected is None and booking.service == "team":
            expected = "invalid_transition"
        if expected is None and booking.start < self.model.now:
            expected = "past"
        if expected is None and changes:
            offered = [provider] in GIVEN_BY[booking.service]
            seats, slot = booking.seats, booking.slot
            why = self.model.why_not(booking.service, slot, [provider], seats, without=booking)
            expected = why if offered else "not_offered"
        body = {"provider_id": self.providers[provider]}
        answer = self.send(STAFF, "POST", f"/bookings/{booking_id}/reassign", json=body)
        assert self.said(answer) == (expected or "ok"), (booking, provider, answer.text)
        if expected is None and changes:
            booking.providers = [provider]
            booking.log.append("booking.reassigned")

    @precondition(lambda self: self.model.series)
    @rule(caller=caller, number=which)
    def cancel_series(self, caller: int, number: int) -> None:
        series_id, ids = pick(self.model.series, number)
        theirs = {i: self.model.bookings[i] for i in ids}
        answer = self.send(
            caller, "POST", f"/booking-series/{series_id}/cancel", json={"scope": "all"}
        )
        if caller not in {STAFF, theirs[ids[0]].owner}:
            assert self.said(answer) == "not_found"
            return
        off = {
            i
            for i, booking in theirs.items()
            if booking.start >= self.model.now
            and self.model.against(caller, "cancel", booking) is None
        }
        assert {b["id"] for b in ok(answer)["cancelled"]} == off
        for booking_id in off:
            self.model.act("cancel", theirs[booking_id])

    # --- Waiting -----------------------------------------------------------------------------
    @rule(caller=customer, slot=slots)
    def wait_in_line(self, caller: int, slot: int) -> None:
        start = FIRST + slot * HOUR
        window = {"start": start.isoformat(), "end": (start + HOUR).isoformat()}
        if self.model.now >= start + HOUR:
            return
        body = {"service_id": self.services[WAITED_FOR], "windows": [window]}
        entry = ok(self.send(caller, "POST", "/waitlist", json=body))
        self.model.line[entry["id"]] = Entry(slot, caller)

    @precondition(lambda self: self.model.line)
    @rule(caller=customer, number=which)
    def accept(self, caller: int, number: int) -> None:
        entry_id, entry = pick(self.model.line, number)
        expected = self.model.against_accepting(caller, entry)
        answer = self.send(caller, "POST", f"/waitlist/{entry_id}/accept")
        assert self.said(answer) == (expected or "ok"), (entry, answer.text)
        if expected is None and entry.offered is not None:
            claim, entry.offered, entry.status = entry.offered, None, "accepted"
            self._booked(
                answer.json(), Claim(claim.service, claim.slot, claim.providers, 1, caller)
            )

    @precondition(lambda self: self.model.has_work)
    @rule()
    def work(self) -> None:
        """Jobs run when they run: what has ended is noted, what is free is offered."""
        self.model.work()
        self.world.run(self._work())
        for entry_id, entry in self.model.line.items():
            shown = self._shown(entry_id)
            assert shown == entry.status.removesuffix("-offer"), entry

    async def _work(self) -> None:
        app = self.world.app
        await execute(app, "UPDATE pgqueuer SET execute_after = now()")
        await app.state.jobs._routines["waitlist.sweep"][1]()
        await app.state.jobs.run_due()

    def _shown(self, entry_id: str) -> str:
        status: str = self._asked_database(
            "SELECT status FROM waitlist_entries WHERE id = :id", id=uuid.UUID(entry_id)
        )
        return status

    # --- Time --------------------------------------------------------------------------------
    @rule(provider=customer, slot=slots)
    def take_time_off(self, provider: int, slot: int) -> None:
        start = FIRST + slot * HOUR
        body = {"start": start.isoformat(), "end": (start + HOUR).isoformat()}
        path = f"/providers/{self.providers[provider]}/time-off"
        created = ok(self.send(STAFF, "POST", path, json=body))
        self.model.away[created["id"]] = provider, slot

    @precondition(lambda self: self.model.away)
    @rule(number=which)
    def come_back(self, number: int) -> None:
        time_off_id, (provider, _) = pick(self.model.away, number)
        path = f"/providers/{self.providers[provider]}/time-off/{time_off_id}"
        assert self.send(STAFF, "DELETE", path).status_code == 204
        del self.model.away[time_off_id]

    @rule(minutes=st.sampled_from([3, 3, 6, 240, 420]))
    def wait(self, minutes: int) -> None:
        if self.model.now + timedelta(minutes=minutes) < NOW + timedelta(days=1):
            self.world.clock.advance(minutes=minutes)  # not past the tokens' day
            self.model.now = self.world.clock.now

    # --- What is always true -----------------------------------------------------------------
    @invariant()
    def lists_what_is_free(self) -> None:
        """Of one service after each command, in turn; of all of them in the end."""
        if not self.to_list:
            self.to_list = list(SERVICES)
        self._lists_what_is_free(self.to_list.pop())

    def _lists_what_is_free(self, service: str) -> None:
        day = FIRST.date().isoformat()
        params = {"service_id": self.services[service], "start": day, "end": day}
        answer = ok(self.send(0, "GET", "/availability", params=params | {"time_zone": "UTC"}))
        listed = [
            (FIRST.replace(hour=int(slot["start"][11:13])) - FIRST) // HOUR
            for slot in answer["days"][0]["slots"]
        ]
        expected = [slot for slot in range(SLOTS) if self.model.free(service, slot)[0]]
        assert [slot for slot in listed if slot < SLOTS] == expected, service

    @invariant()
    def nobody_has_what_somebody_has(self) -> None:
        assert self._asked_database(WRONG) == 0

    def teardown(self) -> None:
        for service in SERVICES:
            self._lists_what_is_free(service)
        for claims in (self.model.bookings, self.model.holds):
            for claim_id, claim in claims.items():
                logged = self._logged(claim_id)
                # That an account has it is noted by a job of its own, before others or after.
                assert logged.count("booking.claimed") == claim.has_joined
                assert [what for what in logged if what != "booking.claimed"] == claim.log
        # The next sequence begins at the same moment, with the same callers and another business.
        for table in ("holds", "waitlist_entries", "pgqueuer"):
            self.world.run(execute(self.world.app, f"DELETE FROM {table}"))

    def _logged(self, subject_id: str) -> list[str]:
        logged: list[str] = self._asked_database(LOGGED, id=uuid.UUID(subject_id))
        return logged

    def _asked_database(self, query: str, **values: object) -> Any:
        async def ask() -> Any:
            async with self.world.app.state.database.reading() as session:
                return (await session.execute(text(query), values)).scalar_one()

        return self.world.run(ask())


def test_whatever_is_done_in_whatever_order_the_model_says_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "PENDING_LIFETIME", REQUEST)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def begin() -> World:
            name = await stack.enter_async_context(cloned_database())
            changes = {"ACCESS_TOKEN_EXPIRE_MINUTES": 1440, "HOLDS_PER_CALLER": HOLDS_PER_CALLER}
            clock = Hands(NOW)
            configured = make_settings(POSTGRES_DB=name, SUPPRESS_SEND=True, **changes)
            app = create_app(configured, clock=clock)
            business = Business(await stack.enter_async_context(serving(app)))
            callers = [await business.customer() for _ in range(2)]
            await execute(app, "UPDATE users SET email_verified = true")
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
