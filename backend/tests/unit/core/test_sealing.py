"""Sealed content is read again with the same key, for the same purpose, and in no other way."""

import pytest

from app.core.sealing import seal, unseal

SECRET, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


def test_it_is_read_again_and_does_not_show() -> None:
    sealed = seal(b"a secret", secret=SECRET, purpose=b"a test")
    assert b"a secret" not in sealed
    assert unseal(sealed, secret=SECRET, purpose=b"a test") == b"a secret"


@pytest.mark.parametrize(("secret", "purpose"), [(OTHER, b"a test"), (SECRET, b"another")])
def test_another_key_or_purpose_reads_nothing(secret: str, purpose: bytes) -> None:
    sealed = seal(b"a secret", secret=SECRET, purpose=b"a test")
    assert unseal(sealed, secret=secret, purpose=purpose) is None


def test_what_was_tampered_with_is_refused() -> None:
    sealed = bytearray(seal(b"a secret", secret=SECRET, purpose=b"a test"))
    sealed[20] ^= 1
    assert unseal(bytes(sealed), secret=SECRET, purpose=b"a test") is None


def test_the_same_content_looks_different_each_time() -> None:
    first, second = (seal(b"a secret", secret=SECRET, purpose=b"a test") for _ in range(2))
    assert first != second
