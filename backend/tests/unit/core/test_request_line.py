import asyncio
import json
import select
from typing import Any

import pytest
from fastapi import FastAPI, Request

from app.core.middleware.access_log import AccessLog
from app.core.middleware.request_line import Answered, RequestLines, render

from .recorder import client, edge

ANSWERED = Answered(
    level=20,
    now=1_772_438_400.25,
    request_id=b"the-id",
    method="GET",
    route="/things/{id}",
    status=200,
    seconds=0.0123456,
    size=42,
    client="203.0.113.7",
    more={},
)


def test_it_is_one_line_of_json() -> None:
    line = render(ANSWERED)
    assert line.count(b"\n") == 1
    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "event": "request",
        "level": "info",
        "method": "GET",
        "route": "/things/{id}",
        "status": 200,
        "duration_ms": 12.35,
        "bytes": 42,
        "client": "203.0.113.7",
        "request_id": "the-id",
        "timestamp": "2026-03-02T08:00:00.250000Z",
    }


def test_what_few_requests_have_is_added() -> None:
    line = json.loads(render(ANSWERED._replace(more={"user_id": "1", "failure": "Oops"})))
    assert (line["user_id"], line["failure"], line["request_id"]) == ("1", "Oops", "the-id")


@pytest.mark.parametrize("text", ['a"b', "a\nb", "a\\b", "\u2028", None])
def test_nothing_from_outside_breaks_it(text: str | None) -> None:
    line = render(ANSWERED._replace(client=text, route=text))
    assert line.count(b"\n") == 1
    parsed = json.loads(line)
    assert (parsed["client"], parsed["route"]) == (text, text)


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (1_772_438_400.0, "2026-03-02T08:00:00.000000Z"),
        (1_772_438_400.999999, "2026-03-02T08:00:00.999999Z"),
        (1_772_438_401.000001, "2026-03-02T08:00:01.000001Z"),
    ],
)
def test_seconds_are_remembered_and_microseconds_are_not(now: float, text: str) -> None:
    for _ in range(2):
        assert json.loads(render(ANSWERED._replace(now=now)))["timestamp"] == text


async def test_lines_are_written_together_when_the_loop_comes_round() -> None:
    blocks: list[bytes] = []
    lines = RequestLines(blocks.append)
    for size in (1, 2, 3):
        lines.add(ANSWERED._replace(size=size))
    assert blocks == []
    await asyncio.sleep(0)
    lines.add(ANSWERED._replace(size=4))
    await asyncio.sleep(0)
    assert [len(block.splitlines()) for block in blocks] == [3, 1]
    sizes = [json.loads(line)["bytes"] for line in b"".join(blocks).splitlines()]
    assert sizes == [1, 2, 3, 4]


async def test_no_more_is_written_at_once_than_stays_whole_in_a_pipe() -> None:
    blocks: list[bytes] = []
    lines = RequestLines(blocks.append)
    for size in range(100):
        lines.add(ANSWERED._replace(size=size))
    await asyncio.sleep(0)
    assert len(blocks) > 1
    assert all(len(block) <= select.PIPE_BUF and block.endswith(b"}\n") for block in blocks)
    assert len(b"".join(blocks).splitlines()) == 100


# --- As the access log writes it --------------------------------------------------------------
def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/health")
    async def health() -> None: ...

    @app.get("/things/{name}")
    async def thing(request: Request, name: str) -> str:
        request.state.user_id = 7
        return name

    @app.get("/crash")
    async def crash() -> None:
        raise ZeroDivisionError

    return app


async def written(least: str, *paths: str) -> list[dict[str, Any]]:
    blocks: list[bytes] = []
    lines = RequestLines(blocks.append)
    log = AccessLog(lines=lines, least=least)
    async with client(edge(make_app(), observers=[log]), raise_app_exceptions=False) as http:
        for path in paths:
            await http.get(path, headers={"X-Request-ID": "the-id"})
    await asyncio.sleep(0)
    return [json.loads(line) for line in b"".join(blocks).splitlines()]


async def test_each_request_is_a_line() -> None:
    (line,) = await written("INFO", "/things/secret?x=1")
    assert line.pop("duration_ms") >= 0
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "request",
        "level": "info",
        "method": "GET",
        "route": "/things/{name}",
        "status": 200,
        "bytes": 8,
        "client": "127.0.0.1",
        "request_id": "the-id",
        "user_id": "7",
    }


@pytest.mark.parametrize(
    ("least", "levels"),
    [
        ("DEBUG", ["debug", "info", "warning"]),
        ("INFO", ["info", "warning"]),
        ("WARNING", ["warning"]),
        ("ERROR", []),
    ],
)
async def test_what_is_less_severe_is_not_written(least: str, levels: list[str]) -> None:
    lines = await written(least, "/health", "/things/x", "/crash")
    assert [line["level"] for line in lines] == levels
