"""The SQL of providers."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.pagination import Keyset
from app.providers.models import Provider, ServiceProvider

PROVIDERS = Keyset(Provider.id, {"name": Provider.display_name, "created_at": Provider.created_at})


async def provider(session: AsyncSession, provider_id: UUID) -> Provider | None:
    return await session.get(Provider, provider_id)


def providers(*, is_active: bool, service_id: UUID | None) -> Select[Provider]:
    statement = select(Provider).where(Provider.is_active.is_(is_active))
    if service_id is not None:
        statement = statement.join(
            ServiceProvider, ServiceProvider.provider_id == Provider.id
        ).where(ServiceProvider.service_id == service_id)
    return statement


async def services_of(session: AsyncSession, provider_id: UUID) -> Sequence[UUID]:
    """The services that this provider gives."""
    given = select(ServiceProvider.service_id).where(ServiceProvider.provider_id == provider_id)
    return (await session.scalars(given)).all()


async def of_user(session: AsyncSession, user_id: UUID) -> UUID | None:
    return await session.scalar(select(Provider.id).where(Provider.user_id == user_id))


async def owned_by(session: AsyncSession, user_id: UUID) -> Provider | None:
    return await session.scalar(select(Provider).where(Provider.user_id == user_id))


async def existing(session: AsyncSession, ids: list[UUID]) -> set[UUID]:
    return set(await session.scalars(select(Provider.id).where(Provider.id.in_(ids))))


async def assignments(session: AsyncSession, service_id: UUID) -> list[ServiceProvider]:
    return list(
        await session.scalars(
            select(ServiceProvider)
            .where(ServiceProvider.service_id == service_id)
            .order_by(ServiceProvider.priority.desc(), ServiceProvider.provider_id)
        )
    )


async def replace_assignments(
    session: AsyncSession, service_id: UUID, rows: list[dict[str, object]]
) -> None:
    await session.execute(delete(ServiceProvider).where(ServiceProvider.service_id == service_id))
    if rows:
        await session.execute(
            insert(ServiceProvider), [{"service_id": service_id, **row} for row in rows]
        )
