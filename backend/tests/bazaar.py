"""A business that uses everything at once: zones, holidays, buffers, seats, rooms, limits, teams.

It is drawn from a seed, so that a test that fails can be repeated.
"""

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import FastAPI

from tests.business import WEEKDAYS, Business, Caller, execute, ok

ZONES = ("Europe/Paris", "America/New_York", "Australia/Lord_Howe")
HOURS: tuple[list[tuple[str, str]], ...] = (
    [("09:00", "12:00"), ("13:00", "18:30")],
    [("08:10", "16:00")],
    [("00:00", "24:00")],
    [("00:00", "02:30"), ("07:00", "24:00")],
    [("00:00", "24:00")],
    [],
)
MINUTE = timedelta(minutes=1)
FIRST_DAY = date(2026, 3, 28)  # Paris changes its clocks on the next day, Lord Howe on 5 April
DAYS = 9  # with a public holiday


HOLD = (
    "INSERT INTO allocations (id, subject_id, during, kind, expires_at, service_id, starts_at,"
    " ends_at) SELECT :id, subject, tstzrange(:begin, :until), 'hold', :expires, :service,"
    " :begin, :until FROM unnest(CAST(:subjects AS uuid[])) AS subject ON CONFLICT DO NOTHING"
)
SEATS_HELD = (
    "WITH session AS (UPDATE allocations SET seats_taken = seats_taken + 1"
    " WHERE id = (SELECT id FROM allocations WHERE capacity > seats_taken AND capacity > 1"
    " ORDER BY id OFFSET :skip LIMIT 1) RETURNING id, subject_id)"
    " INSERT INTO session_seats (id, subject_id, allocation_id, seats, expires_at)"
    " SELECT :id, min(subject_id::text)::uuid, id, 1, :expires FROM session GROUP BY id"
)
SESSION_HELD = (
    "WITH session AS (INSERT INTO allocations (id, subject_id, during, kind, capacity,"
    " seats_taken, service_id, starts_at, ends_at) VALUES (:id, :provider,"
    " tstzrange(:begin, :until), 'booking', 3, 2, :service, :begin, :until)"
    " ON CONFLICT DO NOTHING RETURNING id, subject_id)"
    " INSERT INTO session_seats (id, subject_id, allocation_id, seats, expires_at)"
    " SELECT gen_random_uuid(), subject_id, id, 2, :expires FROM session"
)
TOUCH = (
    "INSERT INTO calendars (subject_id) SELECT DISTINCT subject_id FROM allocations"
    " ON CONFLICT (subject_id) DO UPDATE SET version = calendars.version + 1"
)


def services(places: list[str]) -> list[dict[str, Any]]:
    """One of each kind, and some of several kinds."""
    room = [{"resource_kind": "room", "quantity": 1}]
    return [
        {
            "durations_minutes": [30, 45],
            "slot_interval_minutes": 15,
            "buffer_before_minutes": 10,
            "buffer_after_minutes": 5,
        },
        {"durations_minutes": [60], "min_notice_minutes": 600, "booking_window_days": 7},
        {"durations_minutes": [60, 90], "capacity": 3, "buffer_after_minutes": 15},
        {"durations_minutes": [45], "assignment": "collective", "slot_interval_minutes": 15},
        {"durations_minutes": [30], "limits": {"per_day": 2, "per_week": 5}},
        {
            "durations_minutes": [40],
            "resource_requirements": [*room, {"resource_kind": "laser", "quantity": 1}],
            "location_ids": places[:1],
            "buffer_after_minutes": 10,
        },
        {
            "durations_minutes": [60],
            "capacity": 2,
            "limits": {"per_day": 1},
            "resource_requirements": room,
            "slot_interval_minutes": 20,
        },
        {
            "durations_minutes": [30, 60],
            "assignment": "collective",
            "capacity": 2,
            "resource_requirements": [{"resource_kind": "room", "quantity": 2}],
        },
        {"durations_minutes": [1500], "approval": "required", "slot_interval_minutes": 60},
    ]


