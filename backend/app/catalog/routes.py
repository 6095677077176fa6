"""`/services` and `/locations`: public to read; `services:write`, `locations:write` to change."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Response, status

from app.auth.dependencies import Idempotent, MaybePrincipal, require
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.catalog.dependencies import Catalog, CatalogReader
from app.catalog.offered import OfferedRoute
from app.catalog.schemas import (
    LocationCreate,
    LocationOut,
    LocationPatch,
    ServiceCreate,
    ServiceOut,
    ServicePatch,
)
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

services = ApiRouter(prefix="/services", tags=["services"], route_class=OfferedRoute)
locations = ApiRouter(prefix="/locations", tags=["locations"], route_class=OfferedRoute)

ServicesWriter = Annotated[Principal, Depends(require(Permission.SERVICES_WRITE))]
LocationsWriter = Annotated[Principal, Depends(require(Permission.LOCATIONS_WRITE))]
Sort = Annotated[str, sorted_by("name", "created_at")]


@services.get(
    "",
    operation_id="services_list",
    summary="List services",
    responses=problems(Forbidden, ValidationFailed),
)
async def list_services(
    catalog: CatalogReader,
    page: Paging,
    principal: MaybePrincipal,
    *,
    is_active: Annotated[
        bool, Query(description="False, the retired ones, needs `services:write`.")
    ] = True,
    sort: Sort = "name",
) -> Page[ServiceOut]:
    return await catalog.list_services(page, sort=sort, is_active=is_active, principal=principal)


@services.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="services_create",
    summary="Create a service",
    responses=problems(Unauthenticated, Forbidden, AlreadyExists, ValidationFailed),
    dependencies=[Idempotent],
)
async def create_service(
    service: ServiceCreate, principal: ServicesWriter, catalog: Catalog, response: Response
) -> ServiceOut:
    created = await catalog.offer(service, principal)
    response.headers["ETag"] = etag(created.version)
    return created


@services.get(
    "/{service_id}",
    operation_id="services_get",
    summary="Show a service",
    responses=problems(NotFound, ValidationFailed),
)
async def get_service(
    service_id: UUID, catalog: CatalogReader, principal: MaybePrincipal, response: Response
) -> ServiceOut:
    service = await catalog.show_service(service_id, principal)
    response.headers["ETag"] = etag(service.version)
    return service


@services.patch(
    "/{service_id}",
    operation_id="services_update",
    summary="Change a service",
    responses=problems(
        Unauthenticated, Forbidden, NotFound, AlreadyExists, VersionMismatch, ValidationFailed
    ),
)
async def update_service(
    service_id: UUID,
    patch: ServicePatch,
    principal: ServicesWriter,
    catalog: Catalog,
    seen: Precondition,
    response: Response,
) -> ServiceOut:
    changed = await catalog.change_service(service_id, patch, seen, principal)
    response.headers["ETag"] = etag(changed.version)
    return changed


@services.delete(
    "/{service_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="services_delete",
    summary="Delete a service that was never booked",
    description="One that was booked can be made inactive instead, which keeps its history.",
    responses=problems(
        Unauthenticated, Forbidden, NotFound, InUse, VersionMismatch, ValidationFailed
    ),
)
async def delete_service(
    service_id: UUID, principal: ServicesWriter, catalog: Catalog, seen: Precondition
) -> None:
    await catalog.withdraw_service(service_id, seen, principal)


@locations.get(
    "",
    operation_id="locations_list",
    summary="List locations",
    responses=problems(ValidationFailed),
)
async def list_locations(
    catalog: CatalogReader, page: Paging, sort: Sort = "name"
) -> Page[LocationOut]:
    return await catalog.list_locations(page, sort=sort)


@locations.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="locations_create",
    summary="Create a location",
    responses=problems(Unauthenticated, Forbidden, ValidationFailed),
    dependencies=[Idempotent],
)
async def create_location(
    location: LocationCreate, principal: LocationsWriter, catalog: Catalog, response: Response
) -> LocationOut:
    created = await catalog.open_location(location, principal)
    response.headers["ETag"] = etag(created.version)
    return created


@locations.get(
    "/{location_id}",
    operation_id="locations_get",
    summary="Show a location",
    responses=problems(NotFound, ValidationFailed),
)
async def get_location(
    location_id: UUID, catalog: CatalogReader, response: Response
) -> LocationOut:
    location = await catalog.show_location(location_id)
    response.headers["ETag"] = etag(location.version)
    return location


@locations.patch(
    "/{location_id}",
    operation_id="locations_update",
    summary="Change a location",
    responses=problems(Unauthenticated, Forbidden, NotFound, VersionMismatch, ValidationFailed),
)
async def update_location(
    location_id: UUID,
    patch: LocationPatch,
    principal: LocationsWriter,
    catalog: Catalog,
    seen: Precondition,
    response: Response,
) -> LocationOut:
    changed = await catalog.change_location(location_id, patch, seen, principal)
    response.headers["ETag"] = etag(changed.version)
    return changed


@locations.delete(
    "/{location_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="locations_delete",
    summary="Delete a location that nothing refers to",
    responses=problems(
        Unauthenticated, Forbidden, NotFound, InUse, VersionMismatch, ValidationFailed
    ),
)
async def delete_location(
    location_id: UUID, principal: LocationsWriter, catalog: Catalog, seen: Precondition
) -> None:
    await catalog.close_location(location_id, seen, principal)
