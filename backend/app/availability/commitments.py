"""What availability asks of the rooms above, about a customer whom it does not know."""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.plan import Plan
from app.core.prepared import Readers


class CustomersRecords(Protocol):
    """What customers have booked. `main.py` hands over who knows."""

    async def zones_with_enough(
        self,
        where: AsyncSession | Readers,
        plan: Plan,
        start: datetime,
        zones: Collection[str],
        customer_id: UUID,
        *,
        without: UUID | None,
    ) -> Collection[str]:
        """In which of these providers' zones the customer may have no more of the service.

        A limit for a day is about the day of the start there. `without` is a booking that is to be
        moved. One round trip at most.
        """
        ...
