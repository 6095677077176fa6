"""From a token to a principal.

Postgres knows whether a session still stands; each process may remember the answer for a second,
so that most requests cost no round trip and a revocation takes effect within that second.
"""

from app.auth import repository
from app.auth.errors import InvalidToken
from app.auth.memory import ShortMemory
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.auth.repository import Standing
from app.auth.rules import needs_second_factor
from app.auth.tokens import Claims, TokenSigner
from app.core.clock import Clock
from app.database import Database

# While releases change over, the database may hold a newer one's permissions.
_KNOWN = {permission.value: permission for permission in Permission}


class Authenticator:
    def __init__(
        self,
        database: Database,
        signer: TokenSigner,
        clock: Clock,
        *,
        require_mfa_for_admins: bool = False,
    ) -> None:
        self._database = database
        self._signer = signer
        self._clock = clock
        self._require_mfa = require_mfa_for_admins
        self._standings: ShortMemory[Claims, Standing] = ShortMemory()

    async def authenticate(self, token: str) -> Principal:
        """The principal of a valid access token; at most one round trip.

        Raises:
            InvalidToken: forged, misused or revoked, or its account is gone or disabled.
            TokenExpired: it has run out.
        """
        claims = self._signer.read(token, self._clock())
        standing = self._standings.get(claims) or await self._look_up(claims)
        if self._lacks_mfa(standing):
            return Principal(claims.user_id, claims.session_id, frozenset(), lacks_mfa=True)
        return Principal(
            claims.user_id,
            claims.session_id,
            frozenset(_KNOWN[p] for p in standing.permissions if p in _KNOWN),
            standing.is_superuser,
        )

    async def _look_up(self, claims: Claims) -> Standing:
        asked_at = self._standings.timer()
        # A session of its own, given back at once: no request holds two connections.
        async with self._database.reading() as session:
            standing = await repository.standing(
                session, claims.user_id, claims.session_id, self._clock()
            )
        if standing is None:
            raise InvalidToken
        # One that lacks a second factor is not remembered: who sets it up goes on at once.
        if not self._lacks_mfa(standing):
            self._standings.keep(claims, standing, asked_at=asked_at)
        return standing

    def _lacks_mfa(self, standing: Standing) -> bool:
        return (
            self._require_mfa
            and not standing.mfa_enabled
            and needs_second_factor(standing.permissions, is_superuser=standing.is_superuser)
        )
