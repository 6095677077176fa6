"""Gives every request an id that its answer, its log lines, its events and its problems share."""

import re

from uuid_utils import uuid7

from app.core.exchange import Exchange

# Nothing that could break a log line, a header or a query is taken over from a client.
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def request_id_of(exchange: Exchange) -> str:
    """The id that came with the request, if it is well-formed, or a new one."""
    value = exchange.one(b"x-request-id")
    if value is not None and _WELL_FORMED.fullmatch(value):
        return value.decode()
    return str(uuid7())
