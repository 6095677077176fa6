"""Access tokens. The only file that touches python-jose, whose defaults accept too much.

What jose does not insist on is insisted on here: one algorithm, a bounded size, every claim
present and of its type, the audience of this environment and the kind of token (RFC 8725).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from jose import jwt

from app.auth.errors import InvalidToken, TokenExpired
from app.config import Settings
from app.core.ids import new_id

ISSUER = "oneslot"
ACCESS = "access"
_MAXIMUM_TOKEN_BYTES = 2048
_REQUIRED = ("sub", "jti", "aud", "iss")
_CLOCK_SKEW_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Claims:
    user_id: UUID
    token_version: int


class TokenSigner:
    """Issues and reads access tokens with one key and one algorithm."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.SECRET_KEY.get_secret_value()
        self._algorithm = settings.ALGORITHM
        self._audience = f"{ISSUER}:{settings.ENVIRONMENT}"
        self.lifetime = timedelta(minutes=settings.ACCESS_TOKEN_EXPIRE_MINUTES)

    def issue(self, claims: Claims, now: datetime) -> str:
        return jwt.encode(
            {
                "iss": ISSUER,
                "aud": self._audience,
                "sub": str(claims.user_id),
                "jti": new_id().hex,
                "iat": now,
                "nbf": now,
                "exp": now + self.lifetime,
                "kind": ACCESS,
                "ver": claims.token_version,
            },
            self._key,
            algorithm=self._algorithm,
        )

    def read(self, token: str, now: datetime) -> Claims:
        """The claims of an access token that is valid at `now`.

        Raises:
            TokenExpired: it was valid once.
            InvalidToken: anything else is wrong with it.
        """
        if not self._key or len(token.encode(errors="replace")) > _MAXIMUM_TOKEN_BYTES:
            raise InvalidToken
        try:
            payload = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                audience=self._audience,
                issuer=ISSUER,
                # Times are compared below, by the application's clock instead of jose's.
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    **{f"require_{name}": True for name in _REQUIRED},
                },
            )
            return _claims(payload, int(now.timestamp()))
        except TokenExpired:
            raise
        except Exception:  # noqa: BLE001 - jose raises RecursionError, KeyError and more on junk
            raise InvalidToken from None


def _claims(payload: dict[str, Any], now: int) -> Claims:
    times = [payload["exp"], payload["nbf"], payload["iat"]]
    if payload["kind"] != ACCESS or any(type(n) is not int for n in (*times, payload["ver"])):
        raise InvalidToken
    expires, not_before, issued = times
    if max(not_before, issued) > now + _CLOCK_SKEW_SECONDS:
        raise InvalidToken
    if expires <= now:
        raise TokenExpired
    return Claims(UUID(payload["sub"]), payload["ver"])
