"""What machines ask first: what is this, is it alive, can it work."""

import asyncio
from collections.abc import Awaitable
from time import perf_counter
from typing import Literal

from fastapi import Request, Response
from pydantic import BaseModel, Field
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.core.dependencies import AppSettings
from app.core.routing import ApiRouter
from app.database import Database

VERSION = "0.1.0"
CHECK_TIMEOUT_SECONDS = 2.0

router = ApiRouter(tags=["system"])


class Links(BaseModel):
    api: str
    health: str
    docs: str | None


class Metadata(BaseModel):
    name: str
    version: str
    environment: str
    links: Links


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Check(BaseModel):
    state: Literal["ok", "down", "behind"]
    latency_ms: float


class Readiness(BaseModel):
    """`ready`; `degraded` (slower, but right: Redis is away); or `unready`, which is 503."""

    status: Literal["ready", "degraded", "unready"]
    checks: dict[str, Check] = Field(description="`postgres`, `migrations` and `redis`.")


@router.get("/", operation_id="system_root", summary="What this is")
async def root(settings: AppSettings) -> Metadata:
    return Metadata(
        name=settings.PROJECT_NAME,
        version=VERSION,
        environment=settings.ENVIRONMENT,
        links=Links(
            api=settings.API_V1_STR,
            health="/health",
            docs="/docs" if settings.serves_docs else None,
        ),
    )


@router.get("/health", operation_id="system_health", summary="Is it alive")
async def health() -> Health:
    """Touches nothing else: a process that can answer is alive."""
    return Health()


@router.get(
    "/health/ready",
    operation_id="system_ready",
    summary="Can it work",
    responses={503: {"model": Readiness, "description": "Postgres is away or not migrated."}},
)
async def ready(request: Request, response: Response) -> Readiness:
    state = request.app.state
    postgres, migrations, redis = await asyncio.gather(
        _timed(_postgres(state.database)),
        _timed(_migrated(state.database, state.migration_head)),
        _timed(_redis(state.redis)),
    )
    checks = {"postgres": postgres, "migrations": migrations, "redis": redis}
    if postgres.state != "ok" or migrations.state != "ok":
        response.status_code = 503
        return Readiness(status="unready", checks=checks)
    return Readiness(status="ready" if redis.state == "ok" else "degraded", checks=checks)


async def _timed(check: Awaitable[Literal["ok", "behind"]]) -> Check:
    started = perf_counter()
    state: Literal["ok", "down", "behind"]
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            state = await check
    except (OSError, TimeoutError, SQLAlchemyError, RedisError):
        state = "down"
    return Check(state=state, latency_ms=round((perf_counter() - started) * 1000, 2))


async def _postgres(database: Database) -> Literal["ok"]:
    async with database.reading() as session:
        await session.execute(text("SELECT 1"))
    return "ok"


async def _migrated(database: Database, head: str) -> Literal["ok", "behind"]:
    async with database.reading() as session:
        current = (await session.scalars(text("SELECT version_num FROM alembic_version"))).all()
    return "ok" if list(current) == [head] else "behind"


async def _redis(redis: Redis) -> Literal["ok"]:
    await redis.ping()
    return "ok"
