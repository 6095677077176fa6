"""What availability knows of a person. See `core/personal_data.py`."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.availability import time_off_repository as repository
from app.core import idempotency
from app.core.events import Actor
from app.core.personal_data import Records


class TimeOffOfPeople:
    """Why somebody was away. When they were stays with the calendar, which nobody owns then."""

    section = "time_off"

    async def export(self, session: AsyncSession, user_id: UUID) -> Records:
        rows = await repository.owned_by(session, user_id)
        return [dict(row._mapping) for row in rows]  # noqa: SLF001 - Row's API

    async def erase(self, session: AsyncSession, user_id: UUID, actor: Actor) -> None:  # noqa: ARG002 - the port's
        """Forget the reasons, in kept answers too. The log never knew them."""
        forgotten = await repository.forget_reasons(session, user_id)
        await idempotency.forget_about(session, forgotten)
