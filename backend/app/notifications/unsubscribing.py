"""The links with which a person ends the mails of a kind, without logging in (RFC 8058)."""

import base64
import binascii
import hashlib
import hmac
from typing import Final
from uuid import UUID

from app.config import Settings

_ID_BYTES: Final = 16
_MAC_BYTES: Final = 16


class UnsubscribeTokens:
    """A token names a mail that was sent, and can be made by us alone."""

    def __init__(self, settings: Settings) -> None:
        key = settings.SECRET_KEY.get_secret_value().encode()
        self._key = hmac.digest(key, b"unsubscribe", hashlib.sha256)
        self._address_key = hmac.digest(key, b"unreminded address", hashlib.sha256)

    def token(self, notification_id: UUID) -> str:
        named = notification_id.bytes + self._mac(notification_id)
        return base64.urlsafe_b64encode(named).rstrip(b"=").decode()

    def named(self, token: str) -> UUID | None:
        """The mail that a token names; None: it is none of ours."""
        try:
            given = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(given) != _ID_BYTES + _MAC_BYTES:
            return None
        notification_id = UUID(bytes=given[:_ID_BYTES])
        is_ours = hmac.compare_digest(given[_ID_BYTES:], self._mac(notification_id))
        return notification_id if is_ours else None

    def digest(self, address: str) -> bytes:
        """An address as it is kept of who wants no more reminders."""
        return hmac.digest(self._address_key, address.lower().encode(), hashlib.sha256)

    def _mac(self, notification_id: UUID) -> bytes:
        return hmac.digest(self._key, notification_id.bytes, hashlib.sha256)[:_MAC_BYTES]
