"""What people are mailed about, as they choose."""

from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.principal import Principal
from app.core.errors import NotFound
from app.core.events import ANONYMOUS, Actor, record_change
from app.core.preconditions import IfMatch
from app.notifications import repository
from app.notifications.models import NotificationPreferences
from app.notifications.rules import Audience, Topic
from app.notifications.schemas import PreferencesIn, PreferencesOut
from app.notifications.unsubscribing import UnsubscribeTokens

_UNCHANGED: Final = PreferencesOut(bookings=True, appointments=True, reminders=True, version=0)


class PreferenceService:
    def __init__(self, session: AsyncSession, tokens: UnsubscribeTokens) -> None:
        self._session = session
        self._tokens = tokens

    async def show(self, principal: Principal) -> PreferencesOut:
        """What the caller is mailed about; version 0: never changed. One round trip."""
        return _out(await repository.preferences(self._session, principal.user_id))

    async def change(
        self, wanted: PreferencesIn, seen: IfMatch, principal: Principal
    ) -> PreferencesOut:
        """Be mailed about this and nothing else. Three round trips. Raises VersionMismatch."""
        return await self._change(
            principal.user_id, wanted.model_dump(), principal.actor, seen=seen
        )

    async def stop(self, token: str) -> None:
        """End the reminders of whoever got the mail that this token is in.

        An account has none any more, and a guest none at this address. Four round trips.

        Raises:
            NotFound: it is no such token, or the mail was sent very long ago.
        """
        named = self._tokens.named(token)
        told = await repository.notification(self._session, named) if named else None
        if told is None:
            raise NotFound
        if told.user_id is not None:
            await self._change(told.user_id, {Topic.REMINDERS.value: False}, ANONYMOUS)
            return
        address = None
        if told.booking_id is not None and told.audience == Audience.CUSTOMER:
            address = await repository.guests_address(self._session, told.booking_id)
        if address is not None:
            await repository.stop_reminding(self._session, self._tokens.digest(address))

    async def _change(
        self,
        user_id: UUID,
        wanted: dict[str, bool],
        actor: Actor,
        *,
        seen: IfMatch | None = None,
    ) -> PreferencesOut:
        row = await repository.preferences(self._session, user_id, lock=True)
        before = _out(row)
        if seen is not None:
            seen.check(before.version)
        if row is None:
            row = NotificationPreferences(user_id=user_id, **_choices(_UNCHANGED))
            self._session.add(row)
        for name, value in wanted.items():
            setattr(row, name, value)
        await self._session.flush()
        out = _out(row)
        await record_change(
            self._session,
            "user.notifications_changed",
            subject_id=user_id,
            actor=actor,
            before=_choices(before),
            after=_choices(out),
        )
        return out


def _out(row: NotificationPreferences | None) -> PreferencesOut:
    return PreferencesOut.model_validate(row) if row is not None else _UNCHANGED


def _choices(preferences: PreferencesOut) -> dict[str, bool]:
    return {topic.value: getattr(preferences, topic) for topic in Topic}
