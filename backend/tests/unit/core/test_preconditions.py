import pytest
from fastapi import Request, Response

from app.core.errors import ValidationFailed, VersionMismatch
from app.core.preconditions import etag, etag_matches, if_match


async def passes(header: str | None, version: int | None) -> bool:
    try:
        (await if_match(header)).check(version)
    except VersionMismatch:
        return False
    return True


@pytest.mark.parametrize(
    ("header", "at_3", "at_nothing"),
    [
        (None, True, True),
        ("*", True, False),
        (" * ", True, False),
        ('"3"', True, False),
        ('"2", "3"', True, False),
        ('"2","3",', True, False),
        ('"2"', False, False),
        ('"33"', False, False),
        ('"03"', False, False),
        ('"None"', False, False),
        ('"*"', False, False),
        ('""', False, False),
        ('W/"3"', False, False),
        ('W/"3", "2"', False, False),
        ('W/"2", "3"', True, False),
    ],
)
async def test_if_match_lets_pass_who_has_seen_the_version(
    header: str | None, *, at_3: bool, at_nothing: bool
) -> None:
    assert (await passes(header, 3), await passes(header, None)) == (at_3, at_nothing)


@pytest.mark.parametrize(
    "header", ["", " ", ",", "3", '"3', '3"', "'3'", '*, "3"', '"3" 4', 'w/"3"', '"a b"', '"\n"']
)
async def test_a_malformed_if_match_is_not_ignored(header: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        await if_match(header)
    assert [error.pointer for error in refusal.value.errors] == ["#/If-Match"]


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        (b'"3"', True),
        (b'W/"3"', True),
        (b'"2", W/"3"', True),
        (b"*", True),
        (b'"2"', False),
        (b"3", False),
        (b"", False),
        (b'"', False),
        (b"\xff", False),
    ],
)
def test_if_none_match_compares_weakly(header: bytes, *, matches: bool) -> None:
    request = Request({"type": "http", "headers": [(b"if-none-match", header)]})
    for tag in (etag(3), f"W/{etag(3)}"):
        assert etag_matches(request, Response(headers={"ETag": tag})) == matches
    assert not etag_matches(request, Response(headers={"ETag": etag(3)}, status_code=201))
    assert not etag_matches(request, Response())
