"""API keys: what people let their programs do in their name."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import api_key_repository as repository
from app.auth.api_key_schemas import ApiKeyCreate, ApiKeyCreated, ApiKeyOut
from app.auth.api_keys import new_key, read_key
from app.auth.errors import TooManyApiKeys
from app.auth.models import ApiKey
from app.auth.principal import Principal
from app.auth.rules import may_grant
from app.core.clock import Clock
from app.core.errors import Forbidden, NotFound, ValidationFailed
from app.core.events import record
from app.core.pagination import Page, PageRequest

MAXIMUM_LIVE_KEYS = 50
"""Of one user; those that have run out do not count."""


class ApiKeyService:
    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def create(self, new: ApiKeyCreate, principal: Principal) -> ApiKeyCreated:
        """Make a key, which can be read in this answer only. Four round trips.

        Raises:
            ValidationFailed: it would have run out already.
            Forbidden: it would be allowed what its owner is not.
            TooManyApiKeys: the owner has as many as anybody may.
        """
        now = self._clock()
        if new.expires_at is not None and new.expires_at <= now:
            raise ValidationFailed.at("#/expires_at", "it lies in the past")
        if not may_grant(principal, new.permissions):
            raise Forbidden("A key may do no more than its owner.")
        await repository.lock_owner(self._session, principal.user_id)
        if await repository.count_live(self._session, principal.user_id, now) >= MAXIMUM_LIVE_KEYS:
            raise TooManyApiKeys
        secret = new_key()
        presented = read_key(secret)
        key = ApiKey(
            user_id=principal.user_id,
            name=new.name,
            prefix=presented.prefix,
            digest=presented.digest,
            permissions=sorted(new.permissions),
            created_at=now,
            expires_at=new.expires_at,
        )
        self._session.add(key)
        await self._session.flush()
        out = ApiKeyOut.model_validate(key)
        await record(
            self._session,
            "user.api_key_created",
            subject_id=principal.user_id,
            actor=principal.actor,
            after={"api_key": out.model_dump(mode="json")},
        )
        return ApiKeyCreated(**out.model_dump(), key=secret)

    async def list_keys(self, page: PageRequest, principal: Principal) -> Page[ApiKeyOut]:
        """The caller's keys, the newest first; also those that have run out."""
        return await repository.API_KEYS.page(
            self._session,
            repository.keys_of(principal.user_id),
            page,
            sort="-created_at",
            build=lambda row: ApiKeyOut.model_validate(row[0]),
        )

    async def revoke(self, key_id: UUID, principal: Principal) -> None:
        """Delete a key; it is refused within a second. Raises NotFound: it is not the caller's."""
        key = await repository.remove(self._session, principal.user_id, key_id)
        if key is None:
            raise NotFound
        await record(
            self._session,
            "user.api_key_revoked",
            subject_id=principal.user_id,
            actor=principal.actor,
            before={"api_key": ApiKeyOut.model_validate(key).model_dump(mode="json")},
        )
