"""The tokens in mailed links.

A token is derived from its row, with a key that is not in the database: so a job that carries the
row's id can write it into a mail, while neither the queue nor the table holds it. The address is
part of it: when an account's address changes, the links that went to the old one are dead.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import timedelta
from uuid import UUID

from app.auth.models import Purpose
from app.config import Settings

LIFETIMES = {
    Purpose.VERIFY_EMAIL: timedelta(hours=1),
    Purpose.RESET_PASSWORD: timedelta(minutes=30),
}
RESET_MAIL_PAUSE = timedelta(minutes=15)
"""No second link is mailed so soon after the first, which is good for as long again by then."""

_SALT_BYTES = 32


class LinkTokens:
    """Derives 256-bit tokens: from the row alone, or from the key alone, nobody can."""

    def __init__(self, settings: Settings) -> None:
        key = settings.SECRET_KEY.get_secret_value().encode()
        self._key = hmac.digest(key, b"one-time link", hashlib.sha256)

    def new_salt(self) -> bytes:
        return secrets.token_bytes(_SALT_BYTES)

    def derive(self, purpose: Purpose, token_id: UUID, salt: bytes, email: str) -> str:
        what = b"\0".join((purpose.encode(), token_id.bytes + salt, email.encode()))
        digest = hmac.digest(self._key, what, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def digest(self, token: str) -> bytes:
        return hashlib.sha256(token.encode()).digest()
