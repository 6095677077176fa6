"""Identifiers."""

import secrets
from uuid import UUID

from uuid_utils.compat import uuid7

# Crockford's base 32: no I, L, O or U, so that a reference survives the telephone.
_REFERENCE_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_REFERENCE_LENGTH = 10


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): unguessable enough for an id, and in order of creation for indexes."""
    return uuid7()


def new_reference() -> str:
    """A short name for people, such as `7KQ2M9XR4B`: 50 random bits."""
    return "".join(secrets.choice(_REFERENCE_ALPHABET) for _ in range(_REFERENCE_LENGTH))
