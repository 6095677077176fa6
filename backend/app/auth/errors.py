"""Who are you, and may you.

Unauthenticated
├── InvalidToken         401 invalid_token
├── TokenExpired         401 token_expired
└── InvalidCredentials   401 invalid_credentials
Forbidden
└── AccountDisabled      403 account_disabled (told only to who proved the password)
"""

from app.core.errors import Forbidden, Unauthenticated


class InvalidToken(Unauthenticated):
    code, title = "invalid_token", "The token is not valid."


class TokenExpired(Unauthenticated):
    code, title = "token_expired", "The token has expired."


class InvalidCredentials(Unauthenticated):
    code, title = "invalid_credentials", "The address or the password is wrong."


class AccountDisabled(Forbidden):
    code, title = "account_disabled", "This account has been disabled."
