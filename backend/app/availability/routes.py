"""`/availability`: public."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from app.auth.dependencies import MaybePrincipal
from app.auth.errors import InvalidToken, TokenExpired
from app.availability.asking import AskingRoute
from app.availability.dependencies import Explanations, FreeTimesReader
from app.availability.free_times_service import NextQuestion, Question
from app.availability.schemas import (
    DETAILS,
    AnswersZone,
    Asked,
    AvailabilityOut,
    DayCount,
    Duration,
    ExplanationOut,
    NextOut,
    ObstacleOut,
    ProviderIds,
    Seats,
)
from app.availability.service import Wish
from app.core.caching import Answer, Found
from app.core.errors import NotFound, ValidationFailed
from app.core.problems import problems
from app.core.routing import ApiRouter
from app.core.schemas import Instant

router = ApiRouter(prefix="/availability", tags=["availability"])
asking = ApiRouter(prefix="/availability", tags=["availability"], route_class=AskingRoute)


@asking.get(
    "",
    operation_id="availability_get",
    summary="Free times of a service",
    description=(
        "Every slot in the answer can be booked unless somebody takes it first, or who asks for it "
        "has as much of the service as one customer may: the answer is the same for everybody, and "
        "`/availability/explain` knows who asks. At most 62 days. "
        "The `ETag` changes exactly when the answer does."
    ),
    response_model=AvailabilityOut,
    responses=problems(NotFound, ValidationFailed),
)
async def get_availability(
    asked: Annotated[Asked, Query()], free_times: FreeTimesReader
) -> tuple[Answer, Found]:
    return await free_times.free_times(_question(asked))


@asking.get(
    "/days",
    operation_id="availability_days",
    summary="How many free times each day has",
    description="For a month's view. At most 62 days.",
    response_model=list[DayCount],
    responses=problems(NotFound, ValidationFailed),
)
async def get_days(
    asked: Annotated[Asked, Query()], free_times: FreeTimesReader
) -> tuple[Answer, Found]:
    return await free_times.free_days(_question(asked))


@router.get(
    "/next",
    operation_id="availability_next",
    summary="The first free times",
    description="From now on, as many as asked for, if there are that many within a year.",
    response_model=NextOut,
    responses=problems(NotFound, ValidationFailed),
)
async def get_next(
    free_times: FreeTimesReader,
    service_id: UUID,
    *,
    count: Annotated[int, Query(ge=1, le=50)] = 10,
    time_zone: Annotated[AnswersZone | None, Query()] = None,
    duration_minutes: Annotated[Duration | None, Query()] = None,
    provider_id: Annotated[ProviderIds | None, Query()] = None,
    location_id: UUID | None = None,
    seats: Seats = 1,
) -> Response:
    providers = tuple(sorted(set(provider_id or ())))
    asked = NextQuestion(
        service_id, count, time_zone, duration_minutes, providers, location_id, seats
    )
    answer = (await free_times.next_times(asked)).render_list()
    # Clients may keep it, but must ask before they use it: a free time is soon taken.
    headers = {"ETag": answer.etag, "Cache-Control": "no-cache"}
    return Response(answer.body, media_type="application/json", headers=headers)


@router.get(
    "/explain",
    operation_id="availability_explain",
    summary="Why a time cannot be booked",
    description=(
        "It judges as `POST /bookings` does. Of who sends a token it also says when they have as "
        "much of the service as one customer may (`limit_reached`); lists of free times are the "
        "same for everybody and know nothing of it."
    ),
    responses=problems(InvalidToken, TokenExpired, NotFound, ValidationFailed),
    openapi_extra={"security": [{}]},
)
async def explain(
    explanations: Explanations,
    principal: MaybePrincipal,
    service_id: UUID,
    start: Instant,
    *,
    provider_id: UUID | None = None,
    duration_minutes: Annotated[Duration | None, Query()] = None,
    location_id: UUID | None = None,
    seats: Seats = 1,
    exclude_booking_id: UUID | None = None,
) -> ExplanationOut:
    wish = Wish(
        service_id, start, provider_id, location_id, duration_minutes, seats, exclude_booking_id
    )
    customer_id = principal.user_id if principal is not None else None
    is_available, obstacles = await explanations.obstacles(wish, customer_id)
    return ExplanationOut(
        available=is_available,
        reasons=[
            ObstacleOut(provider_id=o.provider_id, reason=o.reason, detail=DETAILS[o.reason])
            for o in obstacles
        ],
    )


def _question(asked: Asked) -> Question:
    return Question(
        service_id=asked.service_id,
        start=asked.start,
        end=asked.end,
        time_zone=asked.time_zone,
        duration_minutes=asked.duration_minutes,
        provider_ids=tuple(sorted(set(asked.provider_id))),
        location_id=asked.location_id,
        seats=asked.seats,
        without=asked.exclude_booking_id,
    )
