"""The SQL of the offer."""

from uuid import UUID

from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalog.models import Location, Service
from app.core.pagination import Keyset

SERVICES = Keyset(Service.id, {"name": Service.name, "created_at": Service.created_at})
LOCATIONS = Keyset(Location.id, {"name": Location.name, "created_at": Location.created_at})


async def service(session: AsyncSession, service_id: UUID) -> Service | None:
    return await session.get(Service, service_id)


async def locked_service(session: AsyncSession, service_id: UUID) -> Service | None:
    """The service, and until commit nobody else changes it; booking it goes on."""
    return await session.get(Service, service_id, with_for_update={"key_share": True})


async def next_version(session: AsyncSession, service_id: UUID) -> int:
    """Raise the version of a service that exists, and return it."""
    return (
        await session.execute(
            update(Service)
            .where(Service.id == service_id)
            .values(version=Service.version + 1, updated_at=func.now())
            .returning(Service.version)
        )
    ).scalar_one()


def services(*, is_active: bool) -> Select[Service]:
    return select(Service).where(Service.is_active.is_(is_active))


async def location(session: AsyncSession, location_id: UUID) -> Location | None:
    return await session.get(Location, location_id)


async def existing_locations(session: AsyncSession, ids: list[UUID]) -> set[UUID]:
    return set(await session.scalars(select(Location.id).where(Location.id.in_(ids))))


def locations() -> Select[Location]:
    return select(Location)
