"""Who are you, and may you.

Unauthenticated
├── InvalidToken         401 invalid_token
│   └── SessionRevoked   the same, and the session ends with it
├── TokenExpired         401 token_expired
├── InvalidCredentials   401 invalid_credentials
├── MfaRequired          401 mfa_required (told only to who proved the password)
└── InvalidCode          401 invalid_code (the same)
Forbidden
├── AccountDisabled          403 account_disabled (told only to who proved the password)
├── EmailDomainNotAllowed    403 email_domain_not_allowed
└── MfaNotSetUp              403 forbidden, with the reason `mfa_required`
Unprocessable
└── TooManyApiKeys       422 policy_violation, with reason `too_many_api_keys`
LinkExpired              410 link_expired
CodesLocked              429 rate_limited
"""

import math
from datetime import timedelta

from app.core.errors import AppError, Forbidden, RateLimited, Unauthenticated, Unprocessable


class InvalidToken(Unauthenticated):
    code, title = "invalid_token", "The token is not valid."


class SessionRevoked(InvalidToken):
    """A spent refresh token came back: it was stolen, or its thief was faster. Nobody keeps it."""

    keeps_work = True


class TokenExpired(Unauthenticated):
    code, title = "token_expired", "The token has expired."


class InvalidCredentials(Unauthenticated):
    code, title = "invalid_credentials", "The address or the password is wrong."


class MfaRequired(Unauthenticated):
    code, title = "mfa_required", "A code of the second factor is needed as well."


class InvalidCode(Unauthenticated):
    code, title = "invalid_code", "The code is wrong, or was used already."
    keeps_work = True  # the failure is counted


class AccountDisabled(Forbidden):
    code, title = "account_disabled", "This account has been disabled."


class EmailDomainNotAllowed(Forbidden):
    code, title = "email_domain_not_allowed", "Addresses of this domain are not admitted."


class TooManyApiKeys(Unprocessable):
    code, title = "policy_violation", "Nobody may have more API keys; revoke one first."

    def __init__(self) -> None:
        super().__init__(reason="too_many_api_keys")


class LinkExpired(AppError):
    status, code, title = 410, "link_expired", "The link has expired."


class MfaNotSetUp(Forbidden):
    """Told to who has all it takes, but for the second factor that REQUIRE_MFA_FOR_ADMINS asks."""

    def __init__(self) -> None:
        super().__init__(
            "This account needs a second factor: set it up at /auth/mfa/totp.",
            reason="mfa_required",
        )


class CodesLocked(RateLimited):
    """Too many wrong codes: none is accepted for another `wait`.

    The policy: `attempts` wrong ones, then `window` without any.
    """

    def __init__(self, wait: timedelta, *, attempts: int, window: timedelta) -> None:
        seconds = math.ceil(wait.total_seconds())
        super().__init__(
            "Too many wrong codes.",
            headers={
                "Retry-After": str(seconds),
                "RateLimit": f'"mfa";r=0;t={seconds}',
                "RateLimit-Policy": f'"mfa";q={attempts};w={window.seconds}',
            },
        )
