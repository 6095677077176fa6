"""Bookings for routes: one that writes, one that only reads."""

from typing import Annotated

from fastapi import Depends

from app.availability.dependencies import Availability, AvailabilityReader
from app.bookings.service import BookingService
from app.core.dependencies import AppClock
from app.core.unit_of_work import ReadSession, Session


async def bookings(session: Session, availability: Availability, clock: AppClock) -> BookingService:
    return BookingService(session, availability, clock)


async def bookings_reader(
    session: ReadSession, availability: AvailabilityReader, clock: AppClock
) -> BookingService:
    return BookingService(session, availability, clock)


Bookings = Annotated[BookingService, Depends(bookings)]
BookingsReader = Annotated[BookingService, Depends(bookings_reader)]
