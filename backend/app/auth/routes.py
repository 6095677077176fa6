"""`/auth`: accounts and tokens."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Form, Response, status
from fastapi.responses import JSONResponse
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import TypeAdapter, ValidationError

from app.auth.dependencies import (
    Accounts,
    AccountsReader,
    CallersDevice,
    CurrentSession,
    Idempotent,
    Myself,
    Privacy,
    PrivacyReader,
    SessionPrincipal,
    Sessions,
    SessionsReader,
)
from app.auth.errors import (
    AccountDisabled,
    EmailDomainNotAllowed,
    InvalidCode,
    InvalidCredentials,
    InvalidToken,
    MfaRequired,
    TokenExpired,
)
from app.auth.link_routes import router as links
from app.auth.schemas import (
    Accepted,
    Code,
    EmailAddress,
    Erasure,
    Login,
    PasswordChange,
    PersonalExport,
    ProfilePatch,
    Refresh,
    SessionOut,
    Signup,
    Tokens,
    UserOut,
)
from app.auth.throttling import Throttle, throttled
from app.core.dependencies import AppSettings
from app.core.errors import (
    AlreadyExists,
    Forbidden,
    InUse,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
    ValidationFailed,
    VersionMismatch,
)
from app.core.pagination import Page, everything
from app.core.preconditions import Precondition, etag
from app.core.problems import problems
from app.core.routing import ApiRouter

router = ApiRouter(prefix="/auth", tags=["auth"])

_address: TypeAdapter[str] = TypeAdapter(EmailAddress)
_login_problems = problems(
    InvalidCredentials,
    MfaRequired,
    InvalidCode,
    AccountDisabled,
    ValidationFailed,
    RateLimited,
    Unavailable,
)
_token_problems = problems(Unauthenticated, InvalidToken, TokenExpired)
_signup_throttled = throttled("signup")
_LoginThrottle = Annotated[Throttle, throttled("login")]
_session_problems = problems(Unauthenticated, InvalidToken, TokenExpired, Forbidden)


@router.post(
    "/signup",
    status_code=status.HTTP_201_CREATED,
    operation_id="auth_signup",
    summary="Create an account",
    description=(
        "Where `EMAIL_ENUMERATION_PROTECTION` is on, the answer is 202 whether or not the address "
        "had an account already, and a mail says the rest."
    ),
    response_model=UserOut,
    responses={
        **problems(
            AlreadyExists, EmailDomainNotAllowed, ValidationFailed, RateLimited, Unavailable
        ),
        status.HTTP_202_ACCEPTED: {"model": Accepted, "description": "A mail says the rest."},
    },
    dependencies=[_signup_throttled, Idempotent],
)
async def sign_up(
    signup: Signup,
    accounts: Accounts,
    settings: AppSettings,
    throttle: Annotated[Throttle, _signup_throttled],
    response: Response,
) -> UserOut | Response:
    await throttle.admit(signup.email)
    if settings.hides_accounts:
        await accounts.sign_up_discreetly(signup)
        return JSONResponse(Accepted().model_dump(), status.HTTP_202_ACCEPTED)
    user = await accounts.sign_up(signup)
    response.headers["ETag"] = etag(user.version)
    return user


@router.post(
    "/login",
    operation_id="auth_login",
    summary="Exchange address and password for tokens",
    description=(
        "Where the account has a second factor, the right password alone is answered 401 "
        "`mfa_required`: send the same again with a `code`, of the app or for recovery."
    ),
    responses=_login_problems,
)
async def log_in(
    login: Login, accounts: Accounts, device: CallersDevice, throttle: _LoginThrottle
) -> Tokens:
    code = login.code.get_secret_value() if login.code else None
    password = login.password.get_secret_value()
    async with throttle.attempt(login.email):
        return await accounts.log_in(login.email, password, device, code=code)


@router.post(
    "/token",
    operation_id="auth_token",
    summary="The same as an OAuth2 password form",
    description=(
        "The code of a second factor goes into the field `code`, which OAuth2 does not know; so "
        "Swagger's Authorize button serves accounts without one."
    ),
    responses=_login_problems,
)
async def token(
    form: Annotated[OAuth2PasswordRequestForm, Depends()],
    accounts: Accounts,
    device: CallersDevice,
    throttle: _LoginThrottle,
    code: Annotated[Code | None, Form()] = None,
) -> Tokens:
    try:
        email = _address.validate_python(form.username)
    except ValidationError:
        raise InvalidCredentials from None
    given = code.get_secret_value() if code else None
    async with throttle.attempt(email):
        return await accounts.log_in(email, form.password, device, code=given)


@router.post(
    "/refresh",
    operation_id="auth_refresh",
    summary="Exchange a refresh token for the next pair",
    description=(
        "The old one dies. Presented again within 10 seconds it gives the same successor; later "
        "than that it was stolen, and the whole session ends."
    ),
    responses=problems(InvalidToken, ValidationFailed, RateLimited),
    dependencies=[throttled("refresh")],
)
async def refresh(body: Refresh, sessions: Sessions) -> Tokens:
    return await sessions.refresh(body.refresh_token.get_secret_value())


@router.post(
    "/logout",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="auth_logout",
    summary="Log out here",
    responses=_session_problems,
)
async def log_out(
    principal: SessionPrincipal, session_id: CurrentSession, sessions: Sessions
) -> None:
    await sessions.leave(principal, session_id)


@router.post(
    "/logout-all",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="auth_logout_all",
    summary="Log out everywhere",
    responses=_session_problems,
)
async def log_out_everywhere(principal: SessionPrincipal, sessions: Sessions) -> None:
    await sessions.end_all(principal.user_id, principal.actor, "logout")


@router.get(
    "/sessions",
    operation_id="auth_sessions_list",
    summary="Where I am logged in",
    responses=_session_problems,
)
async def list_sessions(principal: SessionPrincipal, sessions: SessionsReader) -> Page[SessionOut]:
    return everything(await sessions.list_sessions(principal))


@router.delete(
    "/sessions/{session_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="auth_sessions_end",
    summary="Log out on one device",
    responses=problems(
        Unauthenticated, InvalidToken, TokenExpired, Forbidden, NotFound, ValidationFailed
    ),
)
async def end_session(session_id: UUID, principal: SessionPrincipal, sessions: Sessions) -> None:
    await sessions.end(principal, session_id)


@router.get("/me", operation_id="auth_me", summary="My account", responses=_token_problems)
async def me(principal: Myself, accounts: AccountsReader, response: Response) -> UserOut:
    user = await accounts.profile(principal.user_id)
    response.headers["ETag"] = etag(user.version)
    return user


@router.patch(
    "/me",
    operation_id="auth_me_update",
    summary="Change my profile",
    responses=problems(
        Unauthenticated, InvalidToken, TokenExpired, Forbidden, VersionMismatch, ValidationFailed
    ),
)
async def update_me(
    patch: ProfilePatch,
    principal: SessionPrincipal,
    accounts: Accounts,
    seen: Precondition,
    response: Response,
) -> UserOut:
    user = await accounts.change_profile(patch, seen, principal)
    response.headers["ETag"] = etag(user.version)
    return user


@router.post(
    "/me/password",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="auth_me_password",
    summary="Change my password",
    description="Logs out everywhere else.",
    responses=problems(
        Unauthenticated,
        InvalidToken,
        TokenExpired,
        InvalidCredentials,
        Forbidden,
        ValidationFailed,
        RateLimited,
        Unavailable,
    ),
    dependencies=[Idempotent],
)
async def change_password(
    change: PasswordChange,
    principal: SessionPrincipal,
    accounts: Accounts,
    throttle: Annotated[Throttle, throttled("password_check")],
) -> None:
    async with throttle.attempt(str(principal.user_id)):
        await accounts.change_password(change, principal)


@router.get(
    "/me/export",
    operation_id="auth_me_export",
    summary="All data about me",
    responses=_session_problems,
)
async def export_me(principal: SessionPrincipal, privacy: PrivacyReader) -> PersonalExport:
    return await privacy.export(principal)


@router.delete(
    "/me",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="auth_me_erase",
    summary="Erase my account",
    description=(
        "For good, with all that is personal, also in the log. Bookings stay, anonymous, and keep "
        "their time: cancel first those that are not wanted any more."
    ),
    responses=problems(
        Unauthenticated,
        InvalidToken,
        TokenExpired,
        InvalidCredentials,
        Forbidden,
        InUse,
        VersionMismatch,
        ValidationFailed,
        RateLimited,
        Unavailable,
    ),
)
async def erase_me(
    erasure: Erasure,
    principal: SessionPrincipal,
    privacy: Privacy,
    seen: Precondition,
    throttle: Annotated[Throttle, throttled("password_check")],
) -> None:
    async with throttle.attempt(str(principal.user_id)):
        await privacy.erase_own(erasure.password.get_secret_value(), seen, principal)


router.include_router(links)
