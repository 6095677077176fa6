"""`/auth/mfa`: the second factor of one's own account.

The answers to these POSTs hold secrets that are shown once. An idempotency key would keep them in
the database as they are, which hashing and sealing is there to prevent; so none is taken. A client
that lost an answer starts again: only the last secret, and the last recovery codes, count.
"""

from typing import Annotated

from fastapi import status

from app.auth.dependencies import Mfa, MfaReader, SessionPrincipal
from app.auth.errors import (
    InvalidCode,
    InvalidCredentials,
    InvalidToken,
    TokenExpired,
)
from app.auth.mfa_schemas import (
    MfaOut,
    MfaProof,
    RecoveryCodesOut,
    TotpConfirmation,
    TotpStart,
    TotpStarted,
)
from app.auth.throttling import Throttle, throttled
from app.core.errors import (
    AlreadyExists,
    Forbidden,
    InvalidTransition,
    RateLimited,
    Unauthenticated,
    Unavailable,
    ValidationFailed,
)
from app.core.problems import problems
from app.core.routing import ApiRouter

router = ApiRouter(prefix="/auth/mfa", tags=["auth"])

_PasswordThrottle = Annotated[Throttle, throttled("password_check")]
_token_problems = (Unauthenticated, InvalidToken, TokenExpired, Forbidden)
_proof_problems = problems(
    *_token_problems,
    InvalidCredentials,
    InvalidCode,
    InvalidTransition,
    ValidationFailed,
    RateLimited,
    Unavailable,
)


@router.get(
    "",
    operation_id="auth_mfa_get",
    summary="The state of my second factor",
    responses=problems(*_token_problems),
)
async def show_mfa(principal: SessionPrincipal, mfa: MfaReader) -> MfaOut:
    return await mfa.state(principal)


@router.post(
    "/totp",
    operation_id="auth_mfa_totp_start",
    summary="Start to set up an authenticator app",
    description="Gives the secret, once. It counts when a code confirms it.",
    responses=problems(
        *_token_problems,
        InvalidCredentials,
        AlreadyExists,
        ValidationFailed,
        RateLimited,
        Unavailable,
    ),
)
async def start_totp(
    start: TotpStart, principal: SessionPrincipal, mfa: Mfa, throttle: _PasswordThrottle
) -> TotpStarted:
    async with throttle.attempt(str(principal.user_id)):
        return await mfa.start(start.password.get_secret_value(), principal)


@router.post(
    "/totp/confirm",
    operation_id="auth_mfa_totp_confirm",
    summary="Confirm the authenticator app with its first code",
    description="Gives ten recovery codes, once, and logs out everywhere else.",
    responses=problems(
        *_token_problems,
        InvalidCode,
        AlreadyExists,
        InvalidTransition,
        ValidationFailed,
        RateLimited,
    ),
)
async def confirm_totp(
    confirmation: TotpConfirmation, principal: SessionPrincipal, mfa: Mfa
) -> RecoveryCodesOut:
    return await mfa.confirm(confirmation.code.get_secret_value(), principal)


@router.post(
    "/recovery-codes",
    operation_id="auth_mfa_recovery_codes_renew",
    summary="Get new recovery codes",
    description="Gives ten, once. The old ones are worth nothing any more.",
    responses=_proof_problems,
)
async def renew_recovery_codes(
    proof: MfaProof, principal: SessionPrincipal, mfa: Mfa, throttle: _PasswordThrottle
) -> RecoveryCodesOut:
    async with throttle.attempt(str(principal.user_id)):
        return await mfa.renew_recovery_codes(proof, principal)


@router.delete(
    "",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="auth_mfa_disable",
    summary="Remove my second factor",
    responses=_proof_problems,
)
async def disable_mfa(
    proof: MfaProof, principal: SessionPrincipal, mfa: Mfa, throttle: _PasswordThrottle
) -> None:
    async with throttle.attempt(str(principal.user_id)):
        await mfa.disable(proof, principal)
