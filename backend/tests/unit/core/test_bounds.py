from http import HTTPStatus

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message

from app.core.errors import UriTooLong
from app.core.exchange import Exchange
from app.core.middleware.bounds import (
    MAXIMUM_HEADER_BYTES,
    MAXIMUM_HEADERS,
    MAXIMUM_TARGET_BYTES,
    check_bounds,
)

from .recorder import http_scope


def refusal(
    target: bytes = b"/", query: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None
) -> int | None:
    async def send(message: Message) -> None:
        raise AssertionError

    scope = http_scope(raw_path=target, query_string=query, headers=headers or [])
    try:
        check_bounds(scope, Exchange(scope, send))
    except HTTPException as error:
        return error.status_code
    except UriTooLong as error:
        return error.status
    return None


def test_a_long_target_is_refused() -> None:
    assert refusal(b"/" * MAXIMUM_TARGET_BYTES) is None
    assert refusal(b"/" * 100, b"q" * (MAXIMUM_TARGET_BYTES - 100)) is None
    assert (
        refusal(b"/" * 100, b"q" * (MAXIMUM_TARGET_BYTES - 99)) == HTTPStatus.REQUEST_URI_TOO_LONG
    )


@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        pytest.param([(b"x", b"")] * MAXIMUM_HEADERS, False, id="many"),
        pytest.param([(b"x", b"")] * (MAXIMUM_HEADERS + 1), True, id="too many"),
        pytest.param([(b"x", b"v" * (MAXIMUM_HEADER_BYTES - 1))], False, id="long"),
        pytest.param([(b"x", b"v" * MAXIMUM_HEADER_BYTES)], True, id="too long"),
        pytest.param([(b"x" * MAXIMUM_HEADER_BYTES, b"v")], True, id="a name too long"),
    ],
)
def test_many_or_long_headers_are_refused(
    headers: list[tuple[bytes, bytes]], *, is_refused: bool
) -> None:
    expected = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if is_refused else None
    assert refusal(headers=headers) == expected
