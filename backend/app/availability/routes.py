"""`/availability`: public."""

from operator import methodcaller
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from app.availability.dependencies import FreeTimesReader
from app.availability.free_times_service import NextQuestion, Question
from app.availability.remembered import Questions, RememberingRoute, as_response
from app.availability.schemas import (
    DETAILS,
    AvailabilityOut,
    DayCount,
    ExplanationOut,
    Moment,
    NextOut,
    ObstacleOut,
)
from app.availability.service import Wish
from app.core.errors import NotFound, ValidationFailed
from app.core.problems import problems
from app.core.schemas import Instant, Zone

router = APIRouter(prefix="/availability", tags=["availability"], route_class=RememberingRoute)

Duration = Annotated[int | None, Query(ge=1, le=10_080)]
Seats = Annotated[int, Query(ge=1, le=1000, description="How many are wanted together.")]
ProviderIds = Annotated[list[UUID] | None, Query(max_length=1000)]
AnswersZone = Annotated[
    Zone | None, Query(description="Of the answer; default: the location's or business's.")
]


async def question(
    service_id: UUID,
    start: Annotated[Moment, Query(description="A date or an instant.")],
    end: Annotated[Moment, Query(description="A date (inclusive) or an instant (exclusive).")],
    *,
    time_zone: AnswersZone = None,
    duration_minutes: Duration = None,
    provider_id: ProviderIds = None,
    location_id: UUID | None = None,
    seats: Seats = 1,
    exclude_booking_id: Annotated[
        UUID | None,
        Query(description="A booking that is to be moved: its own time counts as free."),
    ] = None,
) -> Question:
    return Question(
        service_id=service_id,
        start=start,
        end=end,
        time_zone=time_zone,
        duration_minutes=duration_minutes,
        provider_ids=tuple(sorted(set(provider_id or ()))),
        location_id=location_id,
        seats=seats,
        without=exclude_booking_id,
    )


async def questions(request: Request) -> Questions:
    known: Questions = request.app.state.questions
    return known


Asked = Annotated[Question, Depends(question)]
Known = Annotated[Questions, Depends(questions)]


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
    free_times: FreeTimesReader, asked: Asked, known: Known, request: Request
) -> Response:
    answer = await free_times.free_times(asked)
    known.remember(request, methodcaller("free_times", asked))
    return as_response(answer)


@router.get(
    "/days",
    operation_id="availability_days",
    summary="How many free times each day has",
    description="For a month's view. At most 62 days.",
    response_model=list[DayCount],
    responses=problems(NotFound, ValidationFailed),
)
async def get_days(
    free_times: FreeTimesReader, asked: Asked, known: Known, request: Request
) -> Response:
    answer = await free_times.free_days(asked)
    known.remember(request, methodcaller("free_days", asked))
    return as_response(answer)


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
    time_zone: AnswersZone = None,
    duration_minutes: Duration = None,
    provider_id: ProviderIds = None,
    location_id: UUID | None = None,
    seats: Seats = 1,
) -> Response:
    providers = tuple(sorted(set(provider_id or ())))
    asked = NextQuestion(
        service_id, count, time_zone, duration_minutes, providers, location_id, seats
    )
    return as_response((await free_times.next_times(asked)).render_list())


@router.get(
    "/explain",
    operation_id="availability_explain",
    summary="Why a time cannot be booked",
    description="It judges as `POST /bookings` does.",
    responses=problems(NotFound, ValidationFailed),
)
async def explain(
    free_times: FreeTimesReader,
    service_id: UUID,
    start: Instant,
    *,
    provider_id: UUID | None = None,
    duration_minutes: Duration = None,
    location_id: UUID | None = None,
    seats: Seats = 1,
    exclude_booking_id: UUID | None = None,
) -> ExplanationOut:
    wish = Wish(
        service_id, start, provider_id, location_id, duration_minutes, seats, exclude_booking_id
    )
    is_available, obstacles = await free_times.obstacles(wish)
    return ExplanationOut(
        available=is_available,
        reasons=[
            ObstacleOut(provider_id=o.provider_id, reason=o.reason, detail=DETAILS[o.reason])
            for o in obstacles
        ],
    )
