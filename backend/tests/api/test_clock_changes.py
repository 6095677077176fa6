"""After an update of the time-zone database, bookings ahead keep their wall time.

A test cannot change the zones' rules, so it changes what was agreed, behind the application's
back: seen from the booking, that is the same. The command looks at the real clock, hence 2150.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import Result
from fastapi import FastAPI
from sqlalchemy import text
from typer.testing import CliRunner

from app.bookings.clock_changes import Taken, agreed_start, in_the_way
from app.cli import cli
from app.config import Settings
from tests.business import WEEKDAYS, Business, Caller, calendar_version, execute, ok

DAY = "2150-03-03"
HOUR = timedelta(hours=1)

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(settings: Settings) -> Run:
    """`python -m app.cli clock-changes` on this test's database, in a thread with its own loop."""
    environment = {
        "POSTGRES_DB": settings.POSTGRES_DB,
        "SECRET_KEY": settings.SECRET_KEY.get_secret_value(),
    }

    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(
            CliRunner().invoke, cli, ("clock-changes", *arguments), env=environment
        )

    return run


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    return await business.service(
        durations_minutes=[60], buffer_after_minutes=15, slot_interval_minutes=15
    )


@pytest.fixture(autouse=True)
async def provider(business: Business, service: dict[str, Any]) -> dict[str, Any]:
    """From 06:00 to 22:00 every day, in Paris."""
    hours = {day: [("06:00", "22:00")] for day in WEEKDAYS}
    return await business.provider(service, hours=hours)


def at(hour: int, minute: int = 0) -> str:
    """An instant on that day, in Paris."""
    return f"{DAY}T{hour:02}:{minute:02}:00+01:00"


async def agree_otherwise(app: FastAPI, by: str = "1 hour", *bookings: dict[str, Any]) -> None:
    """The zone's rules change: these bookings (all, by default) are off by so much."""
    for booking_id in [booking["id"] for booking in bookings] or [None]:
        await execute(
            app,
            f"UPDATE bookings SET wall_start = wall_start + interval '{by}'"
            " WHERE CAST(:id AS uuid) IS NULL OR id = :id",
            id=UUID(booking_id) if booking_id else None,
        )


async def starts(admin: Caller) -> list[str]:
    items = ok(await admin.get("/bookings", params={"sort": "start"}))["items"]
    return [item["start"][11:16] for item in items]


def lines(result: Result) -> list[list[str]]:
    return [line.split("\t") for line in result.stdout.splitlines()]


def line(booking: dict[str, Any], new: str, outcome: str) -> list[str]:
    return [booking["reference"], booking["start"], new, outcome]


# --- The command ------------------------------------------------------------------------------
async def test_where_clocks_are_as_they_were_nothing_happens(
    business: Business, service: dict[str, Any], run: Run
) -> None:
    await business.booking(service, at(10))
    for arguments in ((), ("--apply",)):
        result = await run(*arguments)
        assert (result.exit_code, result.output) == (0, "")


async def test_without_being_told_to_it_changes_nothing(
    app: FastAPI,
    business: Business,
    admin: Caller,
    service: dict[str, Any],
    provider: dict[str, Any],
    run: Run,
) -> None:
    booking = await business.booking(service, at(10))
    await agree_otherwise(app)
    before, version = await starts(admin), await calendar_version(app, provider)
    for _ in range(2):
        result = await run()
        assert result.exit_code == 0, result.output
        assert lines(result) == [line(booking, at(11), "would move")]
    assert await starts(admin) == before
    assert await calendar_version(app, provider) == version


@pytest.mark.parametrize(("by", "hour"), [("1 hour", 11), ("-1 hour", 9), ("5 hours", 15)])
async def test_a_booking_moves_with_all_that_belongs_to_it(
    app: FastAPI,
    business: Business,
    admin: Caller,
    service: dict[str, Any],
    provider: dict[str, Any],
    run: Run,
    by: str,
    hour: int,
) -> None:
    booking = await business.booking(service, at(10))
    await agree_otherwise(app, by)
    version = await calendar_version(app, provider)
    result = await run("--apply")
    assert result.exit_code == 0, result.output
    assert lines(result) == [line(booking, at(hour), "moved")]
    moved = ok(await admin.get(f"/bookings/{booking['id']}"))
    assert (moved["start"], moved["end"]) == (at(hour), at(hour + 1))
    assert (moved["sequence"], moved["version"]) == (1, 2)
    assert moved["reference"] == booking["reference"]
    free = await business.free_times(service, DAY, DAY, time_zone="Europe/Paris")
    assert at(hour) not in free
    assert (at(10) in free) == (hour == 15)  # the others still touch it
    assert (at(8, 30) in free) == (hour != 9)
    assert await calendar_version(app, provider) > version
    params = {"subject_id": booking["id"], "type": "booking.clock_changed"}
    (event,) = ok(await admin.get("/admin/audit-log", params=params))["items"]
    assert (event["actor_type"], event["after"]["sequence"]) == ("system", 1)
    assert datetime.fromisoformat(event["before"]["start"]) == datetime.fromisoformat(at(10))
    assert datetime.fromisoformat(event["after"]["start"]) == datetime.fromisoformat(at(hour))
    again = await run("--apply")
    assert (again.exit_code, again.output) == (0, "")


