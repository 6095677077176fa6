"""Access and refresh tokens. The only file that touches python-jose, whose defaults accept much.

What jose does not insist on is insisted on here: one algorithm, a bounded size, every claim
present and of its type, the audience of this environment and the kind of token (RFC 8725).
"""

import base64
import hashlib
import hmac
import secrets
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
_REMEMBERED_TOKENS = 10_000


@dataclass(frozen=True, slots=True)
class Claims:
    user_id: UUID
    session_id: UUID


class TokenSigner:
    """Issues and reads access tokens with one key and one algorithm."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.SECRET_KEY.get_secret_value()
        self._algorithm = settings.ALGORITHM
        self._audience = f"{ISSUER}:{settings.ENVIRONMENT}"
        self.lifetime = timedelta(minutes=settings.ACCESS_TOKEN_EXPIRE_MINUTES)
        # By digests: what is read from memory is no token. A signature takes longer to check than
        # all else that a request needs, and the limits ask whose it is before the route does.
        self._verified: dict[bytes, _Verified] = {}

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
                "sid": str(claims.session_id),
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
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        verified = self._verified.get(digest)
        if verified is None:
            verified = self._verify(token)
            self._remember(digest, verified)
        return verified.claims_at(int(now.timestamp()))

    def _verify(self, token: str) -> "_Verified":
        if not self._key or len(token.encode(errors="replace")) > _MAXIMUM_TOKEN_BYTES:
            raise InvalidToken
        try:
            payload = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                audience=self._audience,
                issuer=ISSUER,
                # Times are compared whenever it is presented, by the application's clock.
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    **{f"require_{name}": True for name in _REQUIRED},
                },
            )
            return _verified(payload)
        except Exception:  # noqa: BLE001 - jose raises RecursionError, KeyError and more on junk
            raise InvalidToken from None

    def _remember(self, digest: bytes, verified: "_Verified") -> None:
        if len(self._verified) >= _REMEMBERED_TOKENS:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = verified


@dataclass(frozen=True, slots=True)
class _Verified:
    """What a genuine token says; whether it holds depends on the time."""

    claims: Claims
    begins: int
    expires: int

    def claims_at(self, now: int) -> Claims:
        if self.begins > now + _CLOCK_SKEW_SECONDS:
            raise InvalidToken
        if self.expires <= now:
            raise TokenExpired
        return self.claims


def _verified(payload: dict[str, Any]) -> _Verified:
    times = [payload["exp"], payload["nbf"], payload["iat"]]
    if payload["kind"] != ACCESS or any(type(time) is not int for time in times):
        raise InvalidToken
    expires, not_before, issued = times
    claims = Claims(UUID(payload["sub"]), UUID(payload["sid"]))
    return _Verified(claims, max(not_before, issued), expires)


class RefreshTokens:
    """Opaque tokens that rotate (RFC 9700, 4.14.2). The database keeps digests only.

    A successor is derived from its predecessor with a key that is not in the database. So all who
    present the same token at the same moment, as the tabs of a browser do, get the same successor.
    """

    def __init__(self, settings: Settings) -> None:
        key = settings.SECRET_KEY.get_secret_value().encode()
        self._key = hmac.digest(key, b"refresh token", hashlib.sha256)
        self.lifetime = timedelta(days=settings.REFRESH_TOKEN_EXPIRE_DAYS)

    def new(self) -> str:
        return secrets.token_urlsafe(32)

    def successor(self, token: str) -> str:
        digest = hmac.digest(self._key, token.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def digest(self, token: str) -> bytes:
        return hashlib.sha256(token.encode()).digest()
