"""Log lines: one format for the app's own (structlog) and for everyone else's (stdlib).

The app's lines skip the standard library (three times as fast); those of uvicorn, SQLAlchemy
and asyncio come through one handler on the root logger and look the same.
"""

import json
import logging
import sys
import traceback
from contextlib import suppress
from typing import BinaryIO, TextIO, cast

import structlog
from pydantic_core import to_json
from structlog.processors import TimeStamper, add_log_level, format_exc_info
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from app.config import Settings
from app.core.context import add_request_id
from app.core.log_file import LogFile
from app.core.redaction import mask, redact
from app.units import Rotation, duration

# Loggers keep the list that was configured when they were first used; so it is changed in place,
# and configuring again (tests) reaches them too.
_processors: list[Processor] = []


class _Output:
    """Where lines go: standard output, and LOG_FILE.

    It is standard output as it is now, not as it was when a logger was made (pytest swaps it). A
    full disk or a closed pipe must not fail requests, and there is nowhere to say so.
    """

    file: LogFile | None = None

    def write(self, line: bytes) -> None:
        with suppress(OSError):
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        if self.file is not None:
            with suppress(OSError):
                self.file.write(line)

    def flush(self) -> None:
        """Every line is flushed as it is written."""


_output = _Output()


def write_lines(lines: bytes) -> None:
    """Write lines that have been rendered already, with their ends, where all others go."""
    _output.write(lines)


class _StdlibHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            _output.write(self.format(record).encode(errors="backslashreplace") + b"\n")
        except Exception:  # noqa: BLE001 - logging's convention: report and go on
            self.handleError(record)


def configure_logging(settings: Settings) -> None:
    """Set up structlog and the standard library's loggers; doing it again is harmless.

    Raises:
        OSError: LOG_FILE cannot be written.
    """
    if _output.file is not None:
        _output.file.close()
    _output.file = None
    if settings.LOG_FILE is not None:
        _output.file = LogFile(
            settings.LOG_FILE,
            Rotation.parse(settings.LOG_ROTATION),
            duration(settings.LOG_RETENTION),
        )
    level = logging.getLevelNamesMapping()[settings.LOG_LEVEL]
    shared: list[Processor] = [
        add_request_id,
        add_log_level,
        redact,
        TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Processor] = (
        [format_exc_info, _mask_exception, _render_json]
        if settings.LOG_FORMAT == "json"
        else [_Console(colors=sys.stdout.isatty() and settings.LOG_FILE is None)]
    )

    _processors[:] = [*shared, *render]
    structlog.configure(
        processors=_processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(cast("BinaryIO", _output)),
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


# --- Rendering ------------------------------------------------------------------------------


def _mask_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if "exception" in event:
        event["exception"] = mask(event["exception"])
    return event


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

    def __init__(self, *, colors: bool) -> None:
        self._render = structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=_write_traceback
        )

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        for name, value in event.items():
            if isinstance(value, str) and not value.isprintable():
                event[name] = _printable(value)
        return self._render(logger, method, event).encode(errors="backslashreplace")


def _write_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    text = mask("".join(traceback.format_exception(*exc_info)))
    out.writelines(f"\n    {_printable(line)}" for line in text.splitlines())


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


def _decode(_logger: WrappedLogger, _method: str, line: object) -> str:
    return cast("bytes", line).decode()
