"""The SQL of the offer."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, any_, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalog.models import Location, Offer, Resource, Service
from app.core.pagination import Keyset
from app.core.prepared import Prepared, Readers

SERVICES = Keyset(Service.id, {"name": Service.name, "created_at": Service.created_at})
LOCATIONS = Keyset(Location.id, {"name": Location.name, "created_at": Location.created_at})
RESOURCES = Keyset(Resource.id, {"name": Resource.name, "created_at": Resource.created_at})

_OFFER_VERSION = Prepared(select(Offer.version))


async def offer_version(readers: Readers) -> UUID:
    """The version of all that is offered. One round trip."""
    (row,) = await _OFFER_VERSION.all(readers, {})
    version: UUID = row.version
    return version


async def service(session: AsyncSession, service_id: UUID) -> Service | None:
    return await session.get(Service, service_id)


async def locked_service(session: AsyncSession, service_id: UUID) -> Service | None:
    """The service, and until commit nobody else changes it; booking it goes on."""
    return await session.get(Service, service_id, with_for_update={"key_share": True})


async def next_versions(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, int]:
    """Raise the versions of these services, and return them."""
    rows = await session.execute(
        update(Service)
        .where(Service.id.in_(ids))
        .values(version=Service.version + 1, updated_at=func.now())
        .returning(Service.id, Service.version)
    )
    return {row.id: row.version for row in rows}


def services(*, is_active: bool) -> Select[Service]:
    return select(Service).where(Service.is_active.is_(is_active))


async def location(session: AsyncSession, location_id: UUID) -> Location | None:
    return await session.get(Location, location_id)


async def locked_location(session: AsyncSession, location_id: UUID) -> Location | None:
    """The location, and until commit nobody starts to refer to it."""
    return await session.get(Location, location_id, with_for_update=True)


async def existing_locations(session: AsyncSession, ids: Sequence[UUID]) -> set[UUID]:
    """Those of the ids that are locations. None of them can be deleted before commit.

    What a foreign key would do; there is none for the ids in an array.
    """
    found = select(Location.id).where(Location.id.in_(ids))
    return set(await session.scalars(found.with_for_update(read=True, key_share=True)))


async def offer_at(session: AsyncSession, location_id: UUID) -> bool:
    """Whether a service is given at this location."""
    given = select(Service.id).where(literal(location_id) == any_(Service.location_ids))
    return bool(await session.scalar(select(given.exists())))


def locations() -> Select[Location]:
    return select(Location)


async def resource(session: AsyncSession, resource_id: UUID) -> Resource | None:
    return await session.get(Resource, resource_id)


def resources(*, kind: str | None, location_id: UUID | None, is_active: bool) -> Select[Resource]:
    statement = select(Resource).where(Resource.is_active.is_(is_active))
    if kind is not None:
        statement = statement.where(Resource.kind == kind)
    if location_id is not None:
        statement = statement.where(Resource.location_id == location_id)
    return statement
