"""What Postgres refuses by itself, whatever a bug in the application might ask of it."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.config import Settings
from tests.business import Business, ok

NINE = datetime(2026, 3, 3, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)

OWNS = "fk_bookings_provider_id_owned_allocation_id_allocations"
OVERLAP, CHECK, FOREIGN_KEY, NOT_NULL = "23P01", "23514", "23503", "23502"


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator["asyncpg.Connection[Any]"]:
    connection = await asyncpg.connect(
        host=settings.POSTGRES_SERVER,
        port=settings.POSTGRES_PORT,
        user=settings.POSTGRES_USER,
        password=settings.POSTGRES_PASSWORD.get_secret_value() or None,
        database=settings.POSTGRES_DB,
    )
    yield connection
    await connection.close()


async def allocate(
    database: "asyncpg.Connection[Any]", subject: uuid.UUID, during: Any, **columns: Any
) -> uuid.UUID:
    values = {"id": uuid.uuid4(), "subject_id": subject, "during": during, "kind": "booking"}
    values |= columns
    places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
    await database.execute(
        f"INSERT INTO allocations ({', '.join(values)}) VALUES ({places})", *values.values()
    )
    return values["id"]


async def refusal(work: Any) -> tuple[str, str | None]:
    """The error code and the constraint's name."""
    with pytest.raises(asyncpg.PostgresError) as refused:
        await work
    return refused.value.sqlstate, refused.value.constraint_name


async def test_what_overlaps_is_refused_and_what_touches_is_not(
    database: "asyncpg.Connection[Any]",
) -> None:
    subject, range_of = uuid.uuid4(), asyncpg.Range
    await allocate(database, subject, range_of(NINE, NINE + HOUR))
    instant = timedelta(microseconds=1)
    for during in (
        range_of(NINE, NINE + HOUR),
        range_of(NINE - HOUR, NINE + instant),
        range_of(NINE + HOUR - instant, NINE + 2 * HOUR),
        range_of(NINE - HOUR, NINE + 2 * HOUR),
        range_of(NINE + instant, NINE + 2 * instant),
    ):
        for kind in ("booking", "time_off", "external"):
            refused = await refusal(allocate(database, subject, during, kind=kind))
            assert refused == (OVERLAP, "ex_allocations_subject_id_during")
    await allocate(database, subject, range_of(NINE + HOUR, NINE + 2 * HOUR))
    await allocate(database, subject, range_of(NINE - HOUR, NINE))
    await allocate(database, uuid.uuid4(), range_of(NINE, NINE + HOUR))


async def test_a_move_onto_taken_time_is_refused_too(database: "asyncpg.Connection[Any]") -> None:
    subject = uuid.uuid4()
    await allocate(database, subject, asyncpg.Range(NINE, NINE + HOUR))
    later = await allocate(database, subject, asyncpg.Range(NINE + HOUR, NINE + 2 * HOUR))
    move = "UPDATE allocations SET during = $2 WHERE id = $1"
    code, _ = await refusal(
        database.execute(move, later, asyncpg.Range(NINE + HOUR / 2, NINE + 1.5 * HOUR))
    )
    assert code == OVERLAP


@pytest.mark.parametrize(
    "during",
    [
        asyncpg.Range(NINE, NINE),
        asyncpg.Range(empty=True),
        asyncpg.Range(None, NINE),
        asyncpg.Range(NINE, None),
        asyncpg.Range(None, None),
        asyncpg.Range(NINE, NINE + HOUR, upper_inc=True),
        asyncpg.Range(NINE, NINE + HOUR, lower_inc=False),
    ],
    ids=repr,
)
async def test_a_range_is_half_open_bounded_and_not_empty(
    database: "asyncpg.Connection[Any]", during: Any
) -> None:
    refused = await refusal(allocate(database, uuid.uuid4(), during))
    assert refused == (CHECK, "ck_allocations_during_bounded")


async def test_a_range_ends_at_a_real_moment(database: "asyncpg.Connection[Any]") -> None:
    """`infinity` is a bound like any other for `upper_inf`, yet it takes all of the future."""
    for bounds in ("[2026-03-03 09:00Z, infinity)", "[-infinity, 2026-03-03 09:00Z)"):
        statement = (
            "INSERT INTO allocations (id, subject_id, during, kind)"
            f" VALUES (gen_random_uuid(), gen_random_uuid(), '{bounds}', 'booking')"
        )
        assert await refusal(database.execute(statement)) == (
            CHECK,
            "ck_allocations_during_bounded",
        )


