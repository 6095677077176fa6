"""Logging in is opening a session; everything after that keeps, lists or ends it."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import session_repository as repository
from app.auth.errors import InvalidToken, SessionRevoked
from app.auth.principal import Principal
from app.auth.schemas import Device, SessionOut, Tokens
from app.auth.tokens import Claims, RefreshTokens, TokenSigner
from app.core.clock import Clock
from app.core.errors import NotFound
from app.core.events import Actor, record

REUSE_GRACE = timedelta(seconds=10)
"""How long a spent refresh token still gets its successor: tabs and retries are not thieves."""


class SessionService:
    def __init__(
        self,
        session: AsyncSession,
        signer: TokenSigner,
        refresh_tokens: RefreshTokens,
        clock: Clock,
    ) -> None:
        self._session = session
        self._signer = signer
        self._refresh_tokens = refresh_tokens
        self._clock = clock

    async def open(self, user_id: UUID, device: Device) -> Tokens:
        """Start a session for someone who has proved to be the owner of an account, now locked."""
        now, token = self._clock(), self._refresh_tokens.new()
        session_id = await repository.open_session(
            self._session,
            user_id=user_id,
            device=device.name,
            address=device.address,
            now=now,
            expires_at=now + self._refresh_tokens.lifetime,
        )
        await repository.add_token(self._session, session_id, self._refresh_tokens.digest(token))
        await record(
            self._session,
            "user.logged_in",
            subject_id=user_id,
            actor=Actor("user", user_id),
            after={"session": str(session_id)},
        )
        return self._tokens(user_id, session_id, token)

    async def refresh(self, token: str) -> Tokens:
        """Exchange a refresh token for its successor and an access token.

        Raises:
            InvalidToken: never issued, or its session has ended.
            SessionRevoked: it was spent before, longer ago than the grace; the session ends.
        """
        now, digest = self._clock(), self._refresh_tokens.digest(token)
        presented = await repository.lock_token(self._session, digest, now)
        if presented is None or not presented.is_live:
            raise InvalidToken
        successor = self._refresh_tokens.successor(token)
        if presented.spent_at is None:
            await repository.spend(
                self._session,
                presented.session_id,
                digest=digest,
                successor=self._refresh_tokens.digest(successor),
                now=now,
                expires_at=now + self._refresh_tokens.lifetime,
            )
        elif now - presented.spent_at > REUSE_GRACE:
            await self._end_stolen(presented.user_id, presented.session_id)
            raise SessionRevoked
        return self._tokens(presented.user_id, presented.session_id, successor)

    async def list_sessions(self, principal: Principal) -> list[SessionOut]:
        """Where the caller is logged in, the most recently used first."""
        rows = await self._session.scalars(
            repository.live_sessions(principal.user_id, self._clock())
        )
        return [
            SessionOut(
                id=row.id,
                device=row.device,
                address=row.address,
                created_at=row.created_at,
                last_used_at=row.last_used_at,
                expires_at=row.expires_at,
                is_current=row.id == principal.session_id,
            )
            for row in rows
        ]

    async def leave(self, principal: Principal, session_id: UUID) -> bool:
        """Log out on one device; False: that was done already, or the session is another's."""
        ended = await repository.revoke(
            self._session, principal.user_id, self._clock(), only=session_id
        )
        if ended:
            await self._record_end(principal.actor, principal.user_id, ended, "logout")
        return bool(ended)

    async def end(self, principal: Principal, session_id: UUID) -> None:
        """Log out on one device. Raises NotFound: it is not one of the caller's."""
        if not await self.leave(principal, session_id):
            raise NotFound

    async def end_all(
        self, user_id: UUID, actor: Actor, reason: str, *, but: UUID | None = None
    ) -> None:
        """Log out everywhere, or everywhere `but` here."""
        ended = await repository.revoke(self._session, user_id, self._clock(), but=but)
        if ended:
            await self._record_end(actor, user_id, ended, reason)

    async def _end_stolen(self, user_id: UUID, session_id: UUID) -> None:
        ended = await repository.revoke(self._session, user_id, self._clock(), only=session_id)
        await self._record_end(Actor("anonymous"), user_id, ended, "refresh_token_reused")

    async def _record_end(
        self, actor: Actor, user_id: UUID, ended: list[UUID], reason: str
    ) -> None:
        await record(
            self._session,
            "user.sessions_ended",
            subject_id=user_id,
            actor=actor,
            after={"sessions": [str(i) for i in ended], "reason": reason},
        )

    def _tokens(self, user_id: UUID, session_id: UUID, refresh_token: str) -> Tokens:
        return Tokens(
            access_token=self._signer.issue(Claims(user_id, session_id), self._clock()),
            expires_in=int(self._signer.lifetime.total_seconds()),
            refresh_token=refresh_token,
            refresh_expires_in=int(self._refresh_tokens.lifetime.total_seconds()),
        )
