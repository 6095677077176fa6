"""Signatures as Standard Webhooks has them (https://www.standardwebhooks.com), and their secrets.

A secret is needed again for each message, so it is sealed and not hashed: a copy of the database
is not enough to sign.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from app.config import Settings
from app.core.sealing import seal, unseal

_PREFIX = "whsec_"
_BYTES = 32


class WebhookSecrets:
    """Makes, seals and opens the secrets that receivers share with us."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.SECRET_KEY.get_secret_value()

    def new(self) -> str:
        return _PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()

    def seal(self, secret: str, webhook_id: UUID) -> bytes:
        return seal(secret.encode(), secret=self._secret, purpose=_purpose(webhook_id))

    def unseal(self, sealed: bytes, webhook_id: UUID) -> str | None:
        """The secret; None if another SECRET_KEY, or for another webhook, sealed it."""
        opened = unseal(sealed, secret=self._secret, purpose=_purpose(webhook_id))
        return None if opened is None else opened.decode()


def signed(
    message_id: UUID, body: bytes, *, at: datetime, secrets_in_use: Iterable[str]
) -> dict[str, str]:
    """The headers of a message: who knows any of the secrets can tell that it is ours, and new."""
    timestamp = str(int(at.timestamp()))
    content = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": str(message_id),
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(content, secret) for secret in secrets_in_use),
    }


def _signature(content: bytes, secret: str) -> str:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def _purpose(webhook_id: UUID) -> bytes:
    return b"webhook secret" + webhook_id.bytes
