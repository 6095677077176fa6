"""What has been promised in a provider's time, asked of the rooms above.

Bookings stand above schedules, so a change of hours cannot ask them directly what it leaves
outside; `main.py` wires the answer in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.schedules.rules import Hours


@dataclass(frozen=True, slots=True)
class Promise:
    """A booking, as far as a calendar is concerned. Instants are in the booking's own zone."""

    id: UUID
    reference: str
    start: datetime
    end: datetime


class Commitments(Protocol):
    """The bookings that lie ahead of a provider and keep their time, in order."""

    async def outside(
        self, session: AsyncSession, provider_id: UUID, hours: Hours
    ) -> Sequence[Promise]:
        """Those that are not within these working hours."""
        ...

    async def during(
        self, session: AsyncSession, provider_id: UUID, start: datetime, end: datetime
    ) -> Sequence[Promise]:
        """Those of which a part lies between these instants."""
        ...
