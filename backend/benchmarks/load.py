"""`python -m benchmarks.load`: sends requests over keep-alive sockets, and measures the answers.

A process of its own, so that it shares no interpreter with the server. It does little per request
(prepared bytes out, the length looked up in the head of the answer) and so costs a fraction of what
the server spends. The plan comes as JSON on stdin, the result leaves as JSON on stdout.
"""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter, process_time
from typing import Any, cast

from devserver.settings import BACKEND

HOST = "127.0.0.1"
CONTENT_LENGTH = b"\r\ncontent-length: "
LONGEST_PAUSE_SECONDS = 15.0


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: str = ""

    def encode(self) -> bytes:
        headers = {"host": "localhost"} | self.headers
        if self.body:
            headers |= {
                "content-type": "application/json",
                "content-length": str(len(self.body.encode())),
            }
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n" + self.body).encode()


@dataclass(frozen=True)
class Plan:
    """What to send: each request once, or over and over, for so long.

    `pause` is how many seconds each connection waits after an answer.
    """

    port: int
    connections: int
    seconds: float
    repeat: bool
    requests: Sequence[Request]
    pause: float = 0.0


@dataclass(frozen=True)
class Result:
    seconds: float
    answers: int
    statuses: dict[str, int]
    latencies: list[float]
    cpu_seconds: float
    exhausted: bool

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


def send(plan: Plan) -> Result:
    """Carry out a plan in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=json.dumps(asdict(plan)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=BACKEND,
        timeout=plan.seconds + 2 * LONGEST_PAUSE_SECONDS,
    )
    return Result(**json.loads(done.stdout))


class Connection(asyncio.Protocol):
    """Sends one request after the other, each when the one before it has been answered."""

    def __init__(self, requests: Iterator[bytes], deadline: float, pause: float) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()
        self._requests = requests
        self._deadline = deadline
        self._pause = pause
        self._received = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        status = self._received[9:12]
        if len(self._received) < head_end + 4 + self._length(status, head_end):
            return
        self.latencies.append(perf_counter() - self._sent_at)
        self.statuses[status.decode()] += 1
        self._received = b""
        if self._pause:
            asyncio.get_running_loop().call_later(self._pause, self._next)
        else:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))

    def _length(self, status: bytes, head_end: int) -> int:
        if status in {b"204", b"304"}:
            return 0
        at = self._received.find(CONTENT_LENGTH, 0, head_end)
        if at < 0:
            raise ValueError(f"an answer without a length: {self._received[:200]!r}")
        at += len(CONTENT_LENGTH)
        return int(self._received[at : self._received.index(b"\r", at)])

    def _next(self) -> None:
        request = next(self._requests, None) if perf_counter() < self._deadline else None
        if request is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._sent_at = perf_counter()
        self._transport.write(request)


async def carry_out(plan: Plan) -> Result:
    encoded = [request.encode() for request in plan.requests]
    requests = _forever(encoded) if plan.repeat else iter(encoded)
    loop = asyncio.get_running_loop()
    started = perf_counter()
    cpu_before = process_time()
    deadline = started + plan.seconds
    opened = [
        loop.create_connection(lambda: Connection(requests, deadline, plan.pause), HOST, plan.port)
        for _ in range(plan.connections)
    ]
    connections = [protocol for _, protocol in await asyncio.gather(*opened)]
    async with asyncio.timeout(plan.seconds + LONGEST_PAUSE_SECONDS):
        await asyncio.gather(*(connection.done for connection in connections))
    latencies = [latency for connection in connections for latency in connection.latencies]
    return Result(
        seconds=perf_counter() - started,
        answers=len(latencies),
        statuses=dict(sum((c.statuses for c in connections), Counter[str]())),
        latencies=latencies,
        cpu_seconds=process_time() - cpu_before,
        exhausted=next(requests, None) is None,
    )


def _forever(requests: Sequence[bytes]) -> Iterator[bytes]:
    while True:
        yield from requests


def main() -> None:
    values: dict[str, Any] = json.load(sys.stdin)
    requests = [Request(**request) for request in values.pop("requests")]
    plan = Plan(**values, requests=requests)
    try:
        import uvloop
    except ImportError:  # as on Windows
        result = asyncio.run(carry_out(plan))
    else:
        result = uvloop.run(carry_out(plan))
    json.dump(asdict(result), sys.stdout)


if __name__ == "__main__":
    main()
