"""Who are you, and may you.

Unauthenticated
├── InvalidToken         401 invalid_token
│   └── SessionRevoked   the same, and the session ends with it
├── TokenExpired         401 token_expired
└── InvalidCredentials   401 invalid_credentials
Forbidden
├── AccountDisabled          403 account_disabled (told only to who proved the password)
└── EmailDomainNotAllowed    403 email_domain_not_allowed
Unprocessable
└── TooManyApiKeys       422 policy_violation, with reason `too_many_api_keys`
LinkExpired              410 link_expired
"""

from app.core.errors import AppError, Forbidden, Unauthenticated, Unprocessable


class InvalidToken(Unauthenticated):
    code, title = "invalid_token", "The token is not valid."


class SessionRevoked(InvalidToken):
    """A spent refresh token came back: it was stolen, or its thief was faster. Nobody keeps it."""

    keeps_work = True


class TokenExpired(Unauthenticated):
    code, title = "token_expired", "The token has expired."


class InvalidCredentials(Unauthenticated):
    code, title = "invalid_credentials", "The address or the password is wrong."


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
