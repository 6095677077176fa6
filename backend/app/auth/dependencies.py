"""Who is calling, what they may do, and the account service for routes."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Request
from fastapi.security import APIKeyHeader, OAuth2PasswordBearer
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import State

from app.auth.api_key_authenticator import ApiKeyAuthenticator
from app.auth.api_key_service import ApiKeyService
from app.auth.authenticator import Authenticator
from app.auth.errors import InvalidToken, MfaNotSetUp
from app.auth.link_service import LinkService
from app.auth.mfa_service import MfaService
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.auth.privacy_service import PrivacyService
from app.auth.recovery_service import RecoveryService
from app.auth.role_service import RoleService
from app.auth.schemas import Device
from app.auth.second_factor import SecondFactor
from app.auth.service import AccountService
from app.auth.session_service import SessionService
from app.auth.user_service import UserService
from app.core import idempotency
from app.core.dependencies import AppClock
from app.core.errors import Forbidden, Unauthenticated
from app.core.unit_of_work import ReadSession, Session

# The token's URL is completed in the OpenAPI document, once API_V1_STR is known.
bearer = OAuth2PasswordBearer(tokenUrl="auth/token", auto_error=False, scheme_name="Bearer")
api_key = APIKeyHeader(
    name="X-API-Key",
    auto_error=False,
    scheme_name="ApiKey",
    description="A key made with `POST /auth/api-keys`; instead of a token, never next to one.",
)


async def optional_principal(
    request: Request,
    token: Annotated[str | None, Depends(bearer)],
    _: Annotated[str | None, Depends(api_key)],  # for the document: it says nothing of a second one
) -> Principal | None:
    """The caller, or None for a visitor.

    A token or key that is no good is 401 even where none is due. So are two of them, of either
    kind: choosing one would hide in whose name a request acts, and a proxy may have looked at the
    other one. Where API keys are not offered, X-API-Key is a header like any other that a gateway
    may have its own use for.
    """
    state = request.app.state
    sessions: Authenticator = state.authenticator
    api_keys: ApiKeyAuthenticator = state.api_key_authenticator
    keys = request.headers.getlist("x-api-key") if state.settings.API_KEYS_ENABLED else []
    if len(keys) + len(request.headers.getlist("authorization")) > 1:
        raise InvalidToken
    if keys:
        principal = await api_keys.authenticate(keys[0])
        request.state.key_id = principal.key_id
    elif token is not None:
        principal = await sessions.authenticate(token)
    else:
        return None
    request.state.user_id = principal.user_id
    return principal


async def caller(request: Request) -> Principal | None:
    """The same, for who has nothing but the request."""
    return await optional_principal(request, await bearer(request), None)


MaybePrincipal = Annotated[Principal | None, Depends(optional_principal)]


async def myself(principal: MaybePrincipal) -> Principal:
    if principal is None:
        raise Unauthenticated
    return principal


Myself = Annotated[Principal, Depends(myself)]
"""The caller on routes of their own account, also while a required second factor is missing."""


async def current_principal(principal: Myself) -> Principal:
    if principal.lacks_mfa:
        raise MfaNotSetUp
    return principal


CurrentPrincipal = Annotated[Principal, Depends(current_principal)]


async def current_session(principal: Myself) -> UUID:
    """The caller's session. Raises Forbidden: an API key was sent, which has none."""
    if principal.session_id is None:
        raise Forbidden("This needs a login; an API key is not enough.")
    return principal.session_id


CurrentSession = Annotated[UUID, Depends(current_session)]


async def require_session(principal: Myself, _: CurrentSession) -> Principal:
    """A caller who has logged in: what concerns the account itself is no business of a key."""
    return principal


SessionPrincipal = Annotated[Principal, Depends(require_session)]


def require(permission: Permission) -> Callable[..., Coroutine[Any, Any, Principal]]:
    """A dependency that answers 403 to callers who lack the permission, or a second factor."""

    async def permitted(principal: CurrentPrincipal) -> Principal:
        if not principal.may(permission):
            raise Forbidden
        return principal

    return permitted


async def idempotent(
    request: Request,
    principal: MaybePrincipal,
    session: Session,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Makes a repetition safe: the first answer is given again for 24 hours.",
            json_schema_extra={"pattern": idempotency.KEY_PATTERN},
        ),
    ] = None,
) -> None:
    """Claim the request's idempotency key, where it has one."""
    if key is not None:
        state = request.app.state
        await idempotency.claim(
            request,
            session,
            header=key,
            caller=principal.idempotency_caller if principal else "anonymous",
            secret=state.settings.SECRET_KEY.get_secret_value(),
            now=state.clock(),
        )