@dataclass
class Bazaar:
    """The business, and the dice."""

    app: FastAPI
    business: Business
    dice: random.Random
    admin: Caller
    customers: list[Caller]
    places: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    services: list[dict[str, Any]] = field(default_factory=list)
    providers: list[dict[str, Any]] = field(default_factory=list)
    booked: list[dict[str, Any]] = field(default_factory=list)

    @property
    def now(self) -> datetime:
        moment: datetime = self.app.state.clock()
        return moment

    def start(self) -> datetime:
        """A time of these days that is often, and not always, one at which slots begin."""
        dice, zone = self.dice, ZoneInfo(self.dice.choice(ZONES))
        day = datetime.combine(FIRST_DAY + timedelta(days=dice.randrange(DAYS)), time(), zone)
        minutes = dice.choice(
            [dice.randrange(96) * 15, dice.randrange(96) * 15, dice.randrange(1440)]
        )
        return day.replace(hour=minutes // 60, minute=minutes % 60).astimezone(UTC)

    async def hold(self, *, seats: bool) -> None:
        """Let somebody hold something, behind the application's back; it may have ended before."""
        dice = self.dice
        expires = self.now + dice.choice([-5, -5, 20, 60]) * MINUTE
        begin, service = self.start(), dice.choice(self.services)
        if self.booked and dice.random() < 0.7:
            near = dice.choice(self.booked)
            begin = datetime.fromisoformat(near["start"])
            begin += dice.choice([-60, 0, 30, 1440]) * MINUTE
        provider = dice.choice(self.providers)
        values: dict[str, Any] = {
            "begin": begin,
            "until": begin + dice.choice([30, 60, 90]) * MINUTE,
            "service": UUID(service["id"]),
            "id": UUID(int=dice.getrandbits(128)),
            "expires": expires,
        }
        if not seats:
            subjects = [UUID(provider["id"]), UUID(dice.choice(self.resources))]
            await execute(self.app, HOLD, subjects=subjects[: dice.choice([1, 2])], **values)
        elif dice.random() < 0.5:
            values |= {"provider": UUID(provider["id"])}
            await execute(self.app, SESSION_HELD, **values)
        else:
            held = {"id": values["id"], "expires": expires, "skip": dice.randrange(3)}
            await execute(self.app, SEATS_HELD, **held)
        await execute(self.app, TOUCH)
        # Somebody will want what is held.
        self.booked.append({"service_id": service["id"], "start": begin.isoformat()})

    async def change_calendar(self) -> None:
        """Give somebody another day, or time off."""
        dice, provider = self.dice, self.dice.choice(self.providers)
        if dice.random() < 0.5:
            day = FIRST_DAY + timedelta(days=dice.randrange(DAYS))
            hours = [{"start": start, "end": end} for start, end in dice.choice(HOURS)]
            path = f"/providers/{provider['id']}/overrides/{day}"
            ok(await self.admin.put(path, {"intervals": hours}))
        else:
            start = self.start()
            until = start + timedelta(minutes=dice.choice([25, 200, 1500]))
            body = {"start": start.isoformat(), "end": until.isoformat()}
            ok(await self.admin.post(f"/providers/{provider['id']}/time-off", body))


async def open_bazaar(app: FastAPI, business: Business, seed: int) -> Bazaar:
    dice, admin = random.Random(seed), await business.admin()
    bazaar = Bazaar(
        app, business, dice, admin, [await business.customer(name) for name in ("Ada", "Bob")]
    )
    for zone in ZONES[:2]:
        place = ok(await admin.post("/locations", {"name": zone, "time_zone": zone}))
        bazaar.places.append(place["id"])
    rooms = [("room", bazaar.places[0]), ("room", bazaar.places[1]), ("room", None)]
    for kind, place in [*rooms, ("laser", None)]:
        body = {"name": "Any", "kind": kind, "location_id": place}
        bazaar.resources.append(ok(await admin.post("/resources", body))["id"])
    for fields in services(bazaar.places):
        bazaar.services.append(await business.service(**fields))
    for number, zone in enumerate(ZONES):
        given = [s for s in bazaar.services if number == 0 or dice.random() < 0.6]
        provider = await business.provider(
            *given,
            zone=zone,
            location_ids=[bazaar.places[:1], bazaar.places, []][number],
        )
        bazaar.providers.append(provider)
        weekly = [
            {
                "weekday": day,
                "intervals": [{"start": s, "end": e} for s, e in dice.choice(HOURS)],
            }
            for day in WEEKDAYS
        ]
        body = {
            "time_zone": zone,
            "weekly": weekly,
            "holiday_calendar": "FR" if not number else None,
        }
        ok(await admin.put(f"/providers/{provider['id']}/schedule", body))
    for _ in range(6):
        await bazaar.change_calendar()
    return bazaar
