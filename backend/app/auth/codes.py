"""What a second factor is made of: TOTP secrets (RFC 6238) and recovery codes.

The only file that touches pyotp. A password is kept as a hash, for it is only compared; a TOTP
secret computes the code that is expected, so it has to be read again and is sealed instead (see
`core/sealing.py`). Whoever changes SECRET_KEY makes the secrets unreadable: people then log in with
a recovery code, which does not depend on it, and set up their second factor anew.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime
from uuid import UUID

import pyotp

from app.config import Settings
from app.core.sealing import seal, unseal

RECOVERY_CODES = 10
DRIFT_STEPS = 1
"""Steps of 30 s by which a phone's clock may be wrong, in either direction (RFC 6238, 5.2)."""

_DIGITS = 6
_RECOVERY_BYTES = 15
_GROUP = 6


class TotpSecrets:
    """Makes, seals and opens the secrets that authenticator apps share with us."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.SECRET_KEY.get_secret_value()
        self._issuer = settings.PROJECT_NAME

    def new(self) -> str:
        """160 random bits in base32, as RFC 4226 (4, R6) recommends."""
        return pyotp.random_base32(length=32)

    def uri(self, secret: str, email: str) -> str:
        """What the QR code says that authenticator apps read."""
        return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=self._issuer)

    def seal(self, secret: str, user_id: UUID) -> bytes:
        return seal(secret.encode(), secret=self._secret, purpose=_purpose(user_id))

    def unseal(self, sealed: bytes, user_id: UUID) -> str | None:
        """The secret; None if another key, or another account's, sealed it."""
        secret = unseal(sealed, secret=self._secret, purpose=_purpose(user_id))
        return None if secret is None else secret.decode()


def _purpose(user_id: UUID) -> bytes:
    """A key for each account."""
    return b"totp secret" + user_id.bytes


def typed(code: str) -> str:
    """A code without what people and apps put between its characters: `123 456`, `ABCD-EFGH`."""
    return code.replace(" ", "").replace("-", "").lower()


def is_totp(code: str) -> bool:
    """Whether it looks like an app's code. Recovery codes are longer, so none is taken for one."""
    return len(code) == _DIGITS and code.isascii() and code.isdigit()


def matching_step(secret: str, code: str, now: datetime) -> int | None:
    """The time step whose code this is, of those that are valid at `now`; the latest if several."""
    totp = pyotp.TOTP(secret, digits=_DIGITS)
    current = totp.timecode(now)
    steps = range(current - DRIFT_STEPS, current + DRIFT_STEPS + 1)
    # All are compared, so that the time it takes does not tell which one it was.
    matches = [step for step in steps if hmac.compare_digest(totp.generate_otp(step), code)]
    return max(matches, default=None)


def new_recovery_codes() -> list[str]:
    """Ten codes of 120 random bits: `abcdef-ghijkl-mnopqr-stuvwx`."""
    return [_grouped(secrets.token_bytes(_RECOVERY_BYTES)) for _ in range(RECOVERY_CODES)]


def _grouped(random: bytes) -> str:
    text = base64.b32encode(random).decode().lower()
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def recovery_digest(code: str) -> bytes:
    """As the database keeps it. With 112 bits and more, a plain hash does (NIST SP 800-63B, 3.1.2).

    What nobody was ever given (other scripts, lone surrogates) gets a digest too, and matches none.
    """
    return hashlib.sha256(typed(code).encode(errors="replace")).digest()
