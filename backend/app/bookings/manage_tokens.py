"""The tokens with which guests manage their bookings.

A token is derived from its booking's row, with a key that is not in the database: so a job that
carries the booking's id can write it into a mail, while neither the queue nor the table holds it. A
new salt makes a new token, and ends the one before.
"""

import base64
import hashlib
import hmac
import secrets
from uuid import UUID

from app.config import Settings

_SALT_BYTES = 32


class ManageTokens:
    """Derives 256-bit tokens: from the row alone, or from the key alone, nobody can."""

    def __init__(self, settings: Settings) -> None:
        key = settings.SECRET_KEY.get_secret_value().encode()
        self._key = hmac.digest(key, b"manage a booking", hashlib.sha256)

    def derive(self, booking_id: UUID, salt: bytes) -> str:
        digest = hmac.digest(self._key, booking_id.bytes + salt, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def new_columns(self, booking_id: UUID) -> dict[str, bytes]:
        """What a booking keeps of a new token."""
        salt = secrets.token_bytes(_SALT_BYTES)
        return {
            "manage_salt": salt,
            "manage_digest": self.digest(self.derive(booking_id, salt)),
        }

    def digest(self, token: str) -> bytes:
        return hashlib.sha256(token.encode(errors="replace")).digest()
