"""What others have promised with what is offered here, asked of the rooms above.

Bookings stand above the offer, so it cannot ask them directly; `main.py` wires the answer in.
Foreign keys speak for most of what needs a service or a location. These are the questions that
they cannot answer: ids in arrays, and what only matters for a while.
"""

from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession


class Commitments(Protocol):
    """What stands in the way of deleting, and whose calendars a change concerns."""

    async def need_service(self, session: AsyncSession, service_id: UUID) -> bool:
        """Whether somebody holds a time of the service, or waits for one."""
        ...

    async def need_location(self, session: AsyncSession, location_id: UUID) -> bool:
        """Whether a provider works at the location."""
        ...

    async def need_resource(self, session: AsyncSession, resource_id: UUID) -> bool:
        """Whether a booking has the resource, or ever had it, or somebody holds it.

        Until the transaction ends, nobody can take it.
        """
        ...

    async def resource_changed(self, session: AsyncSession, resource_id: UUID) -> None:
        """Give the resource's calendar its next version: what is free may be another."""
        ...

    async def resource_removed(self, session: AsyncSession, resource_id: UUID) -> None:
        """Remove what is left of the resource's calendar."""
        ...
