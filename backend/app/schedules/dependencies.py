"""Schedules for routes: one that writes, one that only reads."""

from typing import Annotated

from fastapi import Depends, Request

from app.core.unit_of_work import ReadSession, Session
from app.providers.dependencies import Providers, ProvidersReader
from app.schedules.commitments import Commitments
from app.schedules.service import ScheduleService


async def commitments(request: Request) -> Commitments:
    found: Commitments = request.app.state.commitments
    return found


Promised = Annotated[Commitments, Depends(commitments)]


async def schedules(session: Session, providers: Providers, promised: Promised) -> ScheduleService:
    return ScheduleService(session, providers, promised)


async def schedules_reader(
    session: ReadSession, providers: ProvidersReader, promised: Promised
) -> ScheduleService:
    return ScheduleService(session, providers, promised)


Schedules = Annotated[ScheduleService, Depends(schedules)]
SchedulesReader = Annotated[ScheduleService, Depends(schedules_reader)]
