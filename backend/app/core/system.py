"""What machines ask first: what is this, is it alive, can it work."""

from typing import Literal

from fastapi import Request, Response
from pydantic import BaseModel

from app.core.dependencies import AppSettings
from app.core.health import Health, Readiness
from app.core.routing import ApiRouter, PlainRoute

VERSION = "0.1.0"

router = ApiRouter(tags=["system"])
probes = ApiRouter(prefix="/health", tags=["system"], route_class=PlainRoute)


class Links(BaseModel):
    api: str
    health: str
    docs: str | None


class Metadata(BaseModel):
    name: str
    version: str
    environment: str
    links: Links


class Alive(BaseModel):
    status: Literal["ok"] = "ok"


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


@probes.get("", operation_id="system_health", summary="Is it alive")
async def health() -> Alive:
    """Touches nothing else: a process that can answer is alive."""
    return Alive()


@probes.get(
    "/ready",
    operation_id="system_ready",
    summary="Can it work",
    responses={
        503: {
            "model": Readiness,
            "description": "Postgres is away or not migrated, or the process is ending.",
        }
    },
)
async def ready(request: Request, response: Response) -> Readiness:
    """Each part with its state and latency. Without Redis it is `degraded`, and works on."""
    health: Health = request.app.state.health
    readiness = await health.readiness()
    if not readiness.takes_requests:
        response.status_code = 503
    return readiness
