import contextlib
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog
import uvicorn
from pydantic import BaseModel, SecretStr

from app.config import Settings
from app.core.context import bound_request_id
from app.core.logging import configure_logging

Configure = Callable[..., None]


class Output:
    """What was written to standard output since the last look."""

    def __init__(self, capture: pytest.CaptureFixture[bytes]) -> None:
        self._capture = capture

    def read(self) -> bytes:
        written = self._capture.readouterr()
        assert written.err == b""
        return written.out

    def lines(self) -> list[str]:
        return self.read().decode().split("\n")[:-1]

    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


@pytest.fixture
def out(capsysbinary: pytest.CaptureFixture[bytes]) -> Output:
    return Output(capsysbinary)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Put structlog and the loggers that are touched back, for whoever comes next."""
    names = ["", "uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access", "asyncio"]
    names += ["sqlalchemy", "sqlalchemy.engine"]
    loggers = [logging.getLogger(name) for name in names]
    before = [(lo, lo.level, lo.propagate, list(lo.handlers)) for lo in loggers]
    config = structlog.get_config()
    yield
    structlog.configure(**config)
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers = handlers


@pytest.fixture
def configure() -> Configure:
    def configure(**values: Any) -> None:
        configure_logging(Settings(_env_file=None, **values))

    return configure


def test_a_line_is_json_with_time_level_and_context(out: Output, configure: Configure) -> None:
    configure()
    with bound_request_id("the-id"):
        structlog.get_logger().info("booked", seats=2, at=timedelta(hours=1), name="Zoë")
    (line,) = out.json()
    assert datetime.fromisoformat(line.pop("timestamp")).utcoffset() == timedelta(0)
    assert line == {
        "event": "booked",
        "level": "info",
        "request_id": "the-id",
        "seats": 2,
        "at": "PT1H",
        "name": "Zoë",
    }


@pytest.mark.parametrize("name", ["uvicorn.error", "sqlalchemy.pool", "asyncio", "some.library"])
def test_the_standard_librarys_lines_look_the_same(
    out: Output, configure: Configure, name: str
) -> None:
    configure()
    with bound_request_id("the-id"):
        logging.getLogger(name).warning("slow: %s", "x\ny")
    (line,) = out.json()
    assert line.pop("timestamp")
    assert line == {
        "event": "slow: x\ny",
        "level": "warning",
        "logger": name,
        "request_id": "the-id",
    }


def test_uvicorns_own_handlers_are_taken_over_and_its_access_log_is_silent(
    out: Output, configure: Configure
) -> None:
    uvicorn.Config("app").configure_logging()
    configure()
    logging.getLogger("uvicorn.error").info("started")
    access = logging.getLogger("uvicorn.access")
    access.info("GET /")
    assert not access.hasHandlers()
    assert [line["event"] for line in out.json()] == ["started"]


@pytest.mark.parametrize("format_", ["json", "console"])
def test_the_level_is_honoured(out: Output, configure: Configure, format_: str) -> None:
    configure(LOG_LEVEL="WARNING", LOG_FORMAT=format_)
    structlog.get_logger().info("no")
    logging.getLogger("library").info("no")
    structlog.get_logger().warning("yes")
    logging.getLogger("library").warning("yes")
    assert len(out.lines()) == 2


def test_sql_stays_out_of_the_log_even_when_debugging(out: Output, configure: Configure) -> None:
    configure(LOG_LEVEL="DEBUG")
    logging.getLogger("sqlalchemy.engine.Engine").info("SELECT 'personal data'")
    assert out.lines() == []


def test_configuring_twice_writes_once_and_keeps_the_handlers_of_others(
    out: Output, configure: Configure
) -> None:
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    logger = structlog.get_logger()
    configure()
    logger.info("first")
    configure(LOG_FORMAT="console")
    configure()
    logger.info("second")
    logging.getLogger("library").info("third")
    assert [line["event"] for line in out.json()] == ["first", "second", "third"]
    assert other in logging.getLogger().handlers


def test_loggers_in_use_follow_a_new_format_and_a_new_stdout(
    out: Output, configure: Configure
) -> None:
    logger = structlog.get_logger()
    configure()
    elsewhere = io.TextIOWrapper(io.BytesIO())
    with contextlib.redirect_stdout(elsewhere):
        logger.info("one")
    elsewhere.close()
    configure(LOG_FORMAT="console")
    logger.info("two")
    (line,) = out.lines()
    assert "two" in line
    assert not line.startswith("{")


class Login(BaseModel):
    name: str
    password: str


@dataclass
class Keys:
    api_key: str
    inner: Login


@pytest.mark.parametrize("format_", ["json", "console"])
@pytest.mark.parametrize(
    "fields",
    [
        {"password": "hunter2"},
        {"new_password": "hunter2"},
        {"Refresh-Token": "hunter2"},
        {"x": {"headers": {"Authorization": "Bearer hunter2", "X-API-Key": "hunter2"}}},
        {"x": [{"y": ({"Set-Cookie": "hunter2"},)}]},
        {"x": {"a": {"b": {"c": {"client_secret": ["hunter2"]}}}}},
        {"x": Login(name="ann", password="hunter2")},
        {"x": [Keys("hunter2", Login(name="ann", password="hunter2"))]},
        {"x": SecretStr("hunter2")},
        {"x": {b"cookie": b"hunter2"}},
    ],
)
def test_secrets_are_masked_by_name_at_any_depth(
    out: Output, configure: Configure, format_: str, fields: dict[str, Any]
) -> None:
    configure(LOG_FORMAT=format_)
    structlog.get_logger().info("login", **fields)
    (line,) = out.lines()
    assert "hunter2" not in line
    assert "***" in line


def test_redaction_leaves_the_callers_objects_and_other_fields_alone(
    out: Output, configure: Configure
) -> None:
    configure()
    body = {"token": "abc", "seats": [1, 2], "id": UUID(int=7)}
    structlog.get_logger().info("x", body=body)
    assert body == {"token": "abc", "seats": [1, 2], "id": UUID(int=7)}
    assert out.json()[0]["body"] == {"token": "***", "seats": [1, 2], "id": str(UUID(int=7))}


FORGED = "ok\r\n2026-01-01T00:00:00Z [info     ] forged\x1b[2K\u2028forged\x85forged"


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_value_cannot_start_a_line_of_its_own(
    out: Output, configure: Configure, format_: str
) -> None:
    configure(LOG_FORMAT=format_)
    structlog.get_logger().info(FORGED, value=FORGED, nested={"a": [FORGED]})
    logging.getLogger("library").warning("%s", FORGED)
    written = out.read()
    assert written.count(b"\n") == 2
    assert b"\r" not in written
    assert b"\x1b[2K" not in written


def test_a_traceback_is_a_field_in_json(out: Output, configure: Configure) -> None:
    configure()
    try:
        raise ValueError(FORGED)
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("library").exception("failed too")
    lines = out.json()
    assert [line["event"] for line in lines] == ["failed", "failed too"]
    for line in lines:
        assert line["exception"].startswith("Traceback")
        assert "ValueError" in line["exception"]
        assert "exc_info" not in line


@pytest.mark.parametrize("standard", [True, False])
def test_a_traceback_on_the_console_is_indented_and_shows_no_values(
    out: Output, configure: Configure, *, standard: bool
) -> None:
    configure(LOG_FORMAT="console")
    hidden = "HUNTER2".lower()
    try:
        raise ValueError(FORGED, len(hidden))
    except ValueError:
        (logging.getLogger("library") if standard else structlog.get_logger()).exception("failed")
    first, *rest = out.lines()
    assert "failed" in first
    assert any("ValueError" in line for line in rest)
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert "hunter2" not in "".join(rest)


def test_what_cannot_be_written_does_not_break_the_caller(
    out: Output, configure: Configure
) -> None:
    configure()
    circle: dict[str, Any] = {}
    circle["again"] = circle
    log = structlog.get_logger()
    log.info("x", value=circle)
    log.info("x", value="\ud800")
    log.info("x", value=float("nan"))
    log.info("x", value=b"\xff")
    log.info("x", value=object())
    assert len(out.json()) == 5


@pytest.mark.parametrize("error", [BrokenPipeError, OSError])
def test_a_stdout_that_is_gone_does_not_fail_the_request(
    monkeypatch: pytest.MonkeyPatch, configure: Configure, error: type[OSError]
) -> None:
    class Gone(io.BytesIO):
        def write(self, _: Any) -> int:
            raise error

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Gone()))
    configure()
    structlog.get_logger().info("x")
    logging.getLogger("library").warning("x")


@pytest.mark.parametrize("format_", ["json", "console"])
@pytest.mark.parametrize(
    "text",
    [
        "ada@example.com",
        "ada.lovelace+test@mail.example.co.uk",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "Bearer abcdefgh12345678",
        "osk_0123456789ab_" + "f" * 48,
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "wq3hYt0m-9vQ2rKz_7LxN4bVc8PsEaUfJdGiHoTyRl1",
        "+33 6 12 34 56 78",
        "+4915112345678",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
    ],
)
def test_secrets_and_people_are_masked_wherever_they_stand(
    out: Output, configure: Configure, format_: str, text: str
) -> None:
    configure(LOG_FORMAT=format_)
    log = structlog.get_logger()
    log.info("x", note=f"for {text}, soon", deep=[{"note": text}])
    logging.getLogger("some.library").warning("could not reach %s", text)
    try:
        raise RuntimeError(f"about {text}")
    except RuntimeError:
        log.exception("broken")
    written = out.read().decode()
    assert text not in written
    assert written.count("***") >= 4


def test_ids_times_and_counts_are_no_secrets(out: Output, configure: Configure) -> None:
    configure()
    fields = {
        "booking_id": str(UUID(int=2**127 + 1234567890123)),
        "at": "2026-11-21T05:40:12.123456+00:00",
        "path": "app/core/middleware/security_headers.py",
        "minutes": 29_000_000,
        "route": "/api/v1/bookings/{booking_id}",
        "version": "18.6",
        "range": "2026-11-01 2026-11-30",
    }
    structlog.get_logger().info("x", **fields)
    (line,) = out.json()
    assert {name: line[name] for name in fields} == fields


def test_searching_a_long_text_takes_no_time_to_speak_of(out: Output, configure: Configure) -> None:
    """Were it quadratic, this would take minutes."""
    configure()
    for text in ("a" * 200_000, "1" * 200_000, "a.b-" * 50_000, "eyJ" * 60_000, "+1" * 90_000):
        structlog.get_logger().info("x", text=text)
    assert len(out.lines()) == 5


def test_lines_go_to_the_file_as_well(out: Output, configure: Configure, tmp_path: Path) -> None:
    path = tmp_path / "oneslot.log"
    configure(LOG_FILE=path, LOG_ROTATION="300 B", LOG_RETENTION="1 day")
    for number in range(10):
        structlog.get_logger().info("x", number=number)
    logging.getLogger("some.library").warning("there too")
    written = out.read()
    files = sorted(tmp_path.glob("oneslot.log.*Z"))
    assert len(files) > 1
    assert b"".join(file.read_bytes() for file in [*files, path]) == written
    configure()
    structlog.get_logger().info("only there")
    assert b"only there" not in path.read_bytes()
