"""Those who follow the log: what they do comes after each commit, once, and never without it.

The log is the outbox. A follower reads it in the order (transaction, id) from a cursor of its own,
and only up to the oldest transaction that is still running: ids are drawn before commit, so that
what commits late would be passed over otherwise. What it writes and its cursor move in one
transaction; it is there exactly once, whatever crashes. It never talks to the network: it enqueues
jobs, which do.

Any number of processes may run the same followers: whoever finds a cursor taken passes by.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

import structlog
from sqlalchemy import (
    ARRAY,
    Text,
    bindparam,
    func,
    literal,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql.selectable import LateralFromClause

from app.core.events import SETTLED_BEFORE, Event, Position, read_after
from app.core.prepared import Prepared
from app.core.reporting import report
from app.database import Base, Database

log = structlog.get_logger(__name__)

Follow = Callable[[AsyncSession, Sequence[Event]], Awaitable[None]]
"""Told of events in their order, in a transaction that also moves the cursor."""

BATCH = 500
POLL_SECONDS = 1.0
_LONGEST_REST_SECONDS = 60.0
_PATIENCE_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.01
_LAST_ID = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Follower:
    """Who follows the log; `types` are the beginnings of the events' types it is told of."""

    name: str
    types: tuple[str, ...]
    follow: Follow


class Cursor(Base):
    """How far a follower has come.

    A release that brings a follower brings its row with its migration (see `0009`); where one is
    missing, it begins at the end: what happened before it existed is not announced.
    """

    __tablename__ = "followers"

    name: Mapped[str] = mapped_column(primary_key=True)
    transaction_id: Mapped[int]
    event_id: Mapped[UUID]


def _next_event() -> LateralFromClause:
    """The next event after a cursor, whether or not it can be read yet."""
    return (
        select(Event.transaction_id, Event.occurred_at)
        .where(
            tuple_(Event.transaction_id, Event.id) > tuple_(Cursor.transaction_id, Cursor.event_id)
        )
        .order_by(Event.transaction_id, Event.id)
        .limit(1)
        .lateral("following")
    )


def _looking() -> Prepared:
    """Each follower, and whether the next event after its cursor is there, and can be read yet."""
    given = func.unnest(bindparam("names", type_=ARRAY(Text()))).table_valued("name")
    given = given.render_derived(name="given")
    following = _next_event()
    return Prepared(
        select(
            given.c.name,
            Cursor.name.is_not(None).label("is_known"),
            following.c.transaction_id.is_not(None).label("is_behind"),
            (following.c.transaction_id < SETTLED_BEFORE).label("is_readable"),
        ).select_from(
            given.outerjoin(Cursor, Cursor.name == given.c.name).outerjoin(following, true())
        )
    )


_LOOK = _looking()


async def lags(session: AsyncSession) -> Mapping[str, float]:
    """How many seconds ago the next event happened that each follower has not been told of.

    0: it has been told of everything. One round trip.
    """
    following = _next_event()
    seconds = func.extract("epoch", func.now() - following.c.occurred_at)
    rows = await session.execute(
        select(Cursor.name, func.coalesce(seconds, 0)).join(following, true(), isouter=True)
    )
    return {name: max(float(behind), 0.0) for name, behind in rows}


@dataclass
class _Rest:
    """A follower that failed is left alone for a while, longer each time."""

    failures: int = 0
    ends_at: float = 0.0

    def begin(self) -> None:
        self.failures += 1
        self.ends_at = monotonic() + min(2.0 ** (self.failures - 1), _LONGEST_REST_SECONDS)


class Followers:
    def __init__(self, database: Database, followers: Sequence[Follower]) -> None:
        self._database = database
        self._followers = {follower.name: follower for follower in followers}
        self._rests: dict[str, _Rest] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Follow until told to stop, through outages.

        While nothing is new, that is one statement a second for all of them.
        """
        was_interrupted = False
        while self._followers and not stopping.is_set():
            try:
                has_moved, _ = await self._round()
                was_interrupted = False
            except Exception as error:  # noqa: BLE001 - whatever it was, the log must be followed
                if not was_interrupted:
                    log.warning("followers_interrupted", error=type(error).__name__)
                has_moved, was_interrupted = False, True
            if not has_moved:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), POLL_SECONDS)

    async def run_due(self) -> bool:
        """Follow until nothing is left, those that fail excepted; whether there was anything.

        What is held back by transactions that are still running is waited for, for a while.
        """
        self._rests.clear()
        has_ever_moved, patient_until = False, monotonic() + _PATIENCE_SECONDS
        while self._followers:
            has_moved, must_wait = await self._round()
            has_ever_moved |= has_moved
            if has_moved:
                continue
            if not must_wait or monotonic() > patient_until:
                break
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        return has_ever_moved

    async def _round(self) -> tuple[bool, bool]:
        """Look once; whether somebody moved, and whether somebody must wait for a transaction."""
        rows = await _LOOK.all(self._database.readers, {"names": list(self._followers)})
        if unknown := [row.name for row in rows if not row.is_known]:
            await self._begin(unknown)
        has_moved = must_wait = False
        for row in rows:
            if not row.is_behind or self._rests.get(row.name, _Rest()).ends_at > monotonic():
                continue
            if row.is_readable:
                has_moved |= await self._advance(self._followers[row.name])
            else:
                must_wait = True
        return has_moved, must_wait

    async def _begin(self, names: Sequence[str]) -> None:
        """Let these begin at the log's end."""
        new = select(
            func.unnest(literal(names, ARRAY(Text()))), SETTLED_BEFORE - 1, literal(_LAST_ID)
        )
        async with self._database.transaction() as session:
            columns = ("name", "transaction_id", "event_id")
            await session.execute(insert(Cursor).from_select(columns, new).on_conflict_do_nothing())

    async def _advance(self, follower: Follower) -> bool:
        """Tell a follower of the next events; whether it has come further."""
        rest = self._rests.setdefault(follower.name, _Rest())
        try:
            async with self._database.transaction() as session:
                has_moved = await _tell(session, follower)
        except Exception as error:
            rest.begin()
            log.warning(
                "follower_failed",
                follower=follower.name,
                failures=rest.failures,
                exc_info=error,
            )
            if rest.failures == 1:
                report(error, job=follower.name)
            return False
        rest.failures = 0
        return has_moved


async def _tell(session: AsyncSession, follower: Follower) -> bool:
    cursor = await session.scalar(
        select(Cursor).where(Cursor.name == follower.name).with_for_update(skip_locked=True)
    )
    if cursor is None:
        return False  # another process is at it
    position = Position(cursor.transaction_id, cursor.event_id)
    events = await read_after(session, position, most=BATCH)
    if not events:
        return False
    wanted = [event for event in events if event.type.startswith(follower.types)]
    if wanted:
        await follower.follow(session, wanted)
    last = events[-1]
    await session.execute(
        update(Cursor)
        .where(Cursor.name == follower.name)
        .values(transaction_id=last.transaction_id, event_id=last.id)
    )
    return True
