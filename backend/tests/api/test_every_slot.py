"""Thirty days around a change of clocks: all that is offered can be booked, all that is free is
offered, and whoever is refused is told the truth.

What is true is found here a second time, minute by minute on the wall clock, from nothing but the
standard library.
"""

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import holidays
import pytest

from tests.business import WEEKDAYS, Business, Caller, Hands, ok

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
DURATION, INTERVAL, BEFORE, AFTER = 180, 90, 20, 15
NOTICE, WINDOW = 20 * 60, 24
HOURS: dict[str, list[tuple[int, int]]] = {
    "monday": [(8 * 60, 12 * 60), (12 * 60, 19 * 60)],
    "tuesday": [(9 * 60 + 10, 13 * 60)],
    "wednesday": [],
    "thursday": [(7 * 60, 11 * 60), (14 * 60, 22 * 60)],
    "friday": [(9 * 60, 17 * 60)],
    # A night that is worked through, over the hour at which clocks change.
    "saturday": [(19 * 60, 24 * 60)],
    "sunday": [(0, 2 * 60 + 30), (2 * 60 + 30, 9 * 60 + 20)],
}
# Zone, country, and the day on which its clocks change (Casablanca's, at the end of Ramadan).
CASES = [
    ("Europe/Paris", "FR", date(2026, 10, 25)),
    ("America/New_York", "US", date(2026, 3, 8)),
    ("Australia/Lord_Howe", "AU", date(2026, 4, 5)),
    ("Africa/Casablanca", "MA", date(2026, 3, 22)),
    ("America/St_Johns", "CA", date(2026, 3, 8)),
    ("Pacific/Chatham", "NZ", date(2026, 4, 5)),
]


@dataclass
class Wall:
    """What the clock on the wall shows, minute by minute, and when it is worked."""

    zone: ZoneInfo
    first: datetime
    days: int
    hours: dict[date, list[tuple[int, int]]]
    now: datetime
    closed: set[date]
    away: tuple[datetime, datetime]
    taken: list[tuple[datetime, datetime]] = field(default_factory=list)
    working: set[datetime] = field(default_factory=set)
    grid: set[datetime] = field(default_factory=set)

    def __post_init__(self) -> None:
        minutes = [self.first + n * MINUTE for n in range(self.days * 1440)]
        shown = [minute.astimezone(self.zone).replace(tzinfo=None) for minute in minutes]
        begun: dict[date, list[tuple[datetime, datetime]]] = {}
        for minute, wall in zip(minutes, shown, strict=True):
            begun.setdefault(wall.date(), []).append((minute, wall))
        for day, intervals in self.hours.items():
            for opens, closes in _merged(intervals):
                both = [self._first_shown(begun, day, edge) for edge in (opens, closes)]
                length = (both[1] - both[0]) // MINUTE
                self.working |= {both[0] + n * MINUTE for n in range(length)}
                self.grid |= {both[0] + n * MINUTE for n in range(0, length, INTERVAL)}

    @staticmethod
    def _first_shown(
        begun: dict[date, list[tuple[datetime, datetime]]], day: date, minute_of_day: int
    ) -> datetime:
        """The first minute at which the clock shows this, or more."""
        wanted = datetime.combine(day, time()) + minute_of_day * MINUTE
        shown = [*begun[day], *begun[day + DAY]]
        return next(minute for minute, wall in shown if wall >= wanted)

    def against(self, start: datetime) -> set[str]:
        """All that is to be said against a start."""
        end = start + DURATION * MINUTE
        begin, until = start - BEFORE * MINUTE, end + AFTER * MINUTE
        today, day = (moment.astimezone(self.zone).date() for moment in (self.now, start))
        is_open = all(start + n * MINUTE in self.working for n in range(DURATION))
        busy = [(b, e) for b, e in self.taken if b < until and begin < e]
        said = {
            "past": start < self.now,
            "beyond_window": day > today + WINDOW * DAY,
            "min_notice": start < self.now + NOTICE * MINUTE,
            "holiday": not is_open and day in self.closed,
            "outside_working_hours": not is_open,
            "not_aligned": start not in self.grid,
            "time_off": self.away[0] < until and begin < self.away[1],
            "busy": any(b < end and start < e for b, e in busy),
            "buffer": bool(busy),
        }
        return {reason for reason, holds in said.items() if holds}


