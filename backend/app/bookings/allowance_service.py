"""How much of a service one customer may have."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.plan import Candidate, Plan
from app.availability.service import Opening, local_day_around
from app.bookings import allowance_repository as repository
from app.bookings.allowance_repository import CustomersLimits
from app.core.prepared import Readers


def customers_limits(
    opening: Opening,
    candidate: Candidate,
    customer_id: UUID | None,
    now: datetime,
    *,
    without: UUID | None = None,
) -> CustomersLimits:
    """How many bookings the service lets this customer have; a guest has no number.

    `without` is a booking that is to be moved.
    """
    limits = opening.plan.limits
    if customer_id is None or not limits.bind_customer:
        return CustomersLimits()
    day_start, day_end = local_day_around(candidate.lead.hours.zone, opening.start)
    return CustomersLimits(
        customer_id,
        opening.plan.service_id,
        limits.per_customer_active,
        limits.per_customer_per_day,
        now,
        day_start,
        day_end,
        without,
    )


async def zones_with_enough(
    where: AsyncSession | Readers,
    plan: Plan,
    start: datetime,
    zones: Collection[str],
    customer_id: UUID | None,
    now: datetime,
    *,
    without: UUID | None = None,
) -> Collection[str]:
    """In which providers' zones the customer may have no more at this start.

    A day's limit is about the day there. One round trip, and none where no customer is limited.
    """
    limits = plan.limits
    if customer_id is None or not limits.bind_customer:
        return ()
    return await repository.zones_with_enough(
        where,
        CustomersLimits(
            customer_id,
            plan.service_id,
            limits.per_customer_active,
            limits.per_customer_per_day,
            now,
            without=without,
        ),
        {zone: local_day_around(zone, start) for zone in zones},
    )


def zones_of(opening: Opening) -> set[str]:
    """The zones of those who could give it."""
    return {candidate.lead.hours.zone for candidate in opening.candidates}