@pytest.mark.parametrize("by", ["75 minutes", "-75 minutes"])
async def test_neighbours_who_move_alike_are_not_in_each_others_way(
    app: FastAPI,
    business: Business,
    admin: Caller,
    service: dict[str, Any],
    run: Run,
    by: str,
) -> None:
    """Each moves exactly to where the next one was, buffers included."""
    for start in (at(10), at(11, 15), at(12, 30)):
        await business.booking(service, start)
    await agree_otherwise(app, by)
    result = await run("--apply")
    assert result.exit_code == 0, result.output
    assert [told[3] for told in lines(result)] == ["moved"] * 3
    shifted = ["11:15", "12:30", "13:45"] if by == "75 minutes" else ["08:45", "10:00", "11:15"]
    assert await starts(admin) == shifted


async def test_two_who_swap_can(
    app: FastAPI,
    business: Business,
    admin: Caller,
    service: dict[str, Any],
    provider: Any,
    run: Run,
) -> None:
    early = await business.booking(service, at(10))
    late = await business.booking(service, at(13))
    await agree_otherwise(app, "3 hours", early)
    await agree_otherwise(app, "-3 hours", late)
    result = await run("--apply")
    assert result.exit_code == 0, result.output
    assert ok(await admin.get(f"/bookings/{early['id']}"))["start"] == at(13)
    assert ok(await admin.get(f"/bookings/{late['id']}"))["start"] == at(10)


async def test_what_is_in_the_way_stays_and_so_does_who_is_behind(
    app: FastAPI,
    business: Business,
    admin: Caller,
    service: dict[str, Any],
    provider: Any,
    run: Run,
) -> None:
    free, second, first, wall = [
        await business.booking(service, start) for start in (at(7), at(10), at(11, 15), at(12, 30))
    ]
    await agree_otherwise(app, "75 minutes", free, second, first)
    expected = [
        line(free, at(8, 15), "would move"),
        line(second, at(11, 15), "conflict"),
        line(first, at(12, 30), "conflict"),
    ]
    result = await run()
    assert (result.exit_code, lines(result)) == (1, expected)
    applied = await run("--apply")
    assert applied.exit_code == 1
    assert [told[3] for told in lines(applied)] == ["moved", "conflict", "conflict"]
    assert await starts(admin) == ["08:15", "10:00", "11:15", "12:30"]
    for booking in (second, first, wall):
        assert ok(await admin.get(f"/bookings/{booking['id']}"))["version"] == 1
    # Once the way is free, they follow.
    ok(await admin.post(f"/bookings/{wall['id']}/cancel", {}))
    assert (await run("--apply")).exit_code == 0
    assert await starts(admin) == ["08:15", "11:15", "12:30", "12:30"]


async def test_time_off_is_in_the_way(
    app: FastAPI,
    business: Business,
    admin: Caller,
    service: dict[str, Any],
    provider: Any,
    run: Run,
) -> None:
    await business.booking(service, at(10))
    off = {"start": at(11, 30), "end": at(13)}
    ok(await admin.post(f"/providers/{provider['id']}/time-off", off))
    await agree_otherwise(app)
    result = await run("--apply")
    assert (result.exit_code, lines(result)[0][3]) == (1, "conflict")
    assert await starts(admin) == ["10:00"]


async def test_what_is_left_during_time_off_becomes_time_off(
    app: FastAPI,
    business: Business,
    admin: Caller,
    service: dict[str, Any],
    provider: Any,
    run: Run,
) -> None:
    await business.booking(service, at(9))
    off = {"start": at(8), "end": at(9, 30)}
    ok(await admin.post(f"/providers/{provider['id']}/time-off", off))
    await agree_otherwise(app, "2 hours")
    assert (await run("--apply")).exit_code == 0
    free = await business.free_times(service, DAY, DAY, time_zone="Europe/Paris")
    assert [start for start in free if at(7) <= start < at(11)] == [at(9, 30), at(9, 45)]


async def test_a_room_moves_with_its_booking_and_can_be_in_the_way(
    app: FastAPI,
    business: Business,
    admin: Caller,
    service: dict[str, Any],
    provider: Any,
    run: Run,
) -> None:
    room = ok(await admin.post("/resources", {"name": "Room 1", "kind": "room"}))
    booking = await business.booking(service, at(10))
    ids = {"room": UUID(room["id"]), "booking": UUID(booking["id"])}
    await execute(
        app,
        "UPDATE bookings SET resource_ids = ARRAY[CAST(:room AS uuid)] WHERE id = :booking",
        **ids,
    )
    await execute(
        app,
        "INSERT INTO allocations (id, subject_id, during, kind)"
        " SELECT allocations.id, :room, during, 'booking' FROM allocations JOIN bookings"
        " ON allocations.id = allocation_id WHERE bookings.id = :booking",
        **ids,
    )
    await execute(
        app,
        "INSERT INTO allocations (id, subject_id, during, kind) VALUES (gen_random_uuid(),"
        f" :room, tstzrange('{at(12)}', '{at(13)}'), 'external')",
        room=ids["room"],
    )
    await agree_otherwise(app)
    assert lines(await run())[0][3] == "conflict"
    await execute(app, "DELETE FROM allocations WHERE kind = 'external'")
    version = await calendar_version(app, room)
    assert lines(await run("--apply"))[0][3] == "moved"
    assert await calendar_version(app, room) > version
    async with app.state.database.reading() as session:
        ranges = await session.scalars(text("SELECT DISTINCT during::text FROM allocations"))
        assert len(ranges.all()) == 1


