"""`/providers` and `/services/{id}/providers`: public to read, `providers:write` to change."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Response, status

from app.auth.dependencies import Idempotent, MaybePrincipal, require
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.catalog.offered import OfferedRoute
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
from app.providers.dependencies import Providers, ProvidersReader
from app.providers.schemas import (
    Assignments,
    AssignmentsOut,
    ProviderCreate,
    ProviderOut,
    ProviderPatch,
)

providers = ApiRouter(prefix="/providers", tags=["providers"], route_class=OfferedRoute)
assignments = ApiRouter(prefix="/services", tags=["services"], route_class=OfferedRoute)

ProvidersWriter = Annotated[Principal, Depends(require(Permission.PROVIDERS_WRITE))]
ServicesWriter = Annotated[Principal, Depends(require(Permission.SERVICES_WRITE))]


@providers.get(
    "",
    operation_id="providers_list",
    summary="List providers",
    responses=problems(Forbidden, ValidationFailed),
)
async def list_providers(
    service: ProvidersReader,
    page: Paging,
    principal: MaybePrincipal,
    *,
    service_id: Annotated[UUID | None, Query(description="Only those who give it.")] = None,
    is_active: Annotated[bool, Query(description="False needs `providers:write`.")] = True,
    sort: Annotated[str, sorted_by("name", "created_at")] = "name",
) -> Page[ProviderOut]:
    return await service.list_providers(
        page, sort=sort, is_active=is_active, service_id=service_id, principal=principal
    )


@providers.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="providers_create",
    summary="Create a provider",
    responses=problems(Unauthenticated, Forbidden, AlreadyExists, ValidationFailed),
    dependencies=[Idempotent],
)
async def create_provider(
    provider: ProviderCreate, principal: ProvidersWriter, service: Providers, response: Response
) -> ProviderOut:
    created = await service.register(provider, principal)
    response.headers["ETag"] = etag(created.version)
    return created


@providers.get(
    "/{provider_id}",
    operation_id="providers_get",
    summary="Show a provider",
    responses=problems(NotFound, ValidationFailed),
)
async def get_provider(
    provider_id: UUID, service: ProvidersReader, principal: MaybePrincipal, response: Response
) -> ProviderOut:
    provider = await service.show(provider_id, principal)
    response.headers["ETag"] = etag(provider.version)
    return provider


@providers.patch(
    "/{provider_id}",
    operation_id="providers_update",
    summary="Change a provider",
    responses=problems(
        Unauthenticated, Forbidden, NotFound, AlreadyExists, VersionMismatch, ValidationFailed
    ),
)
async def update_provider(
    provider_id: UUID,
    patch: ProviderPatch,
    principal: ProvidersWriter,
    service: Providers,
    seen: Precondition,
    response: Response,
) -> ProviderOut:
    changed = await service.change(provider_id, patch, seen, principal)
    response.headers["ETag"] = etag(changed.version)
    return changed


@providers.delete(
    "/{provider_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="providers_delete",
    summary="Delete a provider who was never booked",
    description="One who was booked can be made inactive instead, which keeps the history.",
    responses=problems(
        Unauthenticated, Forbidden, NotFound, InUse, VersionMismatch, ValidationFailed
    ),
)
async def delete_provider(
    provider_id: UUID, principal: ProvidersWriter, service: Providers, seen: Precondition
) -> None:
    await service.remove(provider_id, seen, principal)


@assignments.get(
    "/{service_id}/providers",
    operation_id="service_providers_get",
    summary="Who gives a service",
    responses=problems(NotFound, ValidationFailed),
)
async def get_assignments(
    service_id: UUID, service: ProvidersReader, principal: MaybePrincipal, response: Response
) -> AssignmentsOut:
    current = await service.assignments(service_id, principal)
    response.headers["ETag"] = etag(current.version)
    return current


@assignments.put(
    "/{service_id}/providers",
    operation_id="service_providers_put",
    summary="Say who gives a service",
    description="Replaces the whole list; the service gets its next version.",
    responses=problems(Unauthenticated, Forbidden, NotFound, VersionMismatch, ValidationFailed),
)
async def put_assignments(
    service_id: UUID,
    wanted: Assignments,
    principal: ServicesWriter,
    service: Providers,
    seen: Precondition,
    response: Response,
) -> AssignmentsOut:
    current = await service.assign(service_id, wanted, seen, principal)
    response.headers["ETag"] = etag(current.version)
    return current