@pytest.mark.parametrize(("zone", "country", "change"), CASES, ids=[case[0] for case in CASES])
async def test_every_slot_of_30_days_can_be_booked_and_every_refusal_is_true(
    business: Business, clock: Hands, zone: str, country: str, change: date
) -> None:
    dice = random.Random(zone)
    clock.now = datetime.combine(change - 9 * DAY, time(10, 7, 20), ZoneInfo(zone)).astimezone(UTC)
    admin, ada = await business.admin(), await business.customer()
    service = await business.service(
        durations_minutes=[DURATION],
        slot_interval_minutes=INTERVAL,
        buffer_before_minutes=BEFORE,
        buffer_after_minutes=AFTER,
        min_notice_minutes=NOTICE,
        booking_window_days=WINDOW,
    )
    provider = await business.provider(service, zone=zone)
    wall = await _keep_hours(admin, provider, ZoneInfo(zone), country, change, clock.now)
    days = [change + n * DAY for n in range(-9, 21)]

    async def offered() -> list[datetime]:
        listed = await business.free_times(
            service, days[0].isoformat(), days[-1].isoformat(), time_zone=zone
        )
        return [datetime.fromisoformat(start).astimezone(UTC) for start in listed]

    async def book(start: datetime) -> dict[str, Any]:
        body = {"service_id": service["id"], "start": start.isoformat()}
        return ok(await ada.post("/bookings", body))

    for start in dice.sample(await offered(), 4):
        if not wall.against(start):
            booked = await book(start)
            wall.taken.append((start - BEFORE * MINUTE, start + (DURATION + AFTER) * MINUTE))
            assert booked["provider"]["id"] == provider["id"]

    free = await offered()
    shown = [start for start in wall.grid if start.astimezone(wall.zone).date() in set(days)]
    assert free == sorted(start for start in shown if not wall.against(start))
    assert len(free) > 25
    for start in free:
        booking = await book(start)
        assert datetime.fromisoformat(booking["end"]) == start + DURATION * MINUTE
        ok(await ada.post(f"/bookings/{booking['id']}/cancel"))
    assert await offered() == free

    midnight = datetime.combine(days[0], time(), wall.zone).astimezone(UTC)
    wishes = [midnight + n * MINUTE for n in range(0, 30 * 1440, 313)]
    change_begins = datetime.combine(change - DAY, time(20), wall.zone).astimezone(UTC)
    wishes += [change_begins + n * MINUTE for n in range(0, 17 * 60, 30)]
    wishes += [start + n * MINUTE for start in dice.sample(sorted(shown), 40) for n in (0, 1)]
    reasons = set()
    for start in wishes:
        params = {"service_id": service["id"], "start": start.isoformat()}
        said = ok(await business.client.get("/api/v1/availability/explain", params=params))
        against = wall.against(start)
        assert said["available"] == (not against), (start, said, against)
        assert {each["reason"] for each in said["reasons"]} <= against, (start, said, against)
        assert said["available"] == (start in free)
        reasons |= {each["reason"] for each in said["reasons"]}
    assert {"past", "beyond_window", "outside_working_hours", "not_aligned"} <= reasons


async def _keep_hours(
    admin: Caller,
    provider: dict[str, Any],
    zone: ZoneInfo,
    country: str,
    change: date,
    now: datetime,
) -> Wall:
    """Weekly hours with public holidays, one day with hours of its own, and some time off."""
    path = f"/providers/{provider['id']}"
    weekly = [{"weekday": day, "intervals": _words(hours)} for day, hours in HOURS.items()]
    schedule = {"time_zone": zone.key, "weekly": weekly, "holiday_calendar": country}
    ok(await admin.put(f"{path}/schedule", schedule))
    special = (change + 4 * DAY, [(6 * 60 + 45, 13 * 60)])
    override = {"intervals": _words(special[1])}
    ok(await admin.put(f"{path}/overrides/{special[0]}", override))
    away = datetime.combine(change + DAY, time(11, 25), zone).astimezone(UTC)
    until = away + timedelta(hours=31)
    body = {"start": away.isoformat(), "end": until.isoformat()}
    ok(await admin.post(f"{path}/time-off", body))

    free_days = set(holidays.country_holidays(country, years=[2026]))
    days = [change + n * DAY for n in range(-12, 24)]
    hours = {day: [] if day in free_days else HOURS[WEEKDAYS[day.weekday()]] for day in days}
    hours |= {special[0]: special[1]}
    return Wall(
        zone=zone,
        first=datetime.combine(days[0], time(), zone).astimezone(UTC),
        days=len(days) + 2,
        hours=hours,
        now=now,
        closed=free_days - {special[0]},
        away=(away, until),
    )


def _merged(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Intervals of a day that touch are one: slots are counted from where it begins."""
    edges = [edge for interval in intervals for edge in interval]
    kept = sorted(edge for edge in edges if edges.count(edge) == 1)
    return list(zip(kept[::2], kept[1::2], strict=True))


def _words(hours: list[tuple[int, int]]) -> list[dict[str, str]]:
    def clock(minute: int) -> str:
        return f"{minute // 60:02}:{minute % 60:02}"

    return [{"start": clock(start), "end": clock(end)} for start, end in hours]
