"""`/resources`, the rooms and devices: public to read; `resources:write` to change."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Response, status

from app.auth.dependencies import Idempotent, MaybePrincipal, require
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.catalog.dependencies import Resources, ResourcesReader
from app.catalog.offered import OfferedRoute
from app.catalog.schemas import Kind, ResourceCreate, ResourceOut, ResourcePatch
from app.core.errors import (
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

router = ApiRouter(prefix="/resources", tags=["resources"], route_class=OfferedRoute)

ResourcesWriter = Annotated[Principal, Depends(require(Permission.RESOURCES_WRITE))]


@router.get(
    "",
    operation_id="resources_list",
    summary="List rooms and devices",
    responses=problems(Forbidden, ValidationFailed),
)
async def list_resources(
    resources: ResourcesReader,
    page: Paging,
    principal: MaybePrincipal,
    *,
    kind: Annotated[Kind | None, Query()] = None,
    location_id: UUID | None = None,
    is_active: Annotated[
        bool, Query(description="False, the retired ones, needs `resources:write`.")
    ] = True,
    sort: Annotated[str, sorted_by("name", "created_at")] = "name",
) -> Page[ResourceOut]:
    return await resources.list_resources(
        page,
        sort=sort,
        kind=kind,
        location_id=location_id,
        is_active=is_active,
        principal=principal,
    )


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="resources_create",
    summary="Add a room or device",
    responses=problems(Unauthenticated, Forbidden, ValidationFailed),
    dependencies=[Idempotent],
)
async def create_resource(
    resource: ResourceCreate, principal: ResourcesWriter, resources: Resources, response: Response
) -> ResourceOut:
    created = await resources.add(resource, principal)
    response.headers["ETag"] = etag(created.version)
    return created


@router.get(
    "/{resource_id}",
    operation_id="resources_get",
    summary="Show a room or device",
    responses=problems(NotFound, ValidationFailed),
)
async def get_resource(
    resource_id: UUID, resources: ResourcesReader, principal: MaybePrincipal, response: Response
) -> ResourceOut:
    resource = await resources.show(resource_id, principal)
    response.headers["ETag"] = etag(resource.version)
    return resource


@router.patch(
    "/{resource_id}",
    operation_id="resources_update",
    summary="Change a room or device",
    responses=problems(Unauthenticated, Forbidden, NotFound, VersionMismatch, ValidationFailed),
)
async def update_resource(
    resource_id: UUID,
    patch: ResourcePatch,
    principal: ResourcesWriter,
    resources: Resources,
    seen: Precondition,
    response: Response,
) -> ResourceOut:
    changed = await resources.change(resource_id, patch, seen, principal)
    response.headers["ETag"] = etag(changed.version)
    return changed


@router.delete(
    "/{resource_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="resources_delete",
    summary="Delete a room or device that was never booked",
    description="One that was booked can be made inactive instead, which keeps its history.",
    responses=problems(
        Unauthenticated, Forbidden, NotFound, InUse, VersionMismatch, ValidationFailed
    ),
)
async def delete_resource(
    resource_id: UUID, principal: ResourcesWriter, resources: Resources, seen: Precondition
) -> None:
    await resources.remove(resource_id, seen, principal)
