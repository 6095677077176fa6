"""What is kept about a person, to be shown to them or forgotten (ADR 9).

Accounts stand below the rooms that know what people did, so they cannot ask those directly. Each
room answers through this port instead, and `main.py` hands all of them to the account service.
"""

from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import events, idempotency
from app.core.events import Actor

Records = list[dict[str, Any]]


class PersonalData(Protocol):
    """What one part of the house keeps about people."""

    @property
    def section(self) -> str:
        """The name under which an export shows it."""
        ...

    async def export(self, session: AsyncSession, user_id: UUID) -> Records:
        """Everything about this person, and nothing about anybody else."""
        ...

    async def erase(self, session: AsyncSession, user_id: UUID, actor: Actor) -> None:
        """Forget the person and keep what the business needs, without them.

        The caller holds a lock on the account: nothing new can refer to it until this commits.
        """
        ...


class EventsAboutPeople:
    """What the log says about an account. Its events stay, without what they said."""

    section = "events"

    async def export(self, session: AsyncSession, user_id: UUID) -> Records:
        return [events.described(event) for event in await events.about(session, "user", [user_id])]

    async def erase(self, session: AsyncSession, user_id: UUID, actor: Actor) -> None:  # noqa: ARG002 - the port's
        await events.forget(session, "user", [user_id])


class AnswersToPeople:
    """The answers kept for repeated requests: to the person, and to others about the person.

    An export names the requests only. The answers repeat what its other sections show, and those
    that a member of staff was given are about somebody else.
    """

    section = "idempotency_keys"

    async def export(self, session: AsyncSession, user_id: UUID) -> Records:
        return await idempotency.keys_of(session, user_id)

    async def erase(self, session: AsyncSession, user_id: UUID, actor: Actor) -> None:  # noqa: ARG002 - the port's
        await idempotency.forget(session, user_id)
