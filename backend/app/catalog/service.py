"""What is offered, and where."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.catalog import repository
from app.catalog.commitments import Commitments
from app.catalog.models import Location, Service
from app.catalog.schemas import (
    Limits,
    LocationCreate,
    LocationOut,
    LocationPatch,
    Money,
    ServiceCreate,
    ServiceOut,
    ServicePatch,
)
from app.core.errors import AlreadyExists, Forbidden, InUse, NotFound, ValidationFailed
from app.core.events import record, record_change
from app.core.pagination import Page, PageRequest
from app.core.preconditions import IfMatch
from app.core.prepared import Readers
from app.core.schemas import patched
from app.core.unit_of_work import FOREIGN_KEY_VIOLATION, constraint_name, sqlstate


class CatalogService:
    def __init__(self, session: AsyncSession, commitments: Commitments) -> None:
        self._session = session
        self._commitments = commitments

    # --- Services ----------------------------------------------------------------------------
    async def offer(self, new: ServiceCreate, principal: Principal) -> ServiceOut:
        """Create a service.

        Raises:
            AlreadyExists: the slug is taken.
            ValidationFailed: no such location.
        """
        await self._check_locations(new.location_ids)
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
            ValidationFailed: no such location.
        """
        service = await self._service(service_id)
        seen.check(service.version)
        fields = patched(patch)
        await self._check_locations(fields.get("location_ids", []))
        before = _service_out(service).model_dump(mode="json")
        for name, value in _columns(fields).items():
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

    async def withdraw_service(self, service_id: UUID, seen: IfMatch, principal: Principal) -> None:
        """Delete a service that was never booked.

        Raises:
            NotFound, VersionMismatch.
            InUse: it was booked, is held or waited for; it can be made inactive instead.
        """
        service = await self._service(service_id)
        seen.check(service.version)
        if await self._commitments.need_service(self._session, service_id):
            raise InUse("Somebody holds a time of it, or waits for one.")
        before = _service_out(service).model_dump(mode="json")
        await self._delete(service, "It has been booked; make it inactive instead.")
        await record(
            self._session,
            "service.deleted",
            subject_id=service_id,
            actor=principal.actor,
            before=before,
        )

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
        versions = await repository.next_versions(self._session, [service_id])
        return versions[service_id]

    async def touch_services(self, ids: Sequence[UUID]) -> None:
        """The same for several services, whatever their versions are."""
        await repository.next_versions(self._session, ids)

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

    async def _delete(self, thing: Service | Location, in_use: str) -> None:
        """Delete it, unless Postgres knows of something that refers to it."""
        await self._session.delete(thing)
        try:
            await self._session.flush()
        except IntegrityError as error:
            if sqlstate(error) == FOREIGN_KEY_VIOLATION:
                raise InUse(in_use) from None
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

    async def close_location(self, location_id: UUID, seen: IfMatch, principal: Principal) -> None:
        """Delete a location that nothing refers to.

        Raises:
            NotFound, VersionMismatch.
            InUse: something is given, kept or booked there, or somebody works there.
        """
        location = await repository.locked_location(self._session, location_id)
        if location is None:
            raise NotFound
        seen.check(location.version)
        in_use = "Services, providers, resources or bookings refer to it."
        if await repository.offer_at(
            self._session, location_id
        ) or await self._commitments.need_location(self._session, location_id):
            raise InUse(in_use)
        before = LocationOut.model_validate(location).model_dump(mode="json")
        await self._delete(location, in_use)
        await record(
            self._session,
            "location.deleted",
            subject_id=location_id,
            actor=principal.actor,
            before=before,
        )

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
        """Those of the ids that are no location; the others stay until the transaction ends."""
        found = await repository.existing_locations(self._session, ids)
        return [i for i in ids if i not in found]

    async def _check_locations(self, ids: list[UUID]) -> None:
        if ids and await self.missing_locations(ids):
            raise ValidationFailed.at("#/location_ids", "no such location")

    async def _location(self, location_id: UUID) -> Location:
        location = await repository.location(self._session, location_id)
        if location is None:
            raise NotFound
        return location


async def offer_version(readers: Readers) -> UUID:
    """The version of services, locations, resources, providers and schedules. One round trip."""
    return await repository.offer_version(readers)


def _may_write(principal: Principal | None) -> bool:
    return principal is not None and principal.may(Permission.SERVICES_WRITE)


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    """A service's fields as columns: the price is two of them, the limits are four."""
    if "price" in fields:
        price = fields.pop("price") or {"amount": None, "currency": None}
        fields |= {"price_amount": price["amount"], "price_currency": price["currency"]}
    limits = fields.pop("limits", {})
    return fields | {f"limit_{name}": value for name, value in limits.items()}


def _service_out(service: Service) -> ServiceOut:
    price = (
        None
        if service.price_amount is None or service.price_currency is None
        else Money(amount=service.price_amount, currency=service.price_currency)
    )
    limits = Limits(**{name: getattr(service, f"limit_{name}") for name in Limits.model_fields})
    made = {"price": price, "limits": limits}
    kept = {n: getattr(service, n) for n in ServiceOut.model_fields if n not in made}
    return ServiceOut(**kept, **made)
