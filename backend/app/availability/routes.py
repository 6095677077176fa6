"""`/availability`: public."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from app.availability.dependencies import AvailabilityReader
from app.availability.schemas import AvailabilityOut, Moment
from app.availability.service import Question
from app.core.errors import NotFound, ValidationFailed
from app.core.problems import problems
from app.core.routing import ApiRoute
from app.core.schemas import Zone

router = APIRouter(prefix="/availability", tags=["availability"], route_class=ApiRoute)


@router.get(
    "",
    operation_id="availability_get",
    summary="Free times of a service",
    description=(
        "Every slot in the answer can be booked unless somebody takes it first. At most 62 days. "
        "The `ETag` changes exactly when the answer does."
    ),
    response_model=AvailabilityOut,
    responses=problems(NotFound, ValidationFailed),
)
async def get_availability(
    availability: AvailabilityReader,
    service_id: UUID,
    start: Annotated[Moment, Query(description="A date or an instant.")],
    end: Annotated[Moment, Query(description="A date (inclusive) or an instant (exclusive).")],
    time_zone: Annotated[
        Zone | None, Query(description="Of the answer; default: the location's or business's.")
    ] = None,
    duration_minutes: Annotated[int | None, Query(ge=1, le=10_080)] = None,
    provider_id: Annotated[list[UUID] | None, Query(max_length=1000)] = None,
    location_id: UUID | None = None,
) -> Response:
    answer = await availability.free_times(
        Question(
            service_id=service_id,
            start=start,
            end=end,
            time_zone=time_zone,
            duration_minutes=duration_minutes,
            provider_ids=tuple(sorted(set(provider_id or ()))),
            location_id=location_id,
        )
    )
    return Response(
        answer.body,
        media_type="application/json",
        # Clients may keep it, but must ask before they use it: a free time is soon taken.
        headers={"ETag": answer.etag, "Cache-Control": "no-cache"},
    )
