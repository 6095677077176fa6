"""`/auth/verify-email` and `/auth/password`: what mailed links lead to."""

from typing import Annotated

from fastapi import status

from app.auth.dependencies import CurrentPrincipal, Idempotent, Recovery
from app.auth.errors import InvalidToken, LinkExpired, TokenExpired
from app.auth.schemas import Accepted, EmailVerification, PasswordForgotten, PasswordReset
from app.auth.throttling import Throttle, throttled
from app.core.errors import (
    InvalidTransition,
    RateLimited,
    Unauthenticated,
    Unavailable,
    ValidationFailed,
)
from app.core.problems import problems
from app.core.routing import ApiRouter

router = ApiRouter()

_resend_throttled = throttled("email_resend")
_forgot_throttled = throttled("password_forgot")
_reset_throttled = throttled("password_reset")


@router.post(
    "/verify-email",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="auth_verify_email",
    summary="Verify an address with the link that was mailed to it",
    responses=problems(LinkExpired, ValidationFailed, RateLimited),
    dependencies=[throttled("email_verify"), Idempotent],
)
async def verify_email(body: EmailVerification, recovery: Recovery) -> None:
    await recovery.verify_email(body.token.get_secret_value())


@router.post(
    "/verify-email/resend",
    status_code=status.HTTP_202_ACCEPTED,
    operation_id="auth_verify_email_resend",
    summary="Mail another link to verify my address",
    description="The link that was mailed before is dead.",
    responses=problems(
        Unauthenticated,
        InvalidToken,
        TokenExpired,
        InvalidTransition,
        ValidationFailed,
        RateLimited,
    ),
    dependencies=[_resend_throttled, Idempotent],
)
async def resend_verification(
    principal: CurrentPrincipal,
    recovery: Recovery,
    throttle: Annotated[Throttle, _resend_throttled],
) -> Accepted:
    await throttle.admit(str(principal.user_id))
    await recovery.resend_verification(principal)
    return Accepted()


@router.post(
    "/password/forgot",
    status_code=status.HTTP_202_ACCEPTED,
    operation_id="auth_password_forgot",
    summary="Mail a link to set a new password",
    description=(
        "The answer is the same whether or not the address has an account. A link that was mailed "
        "less than 15 minutes ago stays the one, and no second mail follows it."
    ),
    responses=problems(ValidationFailed, RateLimited),
    dependencies=[_forgot_throttled, Idempotent],
)
async def forget_password(
    body: PasswordForgotten,
    recovery: Recovery,
    throttle: Annotated[Throttle, _forgot_throttled],
) -> Accepted:
    await throttle.admit(body.email)
    await recovery.forget_password(body.email)
    return Accepted()


@router.post(
    "/password/reset",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="auth_password_reset",
    summary="Set a new password with the link that was mailed",
    description=(
        "Logs out everywhere. Logins from here are possible from now on, even while too many "
        "failures elsewhere have the account locked."
    ),
    responses=problems(LinkExpired, ValidationFailed, RateLimited, Unavailable),
    dependencies=[_reset_throttled, Idempotent],
)
async def reset_password(
    body: PasswordReset, recovery: Recovery, throttle: Annotated[Throttle, _reset_throttled]
) -> None:
    email = await recovery.reset_password(
        body.token.get_secret_value(), body.new_password.get_secret_value()
    )
    await throttle.proved(email)