async def test_nobody_sits_where_there_is_no_seat(database: "asyncpg.Connection[Any]") -> None:
    subject, during = uuid.uuid4(), asyncpg.Range(NINE, NINE + HOUR)
    for seats in ({"seats_taken": 2}, {"capacity": 3, "seats_taken": 4}, {"seats_taken": -1}):
        refused = await refusal(allocate(database, subject, during, **seats))
        assert refused == (CHECK, "ck_allocations_seats_within_capacity")
    group = await allocate(database, subject, during, capacity=2, seats_taken=2)
    join = "UPDATE allocations SET seats_taken = seats_taken + 1 WHERE id = $1"
    assert (await refusal(database.execute(join, group)))[0] == CHECK


async def test_kinds_are_known_and_holds_and_requests_expire(
    database: "asyncpg.Connection[Any]",
) -> None:
    subject, during = uuid.uuid4(), asyncpg.Range(NINE, NINE + HOUR)
    for columns, name in (
        ({"kind": "whim"}, "ck_allocations_kind_known"),
        ({"kind": "hold"}, "ck_allocations_holds_expire"),
        ({"kind": "time_off", "expires_at": NINE}, "ck_allocations_time_off_stays"),
    ):
        assert await refusal(allocate(database, subject, during, **columns)) == (CHECK, name)
    await allocate(database, subject, during, kind="hold", expires_at=NINE)
    later = asyncpg.Range(NINE + HOUR, NINE + 2 * HOUR)
    await allocate(database, subject, later, kind="booking", expires_at=NINE)


# --- Bookings and their allocations ----------------------------------------------------------
@pytest.fixture
async def booking(business: Business) -> dict[str, Any]:
    service = await business.service(durations_minutes=[60])
    await business.provider(service, zone="UTC")
    customer = await business.customer()
    return ok(
        await customer.post("/bookings", {"service_id": service["id"], "start": NINE.isoformat()})
    )


@pytest.mark.parametrize("status", ["pending", "confirmed", "checked_in"])
async def test_a_booking_that_occupies_the_calendar_has_its_allocation(
    database: "asyncpg.Connection[Any]", booking: dict[str, Any], status: str
) -> None:
    without = "UPDATE bookings SET status = $1, allocation_id = NULL"
    assert await refusal(database.execute(without, status)) == (
        CHECK,
        "ck_bookings_occupying_owns_allocation",
    )
    await database.execute("UPDATE bookings SET status = $1", status)


@pytest.mark.parametrize("status", ["completed", "no_show", "declined", "expired", "cancelled"])
async def test_a_booking_that_is_over_has_none(
    database: "asyncpg.Connection[Any]", booking: dict[str, Any], status: str
) -> None:
    assert await refusal(database.execute("UPDATE bookings SET status = $1", status)) == (
        CHECK,
        "ck_bookings_occupying_owns_allocation",
    )
    await database.execute("UPDATE bookings SET status = $1, allocation_id = NULL", status)


async def test_the_allocation_of_a_booking_that_stands_cannot_vanish(
    database: "asyncpg.Connection[Any]", booking: dict[str, Any]
) -> None:
    refused = await refusal(database.execute("DELETE FROM allocations"))
    assert refused == (FOREIGN_KEY, OWNS)
    await database.execute("UPDATE bookings SET status = 'pending'")
    await database.execute("DELETE FROM allocations")
    # What a request has asked for may be gone; then nobody can agree to it.
    refused = await refusal(database.execute("UPDATE bookings SET status = 'confirmed'"))
    assert refused == (FOREIGN_KEY, OWNS)


async def test_a_booking_cannot_own_time_of_another_provider(
    database: "asyncpg.Connection[Any]", business: Business, booking: dict[str, Any]
) -> None:
    other = uuid.UUID((await business.provider())["id"])
    foreign = await allocate(database, other, asyncpg.Range(NINE, NINE + HOUR))
    constraint = (FOREIGN_KEY, OWNS)
    steal = database.execute("UPDATE bookings SET allocation_id = $1", foreign)
    assert await refusal(steal) == constraint
    move = database.execute("UPDATE bookings SET provider_id = $1", other)
    assert await refusal(move) == constraint
    await database.execute(
        "UPDATE bookings SET provider_id = $1, allocation_id = $2", other, foreign
    )


async def test_a_booking_agrees_with_itself(
    database: "asyncpg.Connection[Any]", booking: dict[str, Any]
) -> None:
    for change, name in (
        ("ends_at = ends_at + interval '1 minute'", "ck_bookings_ends_at_exact"),
        ("duration_minutes = 30", "ck_bookings_ends_at_exact"),
        ("duration_minutes = 0, ends_at = starts_at", "ck_bookings_not_empty"),
        ("seats = 0", "ck_bookings_not_empty"),
        ("price_amount = 1", "ck_bookings_price_complete"),
        ("status = 'lost', allocation_id = NULL", "ck_bookings_status_known"),
    ):
        work = database.execute(f"UPDATE bookings SET {change}")
        assert await refusal(work) == (CHECK, name)
