"""Who is calling, what they may do, and the account service for routes."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.security import OAuth2PasswordBearer

from app.auth.authenticator import Authenticator
from app.auth.errors import InvalidToken
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.auth.service import AccountService
from app.auth.tokens import TokenSigner
from app.core import idempotency
from app.core.dependencies import AppClock, AppSettings, Passwords
from app.core.errors import Forbidden, Unauthenticated
from app.core.unit_of_work import ReadSession, Session

# The token's URL is completed in the OpenAPI document, once API_V1_STR is known.
bearer = OAuth2PasswordBearer(tokenUrl="auth/token", auto_error=False, scheme_name="Bearer")


async def authenticator(request: Request) -> Authenticator:
    return request.app.state.authenticator  # type: ignore[no-any-return]  # Starlette's State


async def signer(settings: AppSettings) -> TokenSigner:
    return TokenSigner(settings)


async def optional_principal(
    request: Request,
    token: Annotated[str | None, Depends(bearer)],
    authenticate: Annotated[Authenticator, Depends(authenticator)],
) -> Principal | None:
    """The caller, or None for a visitor. A token that is no good is 401 even where none is due."""
    if len(request.headers.getlist("authorization")) > 1:
        raise InvalidToken  # a proxy may have looked at the other one
    if token is None:
        return None
    principal = await authenticate.authenticate(token)
    request.state.user_id = principal.user_id
    return principal


MaybePrincipal = Annotated[Principal | None, Depends(optional_principal)]


async def current_principal(principal: MaybePrincipal) -> Principal:
    if principal is None:
        raise Unauthenticated
    return principal


CurrentPrincipal = Annotated[Principal, Depends(current_principal)]


def require(permission: Permission) -> Callable[..., Coroutine[Any, Any, Principal]]:
    """A dependency that answers 403 to callers who lack the permission."""

    async def permitted(principal: CurrentPrincipal) -> Principal:
        if not principal.may(permission):
            raise Forbidden
        return principal

    return permitted


async def idempotent(
    request: Request,
    principal: MaybePrincipal,
    session: Session,
    settings: AppSettings,
    clock: AppClock,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Makes a repetition safe: the first answer is given again for 24 hours.",
        ),
    ] = None,
) -> None:
    """Claim the request's idempotency key, where it has one."""
    if key is not None:
        await idempotency.claim(
            request,
            session,
            header=key,
            caller=str(principal.user_id) if principal else "anonymous",
            secret=settings.SECRET_KEY.get_secret_value(),
            now=clock(),
        )


Idempotent = Depends(idempotent)


async def account_service(
    session: Session,
    passwords: Passwords,
    token_signer: Annotated[TokenSigner, Depends(signer)],
    clock: AppClock,
) -> AccountService:
    return AccountService(session, passwords, token_signer, clock)


async def account_reader(
    session: ReadSession,
    passwords: Passwords,
    token_signer: Annotated[TokenSigner, Depends(signer)],
    clock: AppClock,
) -> AccountService:
    return AccountService(session, passwords, token_signer, clock)


Accounts = Annotated[AccountService, Depends(account_service)]
AccountsReader = Annotated[AccountService, Depends(account_reader)]
