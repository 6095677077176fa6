"""A clinic in two cities, for an empty database: something to look at, to book and to cancel.

It is set up through the application's own services, as an administrator and customers would do it,
and in one transaction: it is there as a whole or not at all. The bookings are made at times that
the application offers.
"""

import json
import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from math import sqrt
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.codes import TotpSecrets
from app.auth.link_service import LinkService
from app.auth.link_tokens import LinkTokens
from app.auth.models import User
from app.auth.permissions import BUILT_IN_ROLES, CUSTOMER, Permission
from app.auth.principal import Principal
from app.auth.schemas import Signup
from app.auth.second_factor import SecondFactor
from app.auth.service import AccountService
from app.auth.session_service import SessionService
from app.auth.tokens import RefreshTokens, TokenSigner
from app.availability.free_times_service import FreeTimesService, Question
from app.availability.service import AvailabilityService
from app.bookings.commitments import BookingCommitments
from app.bookings.schemas import BookingCreate
from app.bookings.service import BookingService
from app.catalog.models import Service
from app.catalog.schemas import LocationCreate, Money, ServiceCreate
from app.catalog.service import CatalogService
from app.config import Settings
from app.core.caching import AnswerCache
from app.core.clock import Clock
from app.core.preconditions import IfMatch
from app.core.security import PasswordHasher
from app.core.together import Rounds
from app.database import Database
from app.providers.schemas import Assignment, Assignments, ProviderCreate
from app.providers.service import ProviderService
from app.schedules.rules import Weekday
from app.schedules.schemas import ScheduleIn, WeekdayHours, WorkingInterval
from app.schedules.service import ScheduleService
from devserver.errors import LauncherError

_DEMO_LOCK = 4_917_201_002
_ANY_VERSION = IfMatch(None)
# Nobody knows these passwords, so hashing them slowly would protect nothing.
_CHEAP_ROUNDS = 4
_FIRST_DAY, _LAST_DAY = 1, 12
# Multiples of it, without their whole parts, never bunch: bookings spread over days and hours.
_GOLDEN_RATIO = (sqrt(5) - 1) / 2

Hours = dict[str, str]
"""`{"mon-fri": "09:00-12:30 13:30-17:30"}`: a weekday or a span of them, and its intervals."""


@dataclass(frozen=True)
class Place:
    name: str
    address: str
    time_zone: str


@dataclass(frozen=True)
class Person:
    """A provider, who works in one place's zone."""

    name: str
    bio: str
    place: Place
    hours: Hours


@dataclass(frozen=True)
class Offer:
    """A service, who gives it, and how many bookings it has to begin with."""

    service: ServiceCreate
    by: tuple[Person, ...]
    bookings: int


PARIS = Place("Clinique Saint-Martin", "24 quai de Valmy\n75010 Paris", "Europe/Paris")
NEW_YORK = Place(
    "Murray Hill Clinic", "155 East 34th Street\nNew York, NY 10016", "America/New_York"
)

LAURENT = Person(
    "Dr. Camille Laurent",
    "General practitioner. Speaks French and English.",
    PARIS,
    {
        "mon-tue": "09:00-12:30 13:30-17:30",
        "wed": "09:00-12:30",
        "thu-fri": "09:00-12:30 14:00-18:00",
    },
)
BENALI = Person(
    "Yanis Benali",
    "Physiotherapist, with appointments until half past eight in the evening.",
    PARIS,
    {"mon-thu": "12:00-15:30 16:30-20:30", "sat": "09:00-13:00"},
)
OKAFOR = Person(
    "Dr. Grace Okafor",
    "Family medicine and vaccinations.",
    NEW_YORK,
    {"mon-fri": "08:00-12:00 13:00-16:30"},
)
RIVERA = Person(
    "Sam Rivera",
    "Physical therapist and nurse, here three days a week.",
    NEW_YORK,
    {"tue": "10:00-13:00 14:00-17:00", "thu": "10:00-13:00 14:00-17:00", "fri": "09:00-13:00"},
)

