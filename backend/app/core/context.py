"""What the running code may ask about the request (or job) it works for."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token

from structlog.typing import EventDict, WrappedLogger

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def current_request_id() -> str | None:
    """The id of the request being served, or None outside of one."""
    return _request_id.get()


def add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor of structlog: every line says which request it belongs to."""
    request_id = _request_id.get()
    if request_id is not None:
        event.setdefault("request_id", request_id)
    return event


def enter_request(request_id: str) -> "Token[str | None]":
    """Make `request_id` current, until `leave_request` is given what this returns."""
    return _request_id.set(request_id)


def leave_request(token: "Token[str | None]") -> None:
    _request_id.reset(token)


@contextmanager
def bound_request_id(request_id: str) -> Iterator[None]:
    """Make `request_id` current until the block ends."""
    token = enter_request(request_id)
    try:
        yield
    finally:
        leave_request(token)
