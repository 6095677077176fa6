"""What is offered, and where."""

from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.catalog import repository
from app.catalog.models import Location, Service
from app.catalog.schemas import (
    LocationCreate,
    LocationOut,
    LocationPatch,
    Money,
    ServiceCreate,
    ServiceOut,
    ServicePatch,
)
from app.core.errors import AlreadyExists, Forbidden, NotFound
from app.core.events import record, record_change
from app.core.pagination import Page, PageRequest
from app.core.preconditions import IfMatch
from app.core.schemas import patched
from app.core.unit_of_work import constraint_name


class CatalogService:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    # --- Services ----------------------------------------------------------------------------
    async def offer(self, new: ServiceCreate, principal: Principal) -> ServiceOut:
        """Create a service. Raises AlreadyExists if its slug is taken."""
        service = Service(**_columns(new.model_dump()))
        self._session.add(service)
        await self._flush_with_unique_slug()
        out = _service_out(service)
        await record(
            self._session,
            "service.created",
            subject_id=service.id,
            actor=principal.actor,
            after=out.model_dump(mode="json"),
        )
        return out

    async def change_service(
        self, service_id: UUID, patch: ServicePatch, seen: IfMatch, principal: Principal
    ) -> ServiceOut:
        """Change the named fields.

        Raises:
            NotFound, VersionMismatch, AlreadyExists (the slug).
        """
        service = await self._service(service_id)
        seen.check(service.version)
        before = _service_out(service).model_dump(mode="json")
        for name, value in _columns(patched(patch)).items():
            setattr(service, name, value)
        await self._flush_with_unique_slug()
        out = _service_out(service)
        await record_change(
            self._session,
            "service.changed",
            subject_id=service.id,
            actor=principal.actor,
            before=before,
            after=out.model_dump(mode="json"),
        )
        return out

    async def show_service(self, service_id: UUID, principal: Principal | None) -> ServiceOut:
        """A service; one that is not active exists only for those who may change it."""
        service = await self._service(service_id)
        if not service.is_active and not _may_write(principal):
            raise NotFound
        return _service_out(service)

    async def list_services(
        self, page: PageRequest, *, sort: str, is_active: bool, principal: Principal | None
    ) -> Page[ServiceOut]:
        if not is_active and not _may_write(principal):
            raise Forbidden
        return await repository.SERVICES.page(
            self._session,
            repository.services(is_active=is_active),
            page,
            sort=sort,
            build=lambda row: _service_out(row[0]),
        )

    async def touch_service(self, service_id: UUID, seen: IfMatch) -> int:
        """Give a service its next version because something that belongs to it changes."""
        service = await repository.locked_service(self._session, service_id)
        if service is None:
            raise NotFound
        seen.check(service.version)
        return await repository.next_version(self._session, service_id)

    async def _service(self, service_id: UUID) -> Service:
        service = await repository.service(self._session, service_id)
        if service is None:
            raise NotFound
        return service

    async def _flush_with_unique_slug(self) -> None:
        try:
            await self._session.flush()
        except IntegrityError as error:
            if constraint_name(error) == "uq_services_slug":
                raise AlreadyExists("Another service has this slug.") from None
            raise

    # --- Locations ---------------------------------------------------------------------------
    async def open_location(self, new: LocationCreate, principal: Principal) -> LocationOut:
        location = Location(**new.model_dump())
        self._session.add(location)
        await self._session.flush()
        out = LocationOut.model_validate(location)
        await record(
            self._session,
            "location.created",
            subject_id=location.id,
            actor=principal.actor,
            after=out.model_dump(mode="json"),
        )
        return out

    async def change_location(
        self, location_id: UUID, patch: LocationPatch, seen: IfMatch, principal: Principal
    ) -> LocationOut:
        location = await self._location(location_id)
        seen.check(location.version)
        before = LocationOut.model_validate(location).model_dump(mode="json")
        for name, value in patched(patch).items():
            setattr(location, name, value)
        await self._session.flush()
        out = LocationOut.model_validate(location)
        await record_change(
            self._session,
            "location.changed",
            subject_id=location.id,
            actor=principal.actor,
            before=before,
            after=out.model_dump(mode="json"),
        )
        return out

    async def show_location(self, location_id: UUID) -> LocationOut:
        return LocationOut.model_validate(await self._location(location_id))

    async def list_locations(self, page: PageRequest, *, sort: str) -> Page[LocationOut]:
        return await repository.LOCATIONS.page(
            self._session,
            repository.locations(),
            page,
            sort=sort,
            build=lambda row: LocationOut.model_validate(row[0]),
        )

    async def missing_locations(self, ids: list[UUID]) -> list[UUID]:
        """Those of the ids that are no location."""
        found = await repository.existing_locations(self._session, ids)
        return [i for i in ids if i not in found]

    async def _location(self, location_id: UUID) -> Location:
        location = await repository.location(self._session, location_id)
        if location is None:
            raise NotFound
        return location


def _may_write(principal: Principal | None) -> bool:
    return principal is not None and principal.may(Permission.SERVICES_WRITE)


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    """A service's fields as columns: the price is two of them."""
    if "price" in fields:
        price = fields.pop("price") or {"amount": None, "currency": None}
        fields |= {"price_amount": price["amount"], "price_currency": price["currency"]}
    return fields


def _service_out(service: Service) -> ServiceOut:
    price = (
        None
        if service.price_amount is None or service.price_currency is None
        else Money(amount=service.price_amount, currency=service.price_currency)
    )
    fields = {n: getattr(service, n) for n in ServiceOut.model_fields if n != "price"}
    return ServiceOut(**fields, price=price)
