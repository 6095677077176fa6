"""Customers who book one time after the other, whatever happens to the servers meanwhile."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx

from app.auth.permissions import ADMIN
from app.config import Settings
from tests.business import Business, Caller
from tests.race.support import (
    ROUND_THE_CLOCK,
    Reachable,
    client_of,
    customers,
    next_monday,
)

_EACH = timedelta(minutes=15)


@dataclass(frozen=True)
class Live:
    """A server that runs somewhere."""

    url: str

    def client(self) -> httpx.AsyncClient:
        return client_of(self.url)


@dataclass(frozen=True)
class Answer:
    """What became of one booking: an answer, or an error of the connection."""

    sent_at: float
    seconds: float
    outcome: str | int
    body: dict[str, Any] = field(default_factory=dict)
    headers: httpx.Headers = field(default_factory=httpx.Headers)


@dataclass
class Load:
    """What has been answered so far."""

    answers: list[Answer] = field(default_factory=list)

    def outcomes(self, since: float = 0.0) -> Counter[str | int]:
        """How many of those that were sent since then ended how."""
        return Counter(answer.outcome for answer in self.answers if answer.sent_at >= since)

    @property
    def booked(self) -> set[str]:
        """The ids of what has been acknowledged."""
        return {answer.body["id"] for answer in self.answers if answer.outcome == 201}

    async def more(self, number: int) -> None:
        """Wait until so many more have been answered."""
        wanted = len(self.answers) + number
        async with asyncio.timeout(30):
            while len(self.answers) < wanted:  # noqa: ASYNC110 - there are too many to send events
                await asyncio.sleep(0.01)


async def offer(settings: Settings, server: Reachable) -> dict[str, Any]:
    """A service with a provider who never sleeps; nobody logs in for it."""
    async with customers(settings, server, 1, role=ADMIN) as (admin,):
        business = Business(admin.client, admin)
        service = await business.service(durations_minutes=[15])
        await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    return service


@asynccontextmanager
async def bookings_under_way(
    callers: Sequence[Caller], service: dict[str, Any], *, pause: float
) -> AsyncIterator[Load]:
    """Everybody books, pauses, and books again, until the block ends or nobody listens any more.

    Times are taken in their order: nobody ever wants another's.
    """
    load = Load()
    starts = _starts()
    booking = [asyncio.create_task(_book(load, c, service, starts, pause)) for c in callers]
    try:
        yield load
    finally:
        for task in booking:
            task.cancel()
        await asyncio.gather(*booking, return_exceptions=True)


async def _book(
    load: Load, caller: Caller, service: dict[str, Any], starts: Iterator[datetime], pause: float
) -> None:
    for start in starts:
        sent_at = time.monotonic()
        body = {"service_id": service["id"], "start": start.isoformat()}
        try:
            seen = await caller.post("/bookings", body)
        except httpx.ConnectError:
            return
        except httpx.TransportError as error:
            load.answers.append(Answer(sent_at, time.monotonic() - sent_at, type(error).__name__))
            continue
        seconds = time.monotonic() - sent_at
        load.answers.append(Answer(sent_at, seconds, seen.status_code, seen.json(), seen.headers))
        await asyncio.sleep(pause)


def _starts() -> Iterator[datetime]:
    start = next_monday()
    while True:
        yield start
        start += _EACH
