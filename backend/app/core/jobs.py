"""The queue port: work that follows a commit, kept in Postgres by pgqueuer.

A job is a name and the id of the row that says the rest. It is enqueued in the transaction that
makes it necessary, so a rollback leaves none and a crash after the commit loses none. It runs at
least once: a runner that dies has its jobs taken over by another when its heartbeat stops, so
every handler must bear being run twice.

A handler that fails runs again after a growing pause; after the last attempt, or when it says
`GiveUp`, the job is kept as failed, for an operator to look at.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from pgqueuer import (
    AsyncpgDriver,
    Job,
    Queries,
    QueueManager,
    RetryRequested,
    SchedulerManager,
)
from pgqueuer.adapters.persistence.qb import (
    DBSettings,
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.core.executors import EntrypointExecutor
from pgqueuer.domain.types import Channel, QueueExecutionMode
from pgqueuer.models import Context, Schedule
from pgqueuer.ports.driver import Driver
from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Interval,
    LargeBinary,
    Text,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    sql,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from app.config import Settings
from app.core.context import bound_request_id, current_request_id
from app.core.followers import Followers
from app.core.prepared import Prepared
from app.core.reporting import report
from app.postgres import CONNECT_TIMEOUT_SECONDS, connect

log = structlog.get_logger(__name__)

Handler = Callable[[UUID], Awaitable[None]]
Routine = Callable[[], Awaitable[None]]
"""What is done again and again, whatever happens: when, is said in cron's terms."""

MAXIMUM_ATTEMPTS = 8
HEARTBEAT_TIMEOUT = timedelta(seconds=15)
"""A runner that has been silent for this long is dead, and its jobs are free again."""

_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=10), timedelta(minutes=15)
_POLL_INTERVAL = timedelta(seconds=10)  # for what no notification announces: the dead's jobs
_LAST_LOOK = timedelta(milliseconds=50)  # whether those that were begun are done
_AT_ONCE = 10
_LEAST = 2  # that pgqueuer can do with
_CONTINUOUS = QueueExecutionMode.continuous
_RECONNECT_SECONDS = 2
_GRACE_SECONDS = 20
_FAREWELL_SECONDS = 5

_BACKLOG = text(
    """
    SELECT entrypoint AS job, status::text AS state, count(*) AS number,
        coalesce(extract(epoch FROM now() - min(execute_after)), 0) AS due
    FROM pgqueuer GROUP BY 1, 2"""
)

# Said in full: what is not said, pgqueuer reads from the environment, under names as common as
# CHANNEL and FUNCTION.
_NAMES = DBSettings(
    prefix="",
    db_schema=None,
    channel=Channel("ch_pgqueuer"),
    function="fn_pgqueuer_changed",
    trigger="tg_pgqueuer_changed",
    queue_table="pgqueuer",
    queue_table_log="pgqueuer_log",
    schedules_table="pgqueuer_schedules",
    statistics_table="pgqueuer_statistics",
    queue_status_type="pgqueuer_status",
)


class GiveUp(Exception):
    """No later attempt can succeed. Its text is logged: it names nobody."""


class JobFailed(Exception):
    """What pgqueuer keeps of a failure: the kind of error, for its text may be personal."""


