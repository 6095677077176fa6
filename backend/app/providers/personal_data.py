"""What providers know of a person. See `core/personal_data.py`."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import events
from app.core.events import Actor
from app.core.personal_data import Records
from app.providers import repository
from app.providers.schemas import ProviderOut

_IMPERSONAL = sorted(ProviderOut.model_fields.keys() - {"user_id"})


class CalendarsOfPeople:
    """The calendar that an account owns.

    The profile is what the business offers, with other people's bookings in its calendar, so it
    stays, owned by nobody; administrators rename or retire it.
    """

    section = "providers"

    async def export(self, session: AsyncSession, user_id: UUID) -> Records:
        provider = await repository.owned_by(session, user_id)
        if provider is None:
            return []
        return [ProviderOut.model_validate(provider).model_dump()]

    async def erase(self, session: AsyncSession, user_id: UUID, actor: Actor) -> None:
        provider = await repository.owned_by(session, user_id)
        if provider is None:
            return
        provider.user_id = None
        await session.flush()
        # Not even the log tells whose it was: a provider goes by a person's name.
        await events.forget(session, "provider", [provider.id], keep=_IMPERSONAL)
        await events.record(
            session,
            "provider.changed",
            subject_id=provider.id,
            actor=actor,
            after={"user_id": None},
        )
