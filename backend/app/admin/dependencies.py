"""Administration for routes."""

from typing import Annotated

from fastapi import Depends

from app.admin.service import AdminService
from app.core.unit_of_work import ReadSession


async def admin_reader(session: ReadSession) -> AdminService:
    return AdminService(session)


AdminReader = Annotated[AdminService, Depends(admin_reader)]
