"""Encryption of secrets that have to be read again: authenticated, and bound to a purpose.

The key is derived from SECRET_KEY, which is not in the database: a copy of the database is not
enough to read them. Whoever changes SECRET_KEY makes them unreadable.

The only file that touches cryptography.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def seal(content: bytes, *, secret: str, purpose: bytes) -> bytes:
    """Encrypt for this purpose; what is copied to where another one is meant is junk there."""
    return _cipher(secret, purpose).encrypt(content)


def unseal(sealed: bytes, *, secret: str, purpose: bytes) -> bytes | None:
    """The content; None if another key, or for another purpose, sealed it."""
    try:
        return _cipher(secret, purpose).decrypt(sealed)
    except InvalidToken:
        return None


def _cipher(secret: str, purpose: bytes) -> Fernet:
    derivation = HKDF(SHA256(), length=32, salt=None, info=purpose)
    return Fernet(base64.urlsafe_b64encode(derivation.derive(secret.encode())))
