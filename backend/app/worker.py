"""`python -m app.worker`: runs jobs apart from the API; start as many as are wanted.

SIGTERM and SIGINT let it finish what it has begun. A worker that is killed leaves its jobs to the
others, who notice after a quarter of a minute.
"""

import asyncio
import signal

import structlog

from app.config import Settings
from app.core.clock import system_clock
from app.core.jobs import running
from app.core.logging import configure_logging
from app.database import Database
from app.jobs import job_runner

log = structlog.get_logger(__name__)


async def work(settings: Settings) -> None:
    """Run jobs until the process is told to end."""
    told_to_end = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, told_to_end.set)
    database = Database.from_settings(settings)
    try:
        async with database.watched(), running(job_runner(settings, database, system_clock)):
            log.info("worker_started")
            await told_to_end.wait()
            log.info("worker_stopping")
    finally:
        await database.dispose()


def main() -> None:
    settings = Settings()
    configure_logging(settings)
    asyncio.run(work(settings))


if __name__ == "__main__":
    main()