def pause_before(attempt: int) -> timedelta:
    """How long to wait before this attempt, the second being the first that waits.

    10 s, 30 s, 90 s, 270 s, 810 s and then 15 minutes: eight attempts take three quarters of an
    hour, within the lifetime of what most of them carry.
    """
    return min(_FIRST_PAUSE * int(3 ** (attempt - 2)), _LONGEST_PAUSE)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be done, about a row; `after` is how long to wait from now on."""

    name: str
    subject_id: UUID
    after: timedelta = timedelta()


async def enqueue(
    session: AsyncSession, name: str, subject_id: UUID, *, after: timedelta = timedelta()
) -> None:
    """Have a job done once the session's transaction is committed; one round trip.

    `after` is how long to wait from now on, as Postgres' clock counts.
    """
    await enqueue_all(session, name, {subject_id: after})


async def enqueue_all(session: AsyncSession, name: str, after: Mapping[UUID, timedelta]) -> None:
    """The same job for several, each after its own wait; one round trip."""
    if after:
        jobs = [NewJob(name, subject_id, wait) for subject_id, wait in after.items()]
        await _ENQUEUE.all(session, enqueued(jobs))


def enqueuing(*, only_if: ColumnElement[bool] | None = None) -> list[CTE]:
    """CTEs that enqueue the jobs of `enqueued`, for a statement that does what they follow from.

    They do what pgqueuer's own statement does. Even without any job they notify all runners, for
    which Postgres commits one after the other: leave them out where there is none.
    """
    given = (
        func.unnest(
            bindparam("jobs_names", type_=ARRAY(Text())),
            bindparam("jobs_subjects", type_=ARRAY(LargeBinary())),
            bindparam("jobs_waits", type_=ARRAY(Interval())),
        )
        .table_valued("name", "subject", "wait")
        .render_derived(name="given")
    )
    queue = sql.table("pgqueuer", *map(sql.column, _QUEUED))
    queued: ColumnElement[str] = literal_column("'queued'::pgqueuer_status")
    job = select(
        literal_column("0"),
        given.c.name,
        given.c.subject,
        func.now() + sql.cast(given.c.wait, Interval()),
        bindparam("jobs_headers", type_=JSONB(none_as_null=True)),
        queued,
    ).where(true() if only_if is None else only_if)
    added = (
        insert(queue)
        .from_select(list(_QUEUED), job)
        .returning(sql.column("id"), queue.c.entrypoint, queue.c.priority)
        .cte("jobs_queued")
    )
    logged = insert(sql.table("pgqueuer_log", *map(sql.column, _LOGGED))).from_select(
        list(_LOGGED), select(added.c.id, added.c.entrypoint, added.c.priority, queued)
    )
    return [added, logged.cte("jobs_logged")]


def enqueued(jobs: Sequence[NewJob]) -> dict[str, Any]:
    """The parameters of `enqueuing`."""
    request_id = current_request_id()
    return {
        "jobs_names": [job.name for job in jobs],
        "jobs_subjects": [job.subject_id.bytes for job in jobs],
        "jobs_waits": [max(job.after, timedelta()) for job in jobs],
        "jobs_headers": {"request_id": request_id} if request_id else None,
    }


_QUEUED = ("priority", "entrypoint", "payload", "execute_after", "headers", "status")
_LOGGED = ("job_id", "entrypoint", "priority", "status")
# Built once: to build it takes longer than to run it.
_ENQUEUE = Prepared(select(literal_column("1")).add_cte(*enqueuing()))


@dataclass(frozen=True, slots=True)
class Backlog:
    """What there is to do.

    `jobs`: how many by name and state (`queued`, `picked`, `failed`). `oldest`: for how many
    seconds the one that has been due longest has been so, by name.
    """

    jobs: Mapping[tuple[str, str], int]
    oldest: Mapping[str, float]


async def backlog(session: AsyncSession) -> Backlog:
    """What is in the queue now. One round trip."""
    rows = (await session.execute(_BACKLOG)).all()
    return Backlog(
        {(row.job, row.state): row.number for row in rows},
        {row.job: float(row.due) for row in rows if row.state == "queued" and row.due > 0},
    )


class JobRunner:
    """Works off the queue, on a connection of its own. Any number of them may run at once.

    It does ten jobs at a time, and no more than half of the connections of its process allow.

    `routines` are run at their times, by one of all the runners: `name: (cron, routine)`.
    `followers` of the log are run beside it. `at_once` says of how many jobs of a name all runners
    together work at a time, where it matters.
    """

    def __init__(
        self,
        settings: Settings,
        handlers: Mapping[str, Handler],
        routines: Mapping[str, tuple[str, Routine]] | None = None,
        followers: Followers | None = None,
        at_once: Mapping[str, int] | None = None,
    ) -> None:
        self._settings = settings
        self._handlers = handlers
        self._routines = routines or {}
        self._followers = followers
        self._at_once = at_once or {}
        # Requests of the same process find connections whatever the jobs wait for.
        places = settings.POSTGRES_POOL_SIZE + settings.POSTGRES_MAX_OVERFLOW
        self._most = max(min(_AT_ONCE, places // 2), _LEAST)
        self._manager: QueueManager | None = None
        self._at_work: set[asyncio.Task[Any]] = set()
        self._stopping = asyncio.Event()
        self._stopped_at: float | None = None

    @property
    def grace_left(self) -> float:
        """Seconds for what has been begun, of which some are over since it was told to stop."""
        since = 0.0 if self._stopped_at is None else monotonic() - self._stopped_at
        return max(_GRACE_SECONDS - since, 0.0)

    async def run(self) -> None:
        """Work until told to stop, through outages of Postgres; then finish what was begun."""
        following = self._followers.run(self._stopping) if self._followers else None
        await asyncio.gather(self._run_queue(), *([following] if following else ()))

    async def _run_queue(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._work(_CONTINUOUS, Queries)
            except Exception as error:  # noqa: BLE001 - whatever it was, the queue must not stand
                log.warning("jobs_interrupted", error=type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _RECONNECT_SECONDS)

    async def run_due(self) -> None:
        """Let the log be followed to its end, work off what is due, and return."""
        if self._followers:
            await self._followers.run_due()
        await self._work(QueueExecutionMode.drain, _DueOnly)
        while self._followers and await self._followers.run_due():
            await self._work(QueueExecutionMode.drain, _DueOnly)

    def stop(self) -> None:
        """Begin no more jobs."""
        if self._stopped_at is None:
            self._stopped_at = monotonic()
        self._stopping.set()
        if self._manager is not None:
            self._manager.shutdown.set()

    def abandon(self) -> None:
        """Put the jobs that have been begun back into the queue."""
        for task in self._at_work:
            task.cancel()

    async def _work(self, mode: QueueExecutionMode, queries: type[Queries]) -> None:
        async with _connection(self._settings) as connection:
            # One driver for both: it is what lets them take turns on the connection.
            on_connection = _queries(AsyncpgDriver(connection), queries)
            manager = QueueManager(on_connection, channel=_NAMES.channel)
            executor = partial(_Executor, at_work=self._at_work)
            for name, handler in self._handlers.items():
                manager.entrypoint(
                    name,
                    concurrency_limit=self._at_once.get(name, 0),
                    on_failure="hold",
                    executor_factory=executor,
                )(_entrypoint(handler))
            # An idle runner would notice a lost connection at its next poll only.
            connection.add_termination_listener(lambda _: manager.shutdown.set())
            self._manager = manager
            if self._stopping.is_set():
                return
            async with self._routine_work(on_connection if mode is _CONTINUOUS else None):
                await manager.run(
                    mode=mode,
                    batch_size=self._most // 2,
                    max_concurrent_tasks=self._most,
                    dequeue_timeout=_POLL_INTERVAL if mode is _CONTINUOUS else _LAST_LOOK,
                    heartbeat_timeout=HEARTBEAT_TIMEOUT,
                )

    @asynccontextmanager
    async def _routine_work(self, queries: Queries | None) -> AsyncIterator[None]:
        """Routines are run when it is time for as long as the block lasts."""
        if queries is None or not self._routines:
            yield
            return
        scheduler = SchedulerManager(queries)
        for name, (times, routine) in self._routines.items():
            scheduler.schedule(name, times)(_scheduled(name, routine))
        task = asyncio.create_task(scheduler.run(), name="routines")
        try:
            yield
        finally:
            scheduler.shutdown.set()
            (failure,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(failure, Exception):
                log.warning("routines_interrupted", error=type(failure).__name__)


@asynccontextmanager
async def running(runner: JobRunner) -> AsyncIterator[None]:
    """Jobs are worked off for as long as the block lasts.

    At its end, what has been begun is finished; what takes longer than the grace goes back into
    the queue.
    """
    task = asyncio.create_task(runner.run(), name="jobs")
    try:
        yield
    finally:
        runner.stop()
        _, late = await asyncio.wait([task], timeout=runner.grace_left)
        if late:
            runner.abandon()
            await asyncio.wait([task], timeout=_FAREWELL_SECONDS)


class _DueOnly(Queries):
    """To its manager the queue is empty when nothing is due, whatever waits for later."""

    async def queued_work(self, entrypoints: list[Any]) -> int:
        return await self.eligible_queued_work(entrypoints)


@dataclass
class _Executor(EntrypointExecutor):
    """Runs a job, and decides what becomes of it when it fails."""

    at_work: set[asyncio.Task[Any]]

    async def execute(self, job: Job, context: Context) -> None:
        attempt = job.attempts + 1
        task = asyncio.current_task()
        self.at_work.update({task} if task else ())
        try:
            await super().execute(job, context)
        except asyncio.CancelledError:
            # pgqueuer would delete it: to pgqueuer, who cancels a task cancels its job.
            raise RetryRequested(reason="interrupted") from None
        except Exception as error:
            given_up = isinstance(error, GiveUp) or attempt >= MAXIMUM_ATTEMPTS
            log.warning(
                "job_failed",
                job=job.entrypoint,
                job_id=job.id,
                attempt=attempt,
                given_up=given_up,
                exc_info=error,
            )
            if given_up:
                report(error, job=job.entrypoint)
                raise JobFailed(type(error).__name__) from None
            raise RetryRequested(pause_before(attempt + 1), type(error).__name__) from None
        finally:
            self.at_work.difference_update({task})


def _entrypoint(handler: Handler) -> Callable[[Job], Awaitable[None]]:
    async def perform(job: Job) -> None:
        request_id = (job.headers or {}).get("request_id")
        with bound_request_id(str(request_id) if request_id else f"job-{job.id}"):
            await handler(UUID(bytes=job.payload))

    return perform


def _scheduled(name: str, routine: Routine) -> Callable[[Schedule], Awaitable[None]]:
    async def perform(_: Schedule) -> None:
        with bound_request_id(f"routine-{name}"):
            try:
                await routine()
            except Exception as error:
                log.warning("routine_failed", routine=name, exc_info=error)

    return perform


def _queries(driver: Driver, kind: type[Queries] = Queries) -> Queries:
    return kind(
        driver,
        QueryBuilderEnvironment(_NAMES),
        QueryQueueBuilder(_NAMES),
        QuerySchedulerBuilder(_NAMES),
    )


@asynccontextmanager
async def _connection(settings: Settings) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A connection that listens; it is not the pool's, where it would be missed."""
    names = {"application_name": "oneslot-jobs", "timezone": "UTC"}
    connection = await connect(settings, server_settings=names)
    try:
        yield connection
    finally:
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=CONNECT_TIMEOUT_SECONDS)
