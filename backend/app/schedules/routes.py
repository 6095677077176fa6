"""`/providers/{id}/schedule`: public to read; its provider or `schedules:write` may change it."""

from uuid import UUID

from fastapi import Response

from app.auth.dependencies import CurrentPrincipal, MaybePrincipal
from app.catalog.offered import OfferedRoute
from app.core.errors import (
    Forbidden,
    NotFound,
    Unauthenticated,
    ValidationFailed,
    VersionMismatch,
)
from app.core.preconditions import Precondition, etag
from app.core.problems import problems
from app.core.routing import ApiRouter
from app.schedules.dependencies import Schedules, SchedulesReader
from app.schedules.schemas import ScheduleChanged, ScheduleIn, ScheduleOut

router = ApiRouter(prefix="/providers", tags=["schedules"], route_class=OfferedRoute)


@router.get(
    "/{provider_id}/schedule",
    operation_id="schedules_get",
    summary="Show weekly hours",
    responses=problems(NotFound, ValidationFailed),
)
async def get_schedule(
    provider_id: UUID, schedules: SchedulesReader, principal: MaybePrincipal, response: Response
) -> ScheduleOut:
    schedule = await schedules.show(provider_id, principal)
    response.headers["ETag"] = etag(schedule.version)
    return schedule


@router.put(
    "/{provider_id}/schedule",
    operation_id="schedules_put",
    summary="Set weekly hours",
    description="Bookings stay as they are; the answer lists those that are now outside hours.",
    responses=problems(Unauthenticated, Forbidden, NotFound, VersionMismatch, ValidationFailed),
)
async def put_schedule(
    provider_id: UUID,
    schedule: ScheduleIn,
    principal: CurrentPrincipal,
    schedules: Schedules,
    seen: Precondition,
    response: Response,
) -> ScheduleChanged:
    current = await schedules.replace(provider_id, schedule, seen, principal)
    response.headers["ETag"] = etag(current.version)
    return current