Idempotent = Depends(idempotent)


async def client_device(request: Request) -> Device:
    """Where the caller seems to be, for the list of sessions."""
    name = request.headers.get("user-agent", "")[:200]
    printable = "".join(char if char.isprintable() else " " for char in name)
    return Device(printable, request.client.host if request.client else "")


CallersDevice = Annotated[Device, Depends(client_device)]


def _sessions(state: State, session: AsyncSession) -> SessionService:
    return SessionService(session, state.signer, state.refresh_tokens, state.clock)


def _links(state: State, session: AsyncSession) -> LinkService:
    delay = state.settings.ACCOUNT_MAIL_DELAY_SECONDS
    return LinkService(session, state.link_tokens, state.clock, mail_delay_seconds=delay)


def _second_factor(state: State, session: AsyncSession) -> SecondFactor:
    return SecondFactor(session, state.totp_secrets, state.clock)


def _accounts(state: State, session: AsyncSession) -> AccountService:
    return AccountService(
        session,
        state.password_hasher,
        _sessions(state, session),
        _second_factor(state, session),
        state.settings,
        _links(state, session),
    )


def _mfa(state: State, session: AsyncSession) -> MfaService:
    return MfaService(
        session,
        state.password_hasher,
        _sessions(state, session),
        state.totp_secrets,
        _second_factor(state, session),
        state.settings,
    )


def _users(state: State, session: AsyncSession) -> UserService:
    return UserService(session, _accounts(state, session), _sessions(state, session))


def _privacy(state: State, session: AsyncSession) -> PrivacyService:
    users = _users(state, session)
    return PrivacyService(session, state.password_hasher, users, state.personal_data, state.clock)


async def session_service(request: Request, session: Session) -> SessionService:
    return _sessions(request.app.state, session)


async def session_reader(request: Request, session: ReadSession) -> SessionService:
    return _sessions(request.app.state, session)


async def account_service(request: Request, session: Session) -> AccountService:
    return _accounts(request.app.state, session)


async def account_reader(request: Request, session: ReadSession) -> AccountService:
    return _accounts(request.app.state, session)


async def recovery_service(request: Request, session: Session) -> RecoveryService:
    state = request.app.state
    accounts, links = _accounts(state, session), _links(state, session)
    return RecoveryService(session, accounts, links, state.address_listeners)


Recovery = Annotated[RecoveryService, Depends(recovery_service)]


async def mfa_service(request: Request, session: Session) -> MfaService:
    return _mfa(request.app.state, session)


async def mfa_reader(request: Request, session: ReadSession) -> MfaService:
    return _mfa(request.app.state, session)


Mfa = Annotated[MfaService, Depends(mfa_service)]
MfaReader = Annotated[MfaService, Depends(mfa_reader)]
Sessions = Annotated[SessionService, Depends(session_service)]
SessionsReader = Annotated[SessionService, Depends(session_reader)]
Accounts = Annotated[AccountService, Depends(account_service)]
AccountsReader = Annotated[AccountService, Depends(account_reader)]


async def role_service(session: Session) -> RoleService:
    return RoleService(session)


async def role_reader(session: ReadSession) -> RoleService:
    return RoleService(session)


async def user_service(request: Request, session: Session) -> UserService:
    return _users(request.app.state, session)


async def user_reader(request: Request, session: ReadSession) -> UserService:
    return _users(request.app.state, session)


Roles = Annotated[RoleService, Depends(role_service)]
RolesReader = Annotated[RoleService, Depends(role_reader)]
Users = Annotated[UserService, Depends(user_service)]
UsersReader = Annotated[UserService, Depends(user_reader)]


async def api_key_service(session: Session, clock: AppClock) -> ApiKeyService:
    return ApiKeyService(session, clock)


async def api_key_reader(session: ReadSession, clock: AppClock) -> ApiKeyService:
    return ApiKeyService(session, clock)


ApiKeys = Annotated[ApiKeyService, Depends(api_key_service)]
ApiKeysReader = Annotated[ApiKeyService, Depends(api_key_reader)]


async def privacy_service(request: Request, session: Session) -> PrivacyService:
    return _privacy(request.app.state, session)


async def privacy_reader(request: Request, session: ReadSession) -> PrivacyService:
    return _privacy(request.app.state, session)


Privacy = Annotated[PrivacyService, Depends(privacy_service)]
PrivacyReader = Annotated[PrivacyService, Depends(privacy_reader)]
