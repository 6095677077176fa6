"""Whether this process can work: its parts are asked, each for a short time only."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Literal, TypeAlias

from pydantic import BaseModel, Field
from redis.asyncio import Redis

from app.core.life import Life
from app.postgres import Pulse

POSTGRES_SECONDS = 1.5
MIGRATIONS_SECONDS = 1.0
REDIS_SECONDS = 0.5

Finding: TypeAlias = Literal["ok", "behind"]


class Check(BaseModel):
    state: Literal["ok", "down", "behind"]
    latency_ms: float


class Readiness(BaseModel):
    """`ready`; `degraded` (slower, but right: Redis is away). `unready` and `ending` are 503."""

    @property
    def takes_requests(self) -> bool:
        return self.status in {"ready", "degraded"}

    status: Literal["ready", "degraded", "unready", "ending"]
    checks: dict[str, Check] = Field(description="`postgres`, `migrations` and `redis`.")


class Health:
    """Asks about the parts; whoever wants to know while they are being asked gets that answer.

    It takes 2.5 s at most, and 1.5 s where Postgres does not answer at all.
    """

    def __init__(self, postgres: Pulse, redis: Redis, migration_head: str, life: Life) -> None:
        self._life = life
        self._postgres = postgres
        self._redis = redis
        self._head = migration_head
        self._asking: asyncio.Task[Readiness] | None = None

    async def readiness(self) -> Readiness:
        if self._life.is_ending:
            return Readiness(status="ending", checks={})
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="health")
        # Whoever goes away ends the wait of nobody else.
        return await asyncio.shield(self._asking)

    async def aclose(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _ask(self) -> Readiness:
        (postgres, migrations), redis = await asyncio.gather(
            self._ask_postgres(), _timed(self._ask_redis, REDIS_SECONDS)
        )
        checks = {"postgres": postgres, "migrations": migrations, "redis": redis}
        if postgres.state != "ok" or migrations.state != "ok":
            return Readiness(status="unready", checks=checks)
        return Readiness(status="ready" if redis.state == "ok" else "degraded", checks=checks)

    async def _ask_postgres(self) -> tuple[Check, Check]:
        postgres = await _timed(self._answers, POSTGRES_SECONDS)
        if postgres.state != "ok":
            return postgres, Check(state="down", latency_ms=0)
        return postgres, await _timed(self._is_migrated, MIGRATIONS_SECONDS)

    async def _answers(self) -> Finding:
        await self._postgres.ask()
        return "ok"

    async def _is_migrated(self) -> Finding:
        revisions = await self._postgres.ask("SELECT version_num FROM alembic_version")
        return "ok" if revisions == [self._head] else "behind"

    async def _ask_redis(self) -> Finding:
        await self._redis.ping()
        return "ok"


async def _timed(ask: Callable[[], Awaitable[Finding]], seconds: float) -> Check:
    started = perf_counter()
    state: Literal["ok", "down", "behind"]
    try:
        async with asyncio.timeout(seconds):
            state = await ask()
    except Exception:  # noqa: BLE001 - whatever it was, no answer came
        state = "down"
    return Check(state=state, latency_ms=round((perf_counter() - started) * 1000, 2))
