"""`/admin/jobs`: what the queue holds, and what failed for good."""

from typing import Annotated

from fastapi import Depends, Path, Query, status

from app.admin.dependencies import Jobs, JobsReader
from app.admin.job_schemas import JobOut, JobsPage, JobState
from app.auth.dependencies import Idempotent, require
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.core.errors import (
    Forbidden,
    InvalidTransition,
    NotFound,
    Unauthenticated,
    ValidationFailed,
)
from app.core.pagination import Paging, sorted_by
from app.core.problems import problems
from app.core.routing import ApiRouter

router = ApiRouter(prefix="/jobs")

Manager = Annotated[Principal, Depends(require(Permission.JOBS_MANAGE))]
JobId = Annotated[int, Path(ge=1, lt=2**63)]


@router.get(
    "",
    operation_id="admin_jobs_list",
    summary="What the queue holds",
    dependencies=[Depends(require(Permission.JOBS_READ))],
    responses=problems(Unauthenticated, Forbidden, ValidationFailed),
)
async def list_jobs(
    jobs: JobsReader,
    page: Paging,
    *,
    state: Annotated[JobState | None, Query()] = None,
    name: Annotated[str | None, Query(max_length=100)] = None,
    sort: Annotated[str, sorted_by("created_at")] = "-created_at",
) -> JobsPage:
    return await jobs.list_jobs(page, sort=sort, state=state, name=name)


@router.post(
    "/{job_id}/retry",
    operation_id="admin_jobs_retry",
    summary="Do a failed job again",
    responses=problems(Unauthenticated, Forbidden, NotFound, InvalidTransition, ValidationFailed),
    dependencies=[Idempotent],
)
async def retry_job(job_id: JobId, principal: Manager, jobs: Jobs) -> JobOut:
    return await jobs.retry(job_id, principal)


@router.delete(
    "/{job_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="admin_jobs_discard",
    summary="Give a failed job up",
    responses=problems(Unauthenticated, Forbidden, NotFound, InvalidTransition, ValidationFailed),
)
async def discard_job(job_id: JobId, principal: Manager, jobs: Jobs) -> None:
    await jobs.discard(job_id, principal)
