"""`/providers/{id}/overrides`, the hours of single days: public to read, to change as schedules."""

from typing import Annotated
from uuid import UUID

from fastapi import Path, Query, Response

from app.auth.dependencies import CurrentPrincipal, MaybePrincipal
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
from app.core.schemas import Day
from app.schedules.dependencies import Schedules, SchedulesReader
from app.schedules.schemas import OverrideChanged, OverrideIn, OverrideOut, OverrideRemoved

router = ApiRouter(prefix="/providers/{provider_id}/overrides", tags=["schedules"])

DayInPath = Annotated[Day, Path(description="In the schedule's zone.")]


@router.get(
    "",
    operation_id="overrides_list",
    summary="List the days with hours of their own",
    responses=problems(NotFound, ValidationFailed),
)
async def list_overrides(
    provider_id: UUID,
    schedules: SchedulesReader,
    page: Paging,
    principal: MaybePrincipal,
    *,
    start: Annotated[Day | None, Query(description="The first day.")] = None,
    end: Annotated[Day | None, Query(description="The last day.")] = None,
    sort: Annotated[str, sorted_by("date")] = "date",
) -> Page[OverrideOut]:
    return await schedules.list_overrides(
        provider_id, page, sort=sort, start=start, end=end, principal=principal
    )


@router.put(
    "/{date}",
    operation_id="overrides_put",
    summary="Set the hours of one day",
    description=(
        "They replace the weekday's, and a holiday; no interval: closed. "
        "Bookings stay as they are; the answer lists those that are now outside hours."
    ),
    responses=problems(Unauthenticated, Forbidden, NotFound, VersionMismatch, ValidationFailed),
)
async def put_override(
    provider_id: UUID,
    date: DayInPath,
    override: OverrideIn,
    principal: CurrentPrincipal,
    schedules: Schedules,
    seen: Precondition,
    response: Response,
) -> OverrideChanged:
    current = await schedules.override(provider_id, date, override, seen, principal)
    response.headers["ETag"] = etag(current.version)
    return current


@router.delete(
    "/{date}",
    operation_id="overrides_delete",
    summary="Let a day have its weekday's hours again",
    description="The answer lists the bookings that are now outside hours.",
    responses=problems(Unauthenticated, Forbidden, NotFound, VersionMismatch, ValidationFailed),
)
async def delete_override(
    provider_id: UUID,
    date: DayInPath,
    principal: CurrentPrincipal,
    schedules: Schedules,
    seen: Precondition,
) -> OverrideRemoved:
    return await schedules.remove_override(provider_id, date, seen, principal)
