"""The clinic that an empty database is filled with."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from sqlalchemy import func, select

from app.auth.models import User
from app.bookings.models import Booking
from app.catalog.models import Location, Service
from app.config import Settings
from app.core.events import Event
from app.core.security import PasswordHasher
from app.database import Database
from app.providers.models import Provider
from devserver.demo_business import CUSTOMERS, open_business
from tests.business import Business, Hands, ok

TABLES = (Location, Provider, Service, Booking, User, Event)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = Database.from_settings(settings)
    yield database
    await database.dispose()


async def counts(database: Database) -> dict[str, int]:
    async with database.reading() as session:
        return {
            table.__tablename__: await session.scalar(select(func.count()).select_from(table)) or 0
            for table in TABLES
        }


async def test_it_opens_a_clinic_in_two_cities(
    database: Database, settings: Settings, clock: Hands, client: httpx.AsyncClient
) -> None:
    assert await open_business(database, settings, clock)

    locations = ok(await client.get("/api/v1/locations"))["items"]
    assert {place["time_zone"] for place in locations} == {"Europe/Paris", "America/New_York"}
    providers = ok(await client.get("/api/v1/providers"))["items"]
    zones = Counter(provider["time_zone"] for provider in providers)
    assert zones == {"Europe/Paris": 2, "America/New_York": 2}
    services = ok(await client.get("/api/v1/services"))["items"]
    assert len(services) == 5

    business = Business(client)
    for service in services:
        free = await business.free_times(service, "2026-03-03", "2026-03-16")
        assert len({start[:10] for start in free}) >= 4, service["name"]
    (video,) = [service for service in services if service["name"] == "Video consultation"]
    given = ok(await client.get(f"/api/v1/services/{video['id']}/providers"))["providers"]
    assert len(given) == 4


async def test_its_bookings_are_spread_over_the_next_days(
    database: Database, settings: Settings, clock: Hands
) -> None:
    await open_business(database, settings, clock)
    async with database.reading() as session:
        bookings = (await session.scalars(select(Booking))).all()
    assert len(bookings) >= 20
    assert len({booking.starts_at.date() for booking in bookings}) >= 6
    assert len({booking.provider_id for booking in bookings}) == 4
    assert len({booking.customer_id for booking in bookings}) == len(CUSTOMERS)
    assert all(booking.starts_at > clock.now for booking in bookings)


@pytest.mark.parametrize(
    "now",
    [
        datetime(2026, 3, 28, 23, 30, tzinfo=UTC),  # the night in which Paris changes its clocks
        datetime(2026, 12, 24, 17, 0, tzinfo=UTC),
        datetime(2028, 2, 28, 0, 0, tzinfo=UTC),
    ],
)
async def test_it_opens_on_any_day(database: Database, settings: Settings, now: datetime) -> None:
    assert await open_business(database, settings, Hands(now))
    assert (await counts(database))["bookings"] >= 20


async def test_nobody_can_log_in_as_one_of_its_customers(
    database: Database, settings: Settings, clock: Hands
) -> None:
    """Each password is random; what is kept is not the hash of something guessable."""
    await open_business(database, settings, clock)
    async with database.reading() as session:
        users = select(User.email, User.hashed_password).where(~User.is_superuser)
        kept = (await session.execute(users)).all()
    assert len({hashed for _, hashed in kept}) == len(CUSTOMERS)
    passwords = PasswordHasher(rounds=4)
    for email, hashed in kept:
        for guess in ("", email, "password", "changethis", "correct horse battery"):
            assert not await passwords.verify(guess, hashed)
    passwords.close()


async def test_a_second_call_changes_nothing(
    database: Database, settings: Settings, clock: Hands
) -> None:
    await open_business(database, settings, clock)
    before = await counts(database)
    assert not await open_business(database, settings, clock)
    assert await counts(database) == before


async def test_of_two_calls_at_once_one_fills_it(
    database: Database, settings: Settings, clock: Hands
) -> None:
    opened = await asyncio.gather(*(open_business(database, settings, clock) for _ in range(2)))
    assert sorted(opened) == [False, True]
    assert (await counts(database))["services"] == 5


async def test_a_business_that_offers_something_is_left_alone(
    database: Database, settings: Settings, clock: Hands, business: Business
) -> None:
    await business.service()
    before = await counts(database)
    assert not await open_business(database, settings, clock)
    assert await counts(database) == before
