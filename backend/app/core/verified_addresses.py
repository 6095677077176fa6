"""What follows when somebody has shown that an address is theirs.

Accounts stand below the rooms that know what was done with an address before, so they cannot tell
those directly. Each room listens through this port, and `main.py` hands all listeners over.
"""

from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession


class AddressListener(Protocol):
    async def verified(self, session: AsyncSession, user_id: UUID, email: str) -> None:
        """The address is this account's, in the transaction that notes it."""
        ...
