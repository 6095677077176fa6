"""`/admin`."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from app.admin.dependencies import AdminReader
from app.admin.export_routes import router as exports
from app.admin.job_routes import router as jobs
from app.admin.report_routes import router as reports
from app.admin.role_routes import router as roles
from app.admin.schemas import AuditEntry, PermissionOut
from app.admin.user_routes import router as users
from app.auth.dependencies import require
from app.auth.permissions import Permission
from app.core.errors import Forbidden, Unauthenticated, ValidationFailed
from app.core.pagination import Page, Paging
from app.core.problems import problems
from app.core.routing import ApiRouter

router = ApiRouter(prefix="/admin", tags=["admin"])
router.include_router(users)
router.include_router(roles)
router.include_router(reports)
router.include_router(exports)
router.include_router(jobs)


@router.get(
    "/permissions",
    operation_id="admin_permissions_list",
    summary="The permission catalogue",
    dependencies=[Depends(require(Permission.ROLES_READ))],
    responses=problems(Unauthenticated, Forbidden),
)
async def list_permissions(admin: AdminReader) -> Page[PermissionOut]:
    return admin.permissions()


@router.get(
    "/audit-log",
    operation_id="admin_audit_log",
    summary="What happened, the newest first",
    dependencies=[Depends(require(Permission.AUDIT_READ))],
    responses=problems(Unauthenticated, Forbidden, ValidationFailed),
)
async def audit_log(
    admin: AdminReader,
    page: Paging,
    type: Annotated[str | None, Query(max_length=100)] = None,  # noqa: A002 - the contract's name
    subject_id: UUID | None = None,
    actor_id: UUID | None = None,
) -> Page[AuditEntry]:
    return await admin.audit_log(page, event_type=type, subject_id=subject_id, actor_id=actor_id)