async def test_what_is_over_or_cancelled_is_left_alone(
    app: FastAPI,
    business: Business,
    admin: Caller,
    service: dict[str, Any],
    provider: Any,
    run: Run,
) -> None:
    booking = await business.booking(service, at(10))
    ok(await admin.post(f"/bookings/{booking['id']}/cancel", {}))
    await business.booking(service, "2026-03-03T10:00:00+01:00")  # long ago, by the real clock
    await agree_otherwise(app)
    result = await run("--apply")
    assert (result.exit_code, result.output) == (0, "")


# --- Group sessions ---------------------------------------------------------------------------
@pytest.mark.parametrize("all_agree", [True, False])
async def test_a_group_moves_together_or_not_at_all(
    app: FastAPI,
    business: Business,
    admin: Caller,
    service: dict[str, Any],
    provider: dict[str, Any],
    run: Run,
    *,
    all_agree: bool,
) -> None:
    group = await business.service(durations_minutes=[60], capacity=4)
    path = f"/services/{group['id']}/providers"
    ok(await admin.put(path, {"providers": [{"provider_id": provider["id"]}]}))
    bookings = [await business.booking(group, at(10)) for _ in range(2)]
    await agree_otherwise(app, "1 hour", *(bookings if all_agree else bookings[:1]))
    result = await run("--apply")
    outcomes = [told[3] for told in lines(result)]
    if all_agree:
        assert (result.exit_code, outcomes) == (0, ["moved"] * 2)
        assert await starts(admin) == ["11:00"] * 2
    else:
        assert (result.exit_code, outcomes) == (1, ["conflict"])
        assert await starts(admin) == ["10:00"] * 2


# --- The rules --------------------------------------------------------------------------------
def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("wall", "starts_at", "expected"),
    [
        # What shows the agreed time stays, whichever of the two it is in an hour that comes twice.
        ("2026-07-01T10:00", "2026-07-01T08:00Z", "2026-07-01T08:00Z"),
        ("2026-10-25T02:30", "2026-10-25T00:30Z", "2026-10-25T00:30Z"),
        ("2026-10-25T02:30", "2026-10-25T01:30Z", "2026-10-25T01:30Z"),
        # What does not, moves to the instant that does: the first, if there are two.
        ("2026-07-01T10:00", "2026-07-01T09:00Z", "2026-07-01T08:00Z"),
        ("2026-10-25T02:30", "2026-10-25T02:30Z", "2026-10-25T00:30Z"),
        # A time that is skipped now is the moment at which clocks change.
        ("2026-03-29T02:30", "2026-03-29T01:30Z", "2026-03-29T01:00Z"),
        ("2026-03-29T02:30", "2026-03-29T01:00Z", "2026-03-29T01:00Z"),
    ],
)
def test_the_agreed_time_names_an_instant(wall: str, starts_at: str, expected: str) -> None:
    found = agreed_start(datetime.fromisoformat(wall), "Europe/Paris", instant(starts_at))
    assert found == instant(expected)


def test_who_stays_is_in_the_way_of_the_next_however_many_there_are() -> None:
    subject, start = uuid4(), datetime(2026, 3, 3, 9, tzinfo=UTC)
    chain = [Taken(subject, uuid4(), start + n * HOUR, start + (n + 1) * HOUR) for n in range(50)]
    shifts = {taken.taking_id: HOUR for taken in chain}
    assert in_the_way(chain, shifts) == set()
    assert in_the_way(chain[::-1], shifts) == set()
    wall = Taken(subject, uuid4(), start + 50 * HOUR, start + 51 * HOUR)
    assert in_the_way([*chain, wall], shifts) == set(shifts)
    elsewhere = Taken(uuid4(), uuid4(), wall.start, wall.end)
    assert in_the_way([*chain, elsewhere], shifts) == set()


def test_one_subject_in_conflict_keeps_all_of_a_taking() -> None:
    start, taking = datetime(2026, 3, 3, 9, tzinfo=UTC), uuid4()
    provider, room = uuid4(), uuid4()
    both = [Taken(subject, taking, start, start + HOUR) for subject in (provider, room)]
    other = Taken(room, uuid4(), start + HOUR, start + 2 * HOUR)
    assert in_the_way([*both, other], {taking: HOUR}) == {taking}
    assert in_the_way([*both, other], {taking: HOUR, other.taking_id: HOUR}) == set()