OFFERS = (
    Offer(
        ServiceCreate(
            name="First consultation",
            description="We take the time to get to know you. Please bring earlier findings.",
            durations_minutes=[45],
            buffer_after_minutes=15,
            min_notice_minutes=120,
            booking_window_days=60,
            cancel_until_minutes=24 * 60,
            price=Money(amount=6000, currency="EUR"),
        ),
        by=(LAURENT, OKAFOR),
        bookings=6,
    ),
    Offer(
        ServiceCreate(
            name="Follow-up",
            description="For those we know already: 20 minutes, or 40 if there is much to discuss.",
            durations_minutes=[20, 40],
            slot_interval_minutes=20,
            min_notice_minutes=60,
            booking_window_days=90,
            cancel_until_minutes=12 * 60,
            price=Money(amount=3500, currency="EUR"),
        ),
        by=(LAURENT, BENALI, OKAFOR),
        bookings=7,
    ),
    Offer(
        ServiceCreate(
            name="Physiotherapy",
            description="Fifty minutes of treatment; the room is aired afterwards.",
            durations_minutes=[50],
            buffer_after_minutes=10,
            slot_interval_minutes=30,
            min_notice_minutes=4 * 60,
            booking_window_days=45,
            cancel_until_minutes=24 * 60,
            price=Money(amount=12000, currency="USD"),
        ),
        by=(BENALI, RIVERA),
        bookings=5,
    ),
    Offer(
        ServiceCreate(
            name="Vaccination",
            description="Influenza, tetanus and travel vaccinations.",
            durations_minutes=[10],
            slot_interval_minutes=10,
            min_notice_minutes=30,
            booking_window_days=30,
            cancel_until_minutes=60,
            price=Money(amount=2500, currency="USD"),
        ),
        by=(LAURENT, OKAFOR, RIVERA),
        bookings=5,
    ),
    Offer(
        ServiceCreate(
            name="Video consultation",
            description="From wherever you are; the link comes by mail.",
            durations_minutes=[30],
            min_notice_minutes=15,
            booking_window_days=30,
            cancel_until_minutes=2 * 60,
            price=Money(amount=4500, currency="EUR"),
        ),
        by=(LAURENT, BENALI, OKAFOR, RIVERA),
        bookings=6,
    ),
)

CUSTOMERS = ("Amélie Fontaine", "Noah Schmidt", "Priya Raman", "Diego Torres", "Mei Lin Wong")


async def open_business(database: Database, settings: Settings, clock: Clock) -> bool:
    """Fill a database that offers nothing yet; returns whether it did.

    Raises:
        LauncherError: the database has not been seeded: it has no superuser.
    """
    async with database.transaction() as session:
        # Launchers that share a database come one after the other; the second finds it filled.
        await session.execute(select(func.pg_advisory_xact_lock(_DEMO_LOCK)))
        if await session.scalar(select(Service.id).limit(1)):
            return False
        await _Opening(session, settings, clock).open(await _superuser(session))
    return True


async def _superuser(session: AsyncSession) -> Principal:
    user_id = await session.scalar(
        select(User.id).where(User.is_superuser).order_by(User.created_at).limit(1)
    )
    if user_id is None:
        raise LauncherError("There is no superuser to open the demo business: seed first.")
    return Principal(user_id, None, frozenset(Permission), is_superuser=True)


