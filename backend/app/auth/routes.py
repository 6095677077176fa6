"""`/auth`: accounts and tokens."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response, status
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import TypeAdapter, ValidationError

from app.auth.dependencies import Accounts, AccountsReader, CurrentPrincipal, Idempotent
from app.auth.errors import AccountDisabled, InvalidCredentials, InvalidToken, TokenExpired
from app.auth.schemas import AccessToken, EmailAddress, Login, Signup, UserOut
from app.core.errors import AlreadyExists, Unauthenticated, Unavailable, ValidationFailed
from app.core.preconditions import etag
from app.core.problems import problems
from app.core.routing import ApiRoute

router = APIRouter(prefix="/auth", tags=["auth"], route_class=ApiRoute)

_address: TypeAdapter[str] = TypeAdapter(EmailAddress)
_login_problems = problems(InvalidCredentials, AccountDisabled, ValidationFailed, Unavailable)


@router.post(
    "/signup",
    status_code=status.HTTP_201_CREATED,
    operation_id="auth_signup",
    summary="Create an account",
    responses=problems(AlreadyExists, ValidationFailed, Unavailable),
    dependencies=[Idempotent],
)
async def sign_up(signup: Signup, accounts: Accounts, response: Response) -> UserOut:
    user = await accounts.sign_up(signup)
    response.headers["ETag"] = etag(user.version)
    return user


@router.post(
    "/login",
    operation_id="auth_login",
    summary="Exchange address and password for a token",
    responses=_login_problems,
)
async def log_in(login: Login, accounts: AccountsReader) -> AccessToken:
    return await accounts.log_in(login.email, login.password.get_secret_value())


@router.post(
    "/token",
    operation_id="auth_token",
    summary="The same as an OAuth2 password form",
    responses=_login_problems,
)
async def token(
    form: Annotated[OAuth2PasswordRequestForm, Depends()], accounts: AccountsReader
) -> AccessToken:
    try:
        email = _address.validate_python(form.username)
    except ValidationError:
        raise InvalidCredentials from None
    return await accounts.log_in(email, form.password)


@router.get(
    "/me",
    operation_id="auth_me",
    summary="My account",
    responses=problems(Unauthenticated, InvalidToken, TokenExpired),
)
async def me(principal: CurrentPrincipal, accounts: AccountsReader, response: Response) -> UserOut:
    user = await accounts.profile(principal.user_id)
    response.headers["ETag"] = etag(user.version)
    return user
