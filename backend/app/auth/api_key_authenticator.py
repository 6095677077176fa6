"""From an API key to a principal.

Like a session (`authenticator.py`), a known key is remembered for less than a second. Its secret is
compared and its expiry looked at each time all the same.
"""

import hmac
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from cachetools import LRUCache

from app.auth import api_key_repository as repository
from app.auth.api_key_repository import KeyStanding
from app.auth.api_keys import read_key
from app.auth.errors import InvalidToken, TokenExpired
from app.auth.memory import ShortMemory
from app.auth.principal import Principal
from app.auth.rules import effective_permissions, needs_second_factor
from app.core.clock import Clock
from app.database import Database

USE_NOTED_EVERY = timedelta(minutes=1)
_NOTED_KEYS = 10_000
_KNOWN_KEYS = 10_000

log = structlog.get_logger(__name__)


class ApiKeyAuthenticator:
    def __init__(
        self, database: Database, clock: Clock, *, require_mfa_for_admins: bool = False
    ) -> None:
        self._database = database
        self._clock = clock
        self._require_mfa = require_mfa_for_admins
        self._standings: ShortMemory[str, KeyStanding] = ShortMemory()
        self._known: LRUCache[bytes, UUID] = LRUCache(_KNOWN_KEYS)
        self._noted: LRUCache[object, datetime] = LRUCache(_NOTED_KEYS)

    async def authenticate(self, key: str) -> Principal:
        """The principal of a valid key: its owner, within its scope, never a superuser.

        At most one round trip, and once a minute a short transaction that notes the use.

        Raises:
            InvalidToken: malformed, unknown or revoked, or its owner is gone or disabled.
            TokenExpired: it has run out.
        """
        presented = read_key(key)
        standing = self._standings.get(presented.prefix) or await self._look_up(presented.prefix)
        if not hmac.compare_digest(standing.digest, presented.digest):
            raise InvalidToken
        self._known[presented.digest] = standing.key_id
        now = self._clock()
        if standing.expires_at is not None and standing.expires_at <= now:
            raise TokenExpired
        await self._note_use(standing, now)
        if self._lacks_mfa(standing):
            return Principal(
                standing.user_id, None, frozenset(), key_id=standing.key_id, lacks_mfa=True
            )
        return Principal(
            standing.user_id,
            session_id=None,
            permissions=effective_permissions(
                standing.scope,
                owner=standing.owner_permissions,
                owner_is_superuser=standing.owner_is_superuser,
            ),
            key_id=standing.key_id,
        )

    def known(self, key: str) -> UUID | None:
        """The id of a key that this process has found good before, whatever became of it since."""
        try:
            return self._known.get(read_key(key).digest)
        except InvalidToken:
            return None

    async def _look_up(self, prefix: str) -> KeyStanding:
        asked_at = self._standings.timer()
        # A session of its own, given back at once: no request holds two connections.
        async with self._database.reading() as session:
            standing = await repository.standing(session, prefix)
        if standing is None:
            raise InvalidToken
        self._standings.keep(prefix, standing, asked_at=asked_at)
        return standing

    def _lacks_mfa(self, standing: KeyStanding) -> bool:
        """Whether the owner's rights, and so the key's, wait for a second factor."""
        return (
            self._require_mfa
            and not standing.owner_has_mfa
            and needs_second_factor(
                standing.owner_permissions, is_superuser=standing.owner_is_superuser
            )
        )

    async def _note_use(self, standing: KeyStanding, now: datetime) -> None:
        """Note the use, at most once a minute; a request never fails for it.

        The attempt is remembered before it is made: requests that come at once make one of them,
        and a database that takes no writes is not asked at each request.
        """
        since = now - USE_NOTED_EVERY
        known = (standing.last_used_at, self._noted.get(standing.key_id))
        if any(used is not None and used > since for used in known):
            return
        self._noted[standing.key_id] = now
        try:
            async with self._database.transaction() as session:
                await repository.note_use(session, standing.key_id, now, unless_since=since)
        except Exception as error:  # noqa: BLE001 - whatever it was, the request matters more
            log.warning(
                "key_use_not_noted", key_id=str(standing.key_id), error=type(error).__name__
            )