class _Opening:
    """The application's services on one session, and what they are asked to do."""

    def __init__(self, session: AsyncSession, settings: Settings, clock: Clock) -> None:
        self._session = session
        self._settings = settings
        self._clock = clock
        commitments = BookingCommitments(clock)
        self._catalog = CatalogService(session, commitments)
        self._providers = ProviderService(session, self._catalog, commitments)
        self._schedules = ScheduleService(session, self._providers, commitments)
        nothing_kept = AnswerCache(None, ttl=0)
        self._free = FreeTimesService(
            session, Rounds(), nothing_kept, clock, settings.BUSINESS_TIME_ZONE
        )
        availability = AvailabilityService(session, clock)
        self._bookings = BookingService(session, availability, clock, settings)
        self._booked = Counter[str]()

    async def open(self, admin: Principal) -> None:
        places = {place: await self._open_place(place, admin) for place in (PARIS, NEW_YORK)}
        people = {
            person.name: await self._register(person, places[person.place], admin)
            for person in (LAURENT, BENALI, OKAFOR, RIVERA)
        }
        customers = await self._customers()
        for offer in OFFERS:
            service = await self._catalog.offer(offer.service, admin)
            who = [Assignment(provider_id=people[person.name]) for person in offer.by]
            await self._providers.assign(
                service.id, Assignments(providers=who), _ANY_VERSION, admin
            )
            for number in range(offer.bookings):
                await self._book(service.id, number, customers[number % len(customers)])

    async def _open_place(self, place: Place, admin: Principal) -> UUID:
        new = LocationCreate(name=place.name, address=place.address, time_zone=place.time_zone)
        return (await self._catalog.open_location(new, admin)).id

    async def _register(self, person: Person, place_id: UUID, admin: Principal) -> UUID:
        zone = person.place.time_zone
        new = ProviderCreate(
            display_name=person.name, bio=person.bio, time_zone=zone, location_ids=[place_id]
        )
        provider = await self._providers.register(new, admin)
        schedule = ScheduleIn(time_zone=zone, weekly=_weekly(person.hours))
        await self._schedules.replace(provider.id, schedule, _ANY_VERSION, admin)
        return provider.id

    async def _customers(self) -> list[Principal]:
        passwords = PasswordHasher(rounds=_CHEAP_ROUNDS, threads=1)
        sessions = SessionService(
            self._session,
            TokenSigner(self._settings),
            RefreshTokens(self._settings),
            self._clock,
        )
        second_factor = SecondFactor(self._session, TotpSecrets(self._settings), self._clock)
        links = LinkService(self._session, LinkTokens(self._settings), self._clock)
        accounts = AccountService(
            self._session, passwords, sessions, second_factor, self._settings, links
        )
        try:
            users = [
                await accounts.sign_up(
                    Signup.model_validate(
                        {
                            "name": name,
                            "email": f"customer{number}@example.com",
                            "password": secrets.token_urlsafe(32),
                        }
                    )
                )
                for number, name in enumerate(CUSTOMERS, start=1)
            ]
        finally:
            passwords.close()
        _, permissions = BUILT_IN_ROLES[CUSTOMER]
        return [Principal(user.id, None, permissions) for user in users]

    async def _book(self, service_id: UUID, number: int, customer: Principal) -> None:
        """Book one of the times that are free now; nothing if there is none."""
        today = self._clock().astimezone(UTC).date()
        free = await self._free_times(
            service_id, today + timedelta(days=_FIRST_DAY), today + timedelta(days=_LAST_DAY)
        )
        if not free:
            return
        start, providers = free[int(len(free) * ((number + 1) * _GOLDEN_RATIO % 1))]
        provider = min(providers, key=lambda provider: self._booked[provider])
        self._booked[provider] += 1
        wanted = {"service_id": service_id, "start": start, "provider_id": provider}
        await self._bookings.book(BookingCreate.model_validate(wanted), customer)

    async def _free_times(
        self, service_id: UUID, first: date, last: date
    ) -> list[tuple[str, list[str]]]:
        """The starts that are free, each with the providers who are."""
        found, _ = await self._free.free_times(Question(service_id, first, last))
        answer = json.loads(found.body)
        ids = answer["provider_ids"]
        return [
            (slot["start"], [ids[index] for index in slot["providers"]])
            for day in answer["days"]
            for slot in day["slots"]
        ]


def _weekly(hours: Hours) -> list[WeekdayHours]:
    return [
        WeekdayHours(weekday=weekday, intervals=_intervals(intervals))
        for days, intervals in hours.items()
        for weekday in _weekdays(days)
    ]


def _weekdays(span: str) -> list[Weekday]:
    """`mon-wed` → Monday, Tuesday, Wednesday."""
    week = list(Weekday)
    short = [weekday[:3] for weekday in week]
    first, _, last = span.partition("-")
    return week[short.index(first) : short.index(last or first) + 1]


def _intervals(text: str) -> list[WorkingInterval]:
    """`09:00-12:30 13:30-17:30` → two intervals."""
    bounds = [interval.split("-") for interval in text.split()]
    return [WorkingInterval(start=start, end=end) for start, end in bounds]
