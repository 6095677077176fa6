"""Looking after the queue: what waits, what failed, and what becomes of that."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.admin import job_repository as repository
from app.admin.job_schemas import JobOut, JobsPage, JobState, QueueDepth
from app.auth.principal import Principal
from app.core.errors import InvalidTransition, NotFound
from app.core.events import record
from app.core.jobs import backlog
from app.core.pagination import PageRequest
from app.database import AnyRow


class JobService:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_jobs(
        self, page: PageRequest, *, sort: str, state: JobState | None, name: str | None
    ) -> JobsPage:
        """What is in the queue, and how much. Two round trips."""
        found = await repository.JOBS.page(
            self._session, repository.jobs(state=state, name=name), page, sort=sort, build=_out
        )
        counted = (await backlog(self._session)).jobs
        depth = [
            QueueDepth.model_validate({"name": job, "state": in_state, "number": number})
            for (job, in_state), number in sorted(counted.items())
        ]
        return JobsPage(items=found.items, next_cursor=found.next_cursor, depth=depth)

    async def retry(self, job_id: int, principal: Principal) -> JobOut:
        """Have a job that failed for good done again, with as many attempts as a new one.

        Raises:
            NotFound.
            InvalidTransition: it has not failed.
        """
        before = await self._failed(job_id)
        await repository.retry(self._session, job_id)
        await self._record("job.retried", before, principal)
        after = await repository.lock(self._session, job_id)
        return before if after is None else _out(after)

    async def discard(self, job_id: int, principal: Principal) -> None:
        """Give up a job that failed for good.

        Raises:
            NotFound.
            InvalidTransition: it has not failed.
        """
        job = await self._failed(job_id)
        await repository.discard(self._session, job_id)
        await self._record("job.discarded", job, principal)

    async def _failed(self, job_id: int) -> JobOut:
        found = await repository.lock(self._session, job_id)
        if found is None:
            raise NotFound
        job = _out(found)
        if job.state != "failed":
            raise InvalidTransition("The job has not failed; it will be done.")
        return job

    async def _record(self, event_type: str, job: JobOut, principal: Principal) -> None:
        await record(
            self._session,
            event_type,
            subject_id=job.subject_id,
            actor=principal.actor,
            before={"id": job.id, "name": job.name, "attempts": job.attempts, "error": job.error},
        )


def _out(row: AnyRow) -> JobOut:
    columns = row._asdict()
    return JobOut.model_validate(columns | {"subject_id": UUID(bytes=columns["payload"])})
