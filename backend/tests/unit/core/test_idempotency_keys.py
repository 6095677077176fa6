import pytest

from app.core.errors import ValidationFailed
from app.core.idempotency import _parse


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        (" abc ", "abc"),
        ("a", "a"),
        ("x" * 255, "x" * 255),
        (f'"{"x" * 255}"', "x" * 255),
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ("!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ],
)
def test_a_key_may_be_bare_or_quoted(header: str, key: str) -> None:
    assert _parse(header) == key


@pytest.mark.parametrize(
    "header",
    ["", " ", '""', '"', '"abc', 'abc"', 'a"b', "a b", "a\tb", "a\0b", "é", "x" * 256, '"a" "b"'],
)
def test_anything_else_is_no_key(header: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        _parse(header)
    assert [error.pointer for error in refusal.value.errors] == ["#/Idempotency-Key"]
