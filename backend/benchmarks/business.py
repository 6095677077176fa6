"""The business that is measured: some providers to book, and some with full days to read."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import ARRAY, TIMESTAMP, Integer, Uuid, bindparam, insert, text
from sqlalchemy.dialects.postgresql import Range

from app import tables  # noqa: F401 - references between tables are looked up
from app.availability.models import Allocation
from app.catalog.models import Service
from app.core.ids import new_id
from app.database import Database
from app.providers.models import Provider, ServiceProvider
from app.schedules.models import Calendar, Schedule

READERS = 8
READ_DAYS = 30
BOOKINGS_A_DAY = 20
OPENS, CLOSES = 7 * 60, 21 * 60
BOOKED_MINUTES = 30
READ_MINUTES = 15
# The bookings of a reader's day begin so far apart that there is something free between them.
_EVERY = (CLOSES - OPENS) // BOOKINGS_A_DAY

FILLED_AT_ONCE = 50  # providers

FILL = text(
    f"""
    INSERT INTO allocations (id, subject_id, during, kind)
    SELECT gen_random_uuid(), subject,
        tstzrange(begins, begins + interval '{READ_MINUTES} minutes'), 'booking'
    FROM unnest(:ids) AS subject,
        generate_series(0, :days - 1) AS day, generate_series(0, {BOOKINGS_A_DAY - 1}) AS number,
        LATERAL (SELECT :start + day * interval '1 day'
            + ({OPENS} + number * {_EVERY}) * interval '1 minute' AS begins) AS times
    """
).bindparams(
    bindparam("ids", type_=ARRAY(Uuid())),
    bindparam("days", type_=Integer()),
    bindparam("start", type_=TIMESTAMP(timezone=True)),
)


@dataclass(frozen=True)
class Slot:
    provider_id: UUID
    start: datetime


@dataclass(frozen=True)
class BenchBusiness:
    """Providers are numbered from 1, and a provider's id is its number: SQL can compute it."""

    providers: int
    booked_service: UUID
    read_service: UUID
    today: datetime

    @property
    def readers(self) -> list[UUID]:
        return [UUID(int=self.providers + n) for n in range(1, READERS + 1)]

    def slots(self) -> Iterator[Slot]:
        """Distinct free times, next to each other in time and not in calendars."""
        for day in range(1, 365):
            opens = self.today + timedelta(days=day, minutes=OPENS)
            for minutes in range(0, CLOSES - OPENS, BOOKED_MINUTES):
                for number in range(1, self.providers + 1):
                    yield Slot(UUID(int=number), opens + timedelta(minutes=minutes))


async def open_business(database: Database, providers: int) -> BenchBusiness:
    """Fill the database; straight into the tables, since the API is measured later."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    business = BenchBusiness(providers, new_id(), new_id(), today)
    ids = [UUID(int=number) for number in range(1, providers + READERS + 1)]
    week = [[[OPENS, CLOSES]]] * 7
    async with database.transaction() as session:
        await session.execute(
            insert(Service),
            [
                {"id": business.booked_service, "durations_minutes": [BOOKED_MINUTES]}
                | {
                    "name": "Booked",
                    "slug": "booked",
                    "price_amount": 100,
                    "price_currency": "EUR",
                },
                {"id": business.read_service, "durations_minutes": [READ_MINUTES]}
                | {"name": "Read", "slug": "read", "price_amount": 100, "price_currency": "EUR"},
            ],
        )
        await session.execute(
            insert(Provider),
            [{"id": i, "display_name": f"Provider {i.int}", "time_zone": "UTC"} for i in ids],
        )
        await session.execute(
            insert(Schedule), [{"provider_id": i, "time_zone": "UTC", "weekly": week} for i in ids]
        )
        await session.execute(insert(Calendar), [{"subject_id": i} for i in ids])
        service_of = dict.fromkeys(business.readers, business.read_service)
        await session.execute(
            insert(ServiceProvider),
            [
                {"service_id": service_of.get(i, business.booked_service), "provider_id": i}
                for i in ids
            ],
        )
        await session.execute(
            insert(Allocation),
            [
                {"id": new_id(), "subject_id": reader, "during": during, "kind": "booking"}
                for reader in business.readers
                for during in _full_days(today, READ_DAYS)
            ],
        )
    return business


async def open_calendars(
    database: Database, providers: int, days: int
) -> tuple[UUID, list[UUID], datetime]:
    """A service with so many providers whose days, from tomorrow on, are full of bookings."""
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    tomorrow += timedelta(days=1)
    service_id, ids = new_id(), [new_id() for _ in range(providers)]
    name = f"{providers} x {days}"
    week = [[[OPENS, CLOSES]]] * 7
    async with database.transaction() as session:
        await session.execute(
            insert(Service),
            [
                {"id": service_id, "durations_minutes": [READ_MINUTES], "name": name}
                | {"slug": f"{providers}-{days}"}
            ],
        )
        await session.execute(
            insert(Provider),
            [{"id": i, "display_name": name, "time_zone": "UTC"} for i in ids],
        )
        await session.execute(
            insert(Schedule), [{"provider_id": i, "time_zone": "UTC", "weekly": week} for i in ids]
        )
        await session.execute(insert(Calendar), [{"subject_id": i} for i in ids])
        await session.execute(
            insert(ServiceProvider), [{"service_id": service_id, "provider_id": i} for i in ids]
        )
        # In parts, for Postgres ends what takes longer than a request may.
        for first in range(0, len(ids), FILLED_AT_ONCE):
            part = ids[first : first + FILLED_AT_ONCE]
            await session.execute(FILL, {"ids": part, "days": days, "start": tomorrow})
    async with database.engine.connect() as connection:
        await connection.execute(text("ANALYZE allocations"))
        await connection.commit()
    return service_id, ids, tomorrow


def _full_days(today: datetime, days: int) -> Iterator[Range[datetime]]:
    for day in range(days):
        for number in range(BOOKINGS_A_DAY):
            start = today + timedelta(days=day, minutes=OPENS + number * _EVERY)
            yield Range(start, start + timedelta(minutes=READ_MINUTES))
