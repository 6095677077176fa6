"""The rooms and devices that services need."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.catalog import repository
from app.catalog.commitments import Commitments
from app.catalog.models import Resource
from app.catalog.schemas import ResourceCreate, ResourceOut, ResourcePatch
from app.core.errors import Forbidden, InUse, NotFound, ValidationFailed
from app.core.events import record, record_change
from app.core.pagination import Page, PageRequest
from app.core.preconditions import IfMatch
from app.core.schemas import patched


class ResourceService:
    def __init__(self, session: AsyncSession, commitments: Commitments) -> None:
        self._session = session
        self._commitments = commitments

    async def add(self, new: ResourceCreate, principal: Principal) -> ResourceOut:
        """Create a resource. Raises ValidationFailed if there is no such location."""
        await self._check_location(new.location_id)
        resource = Resource(**new.model_dump())
        self._session.add(resource)
        await self._session.flush()
        await self._commitments.resource_changed(self._session, resource.id)
        out = ResourceOut.model_validate(resource)
        await record(
            self._session,
            "resource.created",
            subject_id=resource.id,
            actor=principal.actor,
            after=out.model_dump(mode="json"),
        )
        return out

    async def change(
        self, resource_id: UUID, patch: ResourcePatch, seen: IfMatch, principal: Principal
    ) -> ResourceOut:
        """Change the named fields. Bookings that have the resource keep it.

        Raises:
            NotFound, VersionMismatch.
            ValidationFailed: no such location.
        """
        resource = await self._resource(resource_id)
        seen.check(resource.version)
        fields = patched(patch)
        await self._check_location(fields.get("location_id"))
        before = ResourceOut.model_validate(resource).model_dump(mode="json")
        for name, value in fields.items():
            setattr(resource, name, value)
        await self._session.flush()
        await self._commitments.resource_changed(self._session, resource.id)
        out = ResourceOut.model_validate(resource)
        await record_change(
            self._session,
            "resource.changed",
            subject_id=resource.id,
            actor=principal.actor,
            before=before,
            after=out.model_dump(mode="json"),
        )
        return out

    async def remove(self, resource_id: UUID, seen: IfMatch, principal: Principal) -> None:
        """Delete a resource that nothing refers to.

        Raises:
            NotFound, VersionMismatch.
            InUse: a booking has it or had it; it can be made inactive instead.
        """
        resource = await self._resource(resource_id)
        seen.check(resource.version)
        if await self._commitments.need_resource(self._session, resource_id):
            raise InUse("Bookings refer to it; make it inactive instead.")
        before = ResourceOut.model_validate(resource).model_dump(mode="json")
        await self._session.delete(resource)
        await self._session.flush()
        await self._commitments.resource_removed(self._session, resource_id)
        await record(
            self._session,
            "resource.deleted",
            subject_id=resource_id,
            actor=principal.actor,
            before=before,
        )

    async def show(self, resource_id: UUID, principal: Principal | None) -> ResourceOut:
        """A resource; one that is not active exists only for those who may change it."""
        resource = await self._resource(resource_id)
        if not resource.is_active and not _may_write(principal):
            raise NotFound
        return ResourceOut.model_validate(resource)

    async def list_resources(
        self,
        page: PageRequest,
        *,
        sort: str,
        kind: str | None,
        location_id: UUID | None,
        is_active: bool,
        principal: Principal | None,
    ) -> Page[ResourceOut]:
        if not is_active and not _may_write(principal):
            raise Forbidden
        return await repository.RESOURCES.page(
            self._session,
            repository.resources(kind=kind, location_id=location_id, is_active=is_active),
            page,
            sort=sort,
            build=lambda row: ResourceOut.model_validate(row[0]),
        )

    async def _resource(self, resource_id: UUID) -> Resource:
        resource = await repository.resource(self._session, resource_id)
        if resource is None:
            raise NotFound
        return resource

    async def _check_location(self, location_id: UUID | None) -> None:
        if location_id and not await repository.existing_locations(self._session, [location_id]):
            raise ValidationFailed.at("#/location_id", "no such location")


def _may_write(principal: Principal | None) -> bool:
    return principal is not None and principal.may(Permission.RESOURCES_WRITE)
