"""`/admin/roles`."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Response, status

from app.auth.dependencies import Idempotent, Roles, RolesReader, require
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.auth.schemas import RoleCreate, RoleOut, RolePatch
from app.core.errors import (
    AlreadyExists,
    Forbidden,
    InUse,
    NotFound,
    Unauthenticated,
    ValidationFailed,
    VersionMismatch,
)
from app.core.pagination import Page, Paging, sorted_by
from app.core.preconditions import Precondition, etag
from app.core.problems import problems
from app.core.routing import ApiRouter

router = ApiRouter(prefix="/roles")

Reader = Depends(require(Permission.ROLES_READ))
Writer = Annotated[Principal, Depends(require(Permission.ROLES_WRITE))]


@router.get(
    "",
    operation_id="admin_roles_list",
    summary="List roles",
    responses=problems(Unauthenticated, Forbidden, ValidationFailed),
    dependencies=[Reader],
)
async def list_roles(
    roles: RolesReader,
    page: Paging,
    sort: Annotated[str, sorted_by("name", "created_at")] = "name",
) -> Page[RoleOut]:
    return await roles.list_roles(page, sort=sort)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="admin_roles_create",
    summary="Create a role",
    responses=problems(Unauthenticated, Forbidden, AlreadyExists, ValidationFailed),
    dependencies=[Idempotent],
)
async def create_role(
    role: RoleCreate, principal: Writer, roles: Roles, response: Response
) -> RoleOut:
    created = await roles.create(role, principal)
    response.headers["ETag"] = etag(created.version)
    return created


@router.get(
    "/{role_id}",
    operation_id="admin_roles_get",
    summary="Show a role",
    responses=problems(Unauthenticated, Forbidden, NotFound, ValidationFailed),
    dependencies=[Reader],
)
async def get_role(role_id: UUID, roles: RolesReader, response: Response) -> RoleOut:
    role = await roles.show(role_id)
    response.headers["ETag"] = etag(role.version)
    return role


@router.patch(
    "/{role_id}",
    operation_id="admin_roles_update",
    summary="Change a role",
    responses=problems(
        Unauthenticated, Forbidden, NotFound, AlreadyExists, VersionMismatch, ValidationFailed
    ),
)
async def update_role(
    role_id: UUID,
    patch: RolePatch,
    principal: Writer,
    roles: Roles,
    seen: Precondition,
    response: Response,
) -> RoleOut:
    changed = await roles.change(role_id, patch, seen, principal)
    response.headers["ETag"] = etag(changed.version)
    return changed


@router.delete(
    "/{role_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="admin_roles_delete",
    summary="Delete a role",
    responses=problems(
        Unauthenticated, Forbidden, NotFound, InUse, VersionMismatch, ValidationFailed
    ),
)
async def delete_role(role_id: UUID, principal: Writer, roles: Roles, seen: Precondition) -> None:
    await roles.delete(role_id, seen, principal)
