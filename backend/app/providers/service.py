"""Provider profiles, and which services they give."""

from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.catalog.service import CatalogService
from app.core.errors import AlreadyExists, Forbidden, InUse, NotFound, ValidationFailed
from app.core.events import record, record_change
from app.core.pagination import Page, PageRequest
from app.core.preconditions import IfMatch
from app.core.schemas import patched
from app.core.unit_of_work import FOREIGN_KEY_VIOLATION, constraint_name, sqlstate
from app.providers import repository
from app.providers.commitments import Commitments
from app.providers.models import Provider
from app.providers.schemas import (
    Assignment,
    Assignments,
    AssignmentsOut,
    ProviderCreate,
    ProviderOut,
    ProviderPatch,
)


class ProviderService:
    def __init__(
        self, session: AsyncSession, catalog: CatalogService, commitments: Commitments
    ) -> None:
        self._session = session
        self._catalog = catalog
        self._commitments = commitments

    async def register(self, new: ProviderCreate, principal: Principal) -> ProviderOut:
        """Create a provider.

        Raises:
            ValidationFailed: an unknown account or location.
            AlreadyExists: the account has a calendar already.
        """
        await self._check_locations(new.location_ids)
        provider = Provider(**new.model_dump())
        self._session.add(provider)
        await self._flush()
        out = ProviderOut.model_validate(provider)
        await record(
            self._session,
            "provider.created",
            subject_id=provider.id,
            actor=principal.actor,
            after=out.model_dump(mode="json"),
        )
        return out

    async def change(
        self, provider_id: UUID, patch: ProviderPatch, seen: IfMatch, principal: Principal
    ) -> ProviderOut:
        provider = await self._provider(provider_id)
        seen.check(provider.version)
        fields = patched(patch)
        await self._check_locations(fields.get("location_ids", []))
        before = ProviderOut.model_validate(provider).model_dump(mode="json")
        for name, value in fields.items():
            setattr(provider, name, value)
        await self._flush()
        out = ProviderOut.model_validate(provider)
        await record_change(
            self._session,
            "provider.changed",
            subject_id=provider.id,
            actor=principal.actor,
            before=before,
            after=out.model_dump(mode="json"),
        )
        return out

    async def remove(self, provider_id: UUID, seen: IfMatch, principal: Principal) -> None:
        """Delete a provider who was never booked, with schedule and time off.

        The services that they gave get their next versions.

        Raises:
            NotFound, VersionMismatch.
            InUse: they were booked, are held or waited for; they can be made inactive instead.
        """
        provider = await self._provider(provider_id)
        seen.check(provider.version)
        in_use = "Bookings refer to this provider; make it inactive instead."
        if await self._commitments.need_provider(self._session, provider_id):
            raise InUse(in_use)
        before = ProviderOut.model_validate(provider).model_dump(mode="json")
        await self._catalog.touch_services(await repository.services_of(self._session, provider_id))
        await self._session.delete(provider)
        try:
            await self._session.flush()
        except IntegrityError as error:
            if sqlstate(error) == FOREIGN_KEY_VIOLATION:
                raise InUse(in_use) from None
            raise
        await self._commitments.provider_removed(self._session, provider_id)
        await record(
            self._session,
            "provider.deleted",
            subject_id=provider_id,
            actor=principal.actor,
            before=before,
        )

    async def show(self, provider_id: UUID, principal: Principal | None) -> ProviderOut:
        """A provider; one that is not active exists only for those who may change it."""
        provider = await self._provider(provider_id)
        if not provider.is_active and not _may_write(principal):
            raise NotFound
        return ProviderOut.model_validate(provider)

    async def list_providers(
        self,
        page: PageRequest,
        *,
        sort: str,
        is_active: bool,
        service_id: UUID | None,
        principal: Principal | None,
    ) -> Page[ProviderOut]:
        if not is_active and not _may_write(principal):
            raise Forbidden
        return await repository.PROVIDERS.page(
            self._session,
            repository.providers(is_active=is_active, service_id=service_id),
            page,
            sort=sort,
            build=lambda row: ProviderOut.model_validate(row[0]),
        )

    async def of_user(self, user_id: UUID) -> UUID | None:
        """The provider whose calendar this account owns."""
        return await repository.of_user(self._session, user_id)

    async def assign(
        self, service_id: UUID, wanted: Assignments, seen: IfMatch, principal: Principal
    ) -> AssignmentsOut:
        """Say who gives a service, replacing whoever did; the service gets its next version.

        Raises:
            NotFound, VersionMismatch: of the service.
            ValidationFailed: an unknown provider, or one named twice.
        """
        ids = [a.provider_id for a in wanted.providers]
        if len(set(ids)) < len(ids):
            raise ValidationFailed.at("#/providers", "each provider once")
        version = await self._catalog.touch_service(service_id, seen)
        known = await repository.existing(self._session, ids)
        for position, provider_id in enumerate(ids):
            if provider_id not in known:
                raise ValidationFailed.at(f"#/providers/{position}/provider_id", "no such provider")
        before = await self._assignments(service_id)
        rows = [a.model_dump() for a in wanted.providers]
        await repository.replace_assignments(self._session, service_id, rows)
        after = await self._assignments(service_id)  # in the order in which they are shown
        await record_change(
            self._session,
            "service.assigned",
            subject_id=service_id,
            actor=principal.actor,
            before={"providers": [a.model_dump(mode="json") for a in before]},
            after={"providers": [a.model_dump(mode="json") for a in after]},
        )
        return AssignmentsOut(service_id=service_id, providers=after, version=version)

    async def assignments(self, service_id: UUID, principal: Principal | None) -> AssignmentsOut:
        service = await self._catalog.show_service(service_id, principal)
        return AssignmentsOut(
            service_id=service_id,
            providers=await self._assignments(service_id),
            version=service.version,
        )

    async def _assignments(self, service_id: UUID) -> list[Assignment]:
        rows = await repository.assignments(self._session, service_id)
        return [Assignment.model_validate(row, from_attributes=True) for row in rows]

    async def _provider(self, provider_id: UUID) -> Provider:
        provider = await repository.provider(self._session, provider_id)
        if provider is None:
            raise NotFound
        return provider

    async def _check_locations(self, ids: list[UUID]) -> None:
        if ids and await self._catalog.missing_locations(ids):
            raise ValidationFailed.at("#/location_ids", "no such location")

    async def _flush(self) -> None:
        try:
            await self._session.flush()
        except IntegrityError as error:
            match constraint_name(error):
                case "uq_providers_user_id":
                    raise AlreadyExists("This account has a calendar already.") from None
                case "fk_providers_user_id_users":
                    raise ValidationFailed.at("#/user_id", "no such account") from None
            raise


def _may_write(principal: Principal | None) -> bool:
    return principal is not None and principal.may(Permission.PROVIDERS_WRITE)
