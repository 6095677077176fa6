"""`/auth/api-keys`, mounted where API_KEYS_ENABLED."""

from uuid import UUID

from fastapi import status

from app.auth.api_key_schemas import ApiKeyCreate, ApiKeyCreated, ApiKeyOut
from app.auth.dependencies import ApiKeys, ApiKeysReader, SessionPrincipal
from app.auth.errors import InvalidToken, TokenExpired, TooManyApiKeys
from app.core.errors import Forbidden, NotFound, Unauthenticated, ValidationFailed
from app.core.pagination import Page, Paging
from app.core.problems import problems
from app.core.routing import ApiRouter

router = ApiRouter(prefix="/auth/api-keys", tags=["auth"])


@router.get(
    "",
    operation_id="auth_api_keys_list",
    summary="My API keys, the newest first",
    responses=problems(Unauthenticated, InvalidToken, TokenExpired, Forbidden, ValidationFailed),
)
async def list_keys(
    page: Paging, principal: SessionPrincipal, keys: ApiKeysReader
) -> Page[ApiKeyOut]:
    return await keys.list_keys(page, principal)


# Not Idempotent: a replay would need the key, which is kept nowhere. A lost answer leaves a key
# that nobody knows; its owner sees it in the list and revokes it.
@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="auth_api_keys_create",
    summary="Create an API key",
    description=(
        "`key` is shown this once; send it as `X-API-Key`. It may do what `permissions` say, as "
        "long as its owner may. Like its owner it needs no permission for the owner's own things, "
        "such as the owner's bookings. It is never a superuser, and it manages no account."
    ),
    responses=problems(
        Unauthenticated, InvalidToken, TokenExpired, Forbidden, TooManyApiKeys, ValidationFailed
    ),
)
async def create_key(
    key: ApiKeyCreate, principal: SessionPrincipal, keys: ApiKeys
) -> ApiKeyCreated:
    return await keys.create(key, principal)


@router.delete(
    "/{key_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="auth_api_keys_revoke",
    summary="Revoke an API key",
    responses=problems(
        Unauthenticated, InvalidToken, TokenExpired, Forbidden, NotFound, ValidationFailed
    ),
)
async def revoke_key(key_id: UUID, principal: SessionPrincipal, keys: ApiKeys) -> None:
    await keys.revoke(key_id, principal)
