"""`GET /metrics`, where ENABLE_METRICS. It is the operator's own: keep it from the public."""

from time import monotonic

from fastapi import APIRouter, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from app.core import metrics
from app.core.followers import lags
from app.core.jobs import backlog
from app.database import Database
from app.postgres import LOST

_QUEUE_SECONDS = 10

router = APIRouter()


class QueueWatch:
    """Looks into the queue for metrics: every few seconds at most, however many ask."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._look_again_at = 0.0

    async def look(self) -> None:
        if monotonic() < self._look_again_at:
            return
        self._look_again_at = monotonic() + _QUEUE_SECONDS
        try:
            async with self._database.reading() as session:
                found, behind = await backlog(session), await lags(session)
        except (*LOST, SQLAlchemyError):
            return  # the pools' metrics tell that Postgres is away
        metrics.backlog(found.jobs, found.oldest)
        metrics.followers(behind)


@router.get("/metrics", include_in_schema=False)
async def scrape(request: Request) -> Response:
    state = request.app.state
    await state.queue_watch.look()
    metrics.pools(state.database.usage())
    return Response(metrics.exposition(), media_type=metrics.MEDIA_TYPE)
