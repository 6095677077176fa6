"""`/providers/{id}/time-off`: for its provider and `schedules:write`; the reasons are private."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response, status

from app.auth.dependencies import CurrentPrincipal, Idempotent
from app.availability.dependencies import TimeOffs, TimeOffsReader
from app.availability.time_off_schemas import TimeOffCreate, TimeOffCreated, TimeOffOut
from app.core.errors import (
    Forbidden,
    NotFound,
    Unauthenticated,
    ValidationFailed,
    VersionMismatch,
)
from app.core.pagination import Page, Paging, sorted_by
from app.core.preconditions import Precondition, etag
from app.core.problems import problems
from app.core.routing import ApiRouter
from app.core.schemas import Instant

router = ApiRouter(prefix="/providers/{provider_id}/time-off", tags=["schedules"])


@router.get(
    "",
    operation_id="time_off_list",
    summary="List time off",
    responses=problems(Unauthenticated, Forbidden, NotFound, ValidationFailed),
)
async def list_time_off(
    provider_id: UUID,
    service: TimeOffsReader,
    page: Paging,
    principal: CurrentPrincipal,
    *,
    start: Annotated[Instant | None, Query(description="Only what ends after this.")] = None,
    end: Annotated[Instant | None, Query(description="Only what begins before this.")] = None,
    sort: Annotated[str, sorted_by("start", "created_at")] = "start",
) -> Page[TimeOffOut]:
    return await service.list_time_off(
        provider_id, page, sort=sort, start=start, end=end, principal=principal
    )


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="time_off_create",
    summary="Take time off",
    description=(
        "Nothing can be booked then. Bookings stay as they are; the answer lists those during it."
    ),
    responses=problems(Unauthenticated, Forbidden, NotFound, ValidationFailed),
    dependencies=[Idempotent],
)
async def create_time_off(
    provider_id: UUID,
    time_off: TimeOffCreate,
    principal: CurrentPrincipal,
    service: TimeOffs,
    response: Response,
) -> TimeOffCreated:
    created = await service.add(provider_id, time_off, principal)
    response.headers["ETag"] = etag(created.version)
    return created


@router.delete(
    "/{time_off_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="time_off_delete",
    summary="Give time off back",
    responses=problems(Unauthenticated, Forbidden, NotFound, VersionMismatch, ValidationFailed),
)
async def delete_time_off(
    provider_id: UUID,
    time_off_id: UUID,
    principal: CurrentPrincipal,
    service: TimeOffs,
    seen: Precondition,
) -> None:
    await service.remove(provider_id, time_off_id, seen, principal)
