"""What notifications know of a person. See `core/personal_data.py`."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.events import Actor
from app.core.personal_data import Records
from app.notifications import repository
from app.notifications.rules import Topic


class NotificationsToPeople:
    """The mails that were sent to an account, or are to be. What they said is not kept."""

    section = "notifications"

    async def export(self, session: AsyncSession, user_id: UUID) -> Records:
        return [
            {
                "id": told.id,
                "kind": told.kind,
                "booking_id": told.booking_id,
                "state": told.state,
                "due_at": told.due_at,
                "created_at": told.created_at,
                "sent_at": told.sent_at,
            }
            for told in await repository.of_user(session, user_id)
        ]

    async def erase(self, session: AsyncSession, user_id: UUID, actor: Actor) -> None:  # noqa: ARG002 - the port's
        """What has not been sent never will be."""
        await repository.forget_user(session, user_id)


class PreferencesOfPeople:
    """What somebody wants mails about. It goes with the account."""

    section = "notification_preferences"

    async def export(self, session: AsyncSession, user_id: UUID) -> Records:
        row = await repository.preferences(session, user_id)
        if row is None:
            return []
        choices = {topic.value: getattr(row, topic) for topic in Topic}
        return [choices | {"created_at": row.created_at, "updated_at": row.updated_at}]

    async def erase(self, session: AsyncSession, user_id: UUID, actor: Actor) -> None:
        """The database does: no row of it stays without its account."""
