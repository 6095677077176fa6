"""Administration for routes."""

from typing import Annotated

from fastapi import Depends, Request

from app.admin.export_service import ExportService
from app.admin.job_service import JobService
from app.admin.report_service import ReportService
from app.admin.service import AdminService
from app.core.dependencies import AppClock
from app.core.unit_of_work import ReadSession, Session


async def admin_reader(session: ReadSession) -> AdminService:
    return AdminService(session)


AdminReader = Annotated[AdminService, Depends(admin_reader)]


async def report_service(session: ReadSession, clock: AppClock) -> ReportService:
    return ReportService(session, clock)


Reports = Annotated[ReportService, Depends(report_service)]


async def export_service(request: Request, clock: AppClock) -> ExportService:
    return ExportService(request.app.state.database, clock)


Exports = Annotated[ExportService, Depends(export_service)]


async def job_service(session: Session) -> JobService:
    return JobService(session)


async def job_reader(session: ReadSession) -> JobService:
    return JobService(session)


Jobs = Annotated[JobService, Depends(job_service)]
JobsReader = Annotated[JobService, Depends(job_reader)]
