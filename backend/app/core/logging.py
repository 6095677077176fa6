"""Log lines: one format for the app's own (structlog) and for everyone else's (stdlib).

The app's lines skip the standard library (three times as fast); those of uvicorn, SQLAlchemy
and asyncio come through one handler on the root logger and look the same.
"""

import dataclasses
import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import BinaryIO, TextIO, cast
from uuid import UUID

import structlog
from pydantic import BaseModel, SecretStr
from pydantic_core import to_json
from structlog.processors import TimeStamper, add_log_level, format_exc_info
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from app.config import Settings
from app.core.context import add_request_id

MASK = "***"
_MAX_DEPTH = 6
_SECRET_NAME = re.compile(
    r"passw|pwd|secret|token|authori[sz]ation|cookie|credential|api[-_ ]?key|private[-_ ]?key|dsn"
    r"|otpauth|recovery[-_ ]?code",
    re.IGNORECASE,
)
# structlog's own entries; they are objects until the last step.
_INTERNAL = frozenset({"exc_info", "stack_info", "_record", "_from_structlog"})
_PLAIN = frozenset({str, int, float, bool, type(None)})
_ATOMS = (str, int, float, bool, type(None), Decimal, UUID, datetime, date, time, timedelta)

# Loggers keep the list that was configured when they were first used; so it is changed in place,
# and configuring again (tests) reaches them too.
_processors: list[Processor] = []


class _Stdout:
    """Standard output as it is now, not as it was when a logger was made (pytest swaps it)."""

    def write(self, line: bytes) -> None:
        try:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        except OSError:
            # A full disk or a closed pipe must not fail requests; there is nowhere to say so.
            return

    def flush(self) -> None:
        """Every line is flushed as it is written."""


_stdout = _Stdout()


class _StdlibHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            _stdout.write(self.format(record).encode(errors="backslashreplace") + b"\n")
        except Exception:  # noqa: BLE001 - logging's convention: report and go on
            self.handleError(record)


def configure_logging(settings: Settings) -> None:
    """Set up structlog and the standard library's loggers; doing it again is harmless."""
    level = logging.getLevelNamesMapping()[settings.LOG_LEVEL]
    shared: list[Processor] = [
        add_request_id,
        add_log_level,
        redact,
        TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Processor] = (
        [format_exc_info, _render_json] if settings.LOG_FORMAT == "json" else [_Console()]
    )

    _processors[:] = [*shared, *render]
    structlog.configure(
        processors=_processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(cast("BinaryIO", _stdout)),
        cache_logger_on_first_use=True,
    )
    _configure_stdlib(level, shared, render)


def _configure_stdlib(level: int, shared: list[Processor], render: list[Processor]) -> None:
    handler = _StdlibHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *render,
                _decode,
            ],
        )
    )
    root = logging.getLogger()
    # Only our own handler is replaced: pytest and Sentry hang theirs here too.
    root.handlers = [h for h in root.handlers if not isinstance(h, _StdlibHandler)] + [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "asyncio", "sqlalchemy"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        # SQLAlchemy writes statements and their values at INFO.
        logger.setLevel(max(level, logging.WARNING) if name == "sqlalchemy" else logging.NOTSET)
    # The access log middleware replaces it. Without a handler uvicorn does not even format it.
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False


# --- Redaction ------------------------------------------------------------------------------


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask the values of fields whose name says that they are secret, at any depth."""
    for name, value in event.items():
        if _is_secret(name):
            event[name] = MASK
        elif type(value) not in _PLAIN and name not in _INTERNAL:
            event[name] = _scrub(value)
    return event


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _scrub(value: object, depth: int = 0) -> object:
    """A copy of `value` without secrets, of nothing but plain values, lists and dictionaries."""
    if isinstance(value, _ATOMS):
        return value
    if isinstance(value, SecretStr):
        return MASK
    if depth == _MAX_DEPTH:  # deep, or a circle
        return "..."
    if isinstance(value, BaseModel):
        value = value.model_dump()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {
            str(name): MASK if _is_secret(str(name)) else _scrub(inner, depth + 1)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrub(inner, depth + 1) for inner in value]
    return repr(value)


# --- Rendering ------------------------------------------------------------------------------


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    try:
        return to_json(event, fallback=repr, inf_nan_mode="strings")
    except ValueError:  # a lone surrogate; a log line is never refused
        return json.dumps({name: repr(value) for name, value in event.items()}).encode()


class _Console:
    """Coloured lines for people.

    Text from outside cannot start a line of its own or move the cursor: whatever is not
    printable is escaped, and a traceback is indented. It shows no local variables, which may
    hold secrets.
    """

    def __init__(self) -> None:
        self._render = structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=_write_traceback
        )

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        for name, value in event.items():
            if isinstance(value, str) and not value.isprintable():
                event[name] = _printable(value)
        return self._render(logger, method, event).encode(errors="backslashreplace")


def _write_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    text = "".join(traceback.format_exception(*exc_info))
    out.writelines(f"\n    {_printable(line)}" for line in text.splitlines())


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


def _decode(_logger: WrappedLogger, _method: str, line: object) -> str:
    return cast("bytes", line).decode()
