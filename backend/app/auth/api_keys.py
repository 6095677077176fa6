"""What an API key looks like: `osk_<prefix>_<secret>`.

The prefix identifies and may be shown; the secret proves. Only a digest of the whole is kept. It is
a plain SHA-256, since the secret is 256 random bits: slow hashes protect what people choose, which
can be guessed, and would only make each request slower here (NIST SP 800-63B on look-up secrets: an
approved hash is enough from 112 bits on).
"""

import hashlib
import re
import secrets
from dataclasses import dataclass, field

from app.auth.errors import InvalidToken

_PREFIX_BYTES = 6
_SECRET_BYTES = 32
_KEY = re.compile(
    rf"(?P<prefix>osk_[0-9a-f]{{{_PREFIX_BYTES * 2}}})_[0-9a-f]{{{_SECRET_BYTES * 2}}}"
)


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """A well-formed key, by its prefix and the digest of the whole."""

    prefix: str
    digest: bytes = field(repr=False)


def new_key() -> str:
    return f"osk_{secrets.token_hex(_PREFIX_BYTES)}_{secrets.token_hex(_SECRET_BYTES)}"


def read_key(key: str) -> PresentedKey:
    """Tell a key's parts. Raises InvalidToken: this is no key, of whatever length or characters."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise InvalidToken
    return PresentedKey(match["prefix"], hashlib.sha256(key.encode()).digest())
