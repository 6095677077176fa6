"""What others have promised in a provider's name, asked of the rooms above.

Bookings stand above providers, who cannot ask them directly; `main.py` wires the answer in. That
a provider leads a booking is what a foreign key says. These are the questions it cannot answer.
"""

from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession


class Commitments(Protocol):
    """What stands in the way of deleting a provider, and what is left of one."""

    async def need_provider(self, session: AsyncSession, provider_id: UUID) -> bool:
        """Whether a booking is or was with the provider, or somebody holds or waits for a time.

        Until the transaction ends, nobody can take the provider's time.
        """
        ...

    async def provider_removed(self, session: AsyncSession, provider_id: UUID) -> None:
        """Remove what is left of the provider's calendar."""
        ...
