"""The services of availability for routes: one that takes time, and one that only looks."""

from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import State

from app.availability.explanation_service import ExplanationService
from app.availability.free_times_service import FreeTimesService
from app.availability.service import AvailabilityService
from app.availability.time_off_service import TimeOffService
from app.core.dependencies import AppClock
from app.core.unit_of_work import ReadSession, Session
from app.schedules.dependencies import Schedules, SchedulesReader


async def availability(session: Session, clock: AppClock) -> AvailabilityService:
    return AvailabilityService(session, clock)


async def availability_reader(session: ReadSession, clock: AppClock) -> AvailabilityService:
    return AvailabilityService(session, clock)


def free_times_service(state: State) -> FreeTimesService:
    return FreeTimesService(
        state.database.readers,
        state.outlines,
        state.answers,
        state.clock,
        state.settings.BUSINESS_TIME_ZONE,
    )


async def free_times(request: Request) -> FreeTimesService:
    return free_times_service(request.app.state)


async def explanations(request: Request, clock: AppClock) -> ExplanationService:
    state = request.app.state
    return ExplanationService(state.database.readers, state.commitments, clock)


Availability = Annotated[AvailabilityService, Depends(availability)]
AvailabilityReader = Annotated[AvailabilityService, Depends(availability_reader)]
Explanations = Annotated[ExplanationService, Depends(explanations)]
FreeTimesReader = Annotated[FreeTimesService, Depends(free_times)]


async def time_off(session: Session, schedules: Schedules, clock: AppClock) -> TimeOffService:
    return TimeOffService(session, schedules, clock)


async def time_off_reader(
    session: ReadSession, schedules: SchedulesReader, clock: AppClock
) -> TimeOffService:
    return TimeOffService(session, schedules, clock)


TimeOffs = Annotated[TimeOffService, Depends(time_off)]
TimeOffsReader = Annotated[TimeOffService, Depends(time_off_reader)]
