"""kill -9 of the API and of a worker, again and again, while customers book.

What is committed is announced, by mail and by webhook, as often as it takes and each time under the
same ids; what is rolled back never is; and no job is lost. `KILLS=200 make test ARGS="-k random"`
is the whole proof, and takes a quarter of an hour.
"""

import asyncio
import json
import os
import random
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.config import Settings
from tests.business import Business, Caller, ok
from tests.mailbox import Mailbox
from tests.race.support import ROUND_THE_CLOCK, Server, Worker, customers, next_monday
from tests.race.test_kill_nine import CRASHING
from tests.receiver import Receiver, receiving

pytestmark = pytest.mark.race

KILLS = int(os.environ.get("KILLS", "3"))
CLIENTS = 4
PROGRESS = 3
"""How many bookings are acknowledged between two deaths, at least."""
PATIENCE = 120.0
"""Seconds for all to be announced in the end: the jobs of the dead are taken over after 15."""
_SUBJECT = re.compile(r"Your booking (\w+) is confirmed")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def settings(settings: Settings, mailbox: Mailbox) -> Settings:
    told = {
        "ACCESS_TOKEN_EXPIRE_MINUTES": 24 * 60,
        "JOBS_IN_PROCESS": True,
        "WEBHOOK_ALLOWED_NETWORKS": ("127.0.0.0/8",),
    }
    return settings.model_copy(update=mailbox.settings | told)


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    server = Server(settings, CRASHING)
    server.start()
    yield server
    await server.stop()


@dataclass
class Promises:
    """What was acknowledged: ids of bookings."""

    booked: set[str] = field(default_factory=set)

    async def more(self, number: int) -> None:
        wanted = len(self.booked) + number
        async with asyncio.timeout(60):
            while len(self.booked) < wanted:  # noqa: ASYNC110 - too many to send events
                await asyncio.sleep(0.01)


@pytest.mark.timeout(PATIENCE + 60 + 15 * KILLS)
async def test_what_is_committed_is_announced_under_the_same_ids_and_nothing_else(
    settings: Settings,
    server: Server,
    business: Business,
    mailbox: Mailbox,
    receiver: Receiver,
    database: "asyncpg.Connection[Any]",
) -> None:
    admin = await business.admin()
    ok(await admin.post("/webhooks", {"url": receiver.url(), "events": ["booking.created"]}))
    service = await business.service(durations_minutes=[15])
    for _ in range(CLIENTS):
        await business.provider(service, zone="UTC", hours=ROUND_THE_CLOCK)
    promises, chance = Promises(), random.Random()
    worker = Worker(settings)
    worker.start()
    try:
        async with AsyncExitStack() as stack:
            callers = await stack.enter_async_context(customers(settings, server, CLIENTS + 1))
            *booking, doomed = callers
            starts = _starts()
            tasks = [
                asyncio.create_task(_keep_booking(c, n, service, starts, promises))
                for n, c in enumerate(booking)
            ]
            for turn in range(KILLS):
                await promises.more(PROGRESS)
                await asyncio.sleep(chance.random() / 2)
                if turn % 3 == 0:
                    await server.kill()
                    server.start()
                elif turn % 3 == 1:
                    await worker.kill()
                    worker.start()
                else:
                    await _die_before_the_commit(server, doomed, service, next(starts))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        rows = await _announced(database, mailbox, receiver)
    finally:
        await worker.kill()

    assert promises.booked <= {str(row["id"]) for row in rows}
    mailed, hooked = _mailed(mailbox), _hooked(receiver)
    assert mailed.keys() == {row["reference"] for row in rows}
    assert hooked.keys() == {str(row["id"]) for row in rows}
    assert all(len(ids) == 1 for ids in (*mailed.values(), *hooked.values()))
    assert len({i for ids in mailed.values() for i in ids}) == len(rows)
    assert await database.fetchval("SELECT count(*) FROM pgqueuer WHERE status = 'failed'") == 0


async def _keep_booking(
    caller: Caller,
    number: int,
    service: dict[str, Any],
    starts: Iterator[datetime],
    promises: Promises,
) -> None:
    """Book one time after the other; what gets no answer is asked again under the same key."""
    for turn, start in enumerate(starts):
        body = {"service_id": service["id"], "start": start.isoformat()}
        key = {"Idempotency-Key": f"{number}-{turn}"}
        while True:
            try:
                answer = await caller.post("/bookings", body, headers=key)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            if answer.status_code < 500 and answer.status_code != 409:
                break
            await asyncio.sleep(0.05)  # the dead hold their locks until Postgres has noticed
        promises.booked.add(ok(answer)["id"])


async def _die_before_the_commit(
    server: Server, caller: Caller, service: dict[str, Any], start: datetime
) -> None:
    body = {"service_id": service["id"], "start": start.isoformat()}
    with pytest.raises(httpx.TransportError):
        await caller.post("/bookings", body, headers={"X-Test-Crash": "before-commit"})
    await server.died()
    server.start()


async def _announced(
    database: "asyncpg.Connection[Any]", mailbox: Mailbox, receiver: Receiver
) -> Sequence[asyncpg.Record]:
    """The bookings there are, when all of them have been announced, or after a long while."""
    rows: Sequence[asyncpg.Record] = []
    async with asyncio.timeout(PATIENCE):
        while True:
            rows = await database.fetch("SELECT id, reference FROM bookings")
            waiting = await database.fetchval(
                "SELECT count(*) FROM pgqueuer WHERE execute_after <= now() AND status <> 'failed'"
            )
            is_told = len(_mailed(mailbox)) >= len(rows) <= len(_hooked(receiver))
            if is_told and not waiting:
                return rows
            await asyncio.sleep(0.2)


def _mailed(mailbox: Mailbox) -> dict[str, set[str]]:
    """The Message-IDs of what was mailed about each booking, by its reference."""
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for mail in mailbox.mails:
        if subject := _SUBJECT.fullmatch(mail["Subject"]):
            ids[subject[1]].add(mail["Message-ID"])
    return ids


def _hooked(receiver: Receiver) -> dict[str, set[str]]:
    """The ids of what webhooks told of each booking, by the booking's id."""
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for received in receiver.received:
        told = json.loads(received.body)
        ids[told["data"]["subject"]["id"]].add(received.headers["webhook-id"])
    return ids


def _starts() -> Iterator[datetime]:
    start = next_monday()
    while True:
        yield start
        start += timedelta(minutes=15)
