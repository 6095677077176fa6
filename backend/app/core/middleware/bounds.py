"""Bounds of what comes before a body: the request's target and its headers.

Servers have bounds of their own, or none: uvicorn's parser takes whatever comes. What is read
before the application sees anything is bounded by `app/server.py`.
"""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import Scope

from app.core.errors import UriTooLong
from app.core.exchange import Exchange

MAXIMUM_TARGET_BYTES = 8 * 1024
MAXIMUM_HEADERS = 100
MAXIMUM_HEADER_BYTES = 16 * 1024


def check_bounds(scope: Scope, exchange: Exchange) -> None:
    """Raise UriTooLong, or an HTTPException 431 for many or long headers."""
    target = scope.get("raw_path") or scope["path"]
    if len(target) + len(scope["query_string"]) > MAXIMUM_TARGET_BYTES:
        raise UriTooLong
    if len(exchange.raw) > MAXIMUM_HEADERS or exchange.header_bytes > MAXIMUM_HEADER_BYTES:
        raise HTTPException(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
