"""Schedules for routes: one that writes, one that only reads."""

from typing import Annotated

from fastapi import Depends

from app.core.unit_of_work import ReadSession, Session
from app.providers.dependencies import Providers, ProvidersReader
from app.schedules.service import ScheduleService


async def schedules(session: Session, providers: Providers) -> ScheduleService:
    return ScheduleService(session, providers)


async def schedules_reader(session: ReadSession, providers: ProvidersReader) -> ScheduleService:
    return ScheduleService(session, providers)


Schedules = Annotated[ScheduleService, Depends(schedules)]
SchedulesReader = Annotated[ScheduleService, Depends(schedules_reader)]
