"""Provider services for routes: one that writes, one that only reads."""

from typing import Annotated

from fastapi import Depends

from app.catalog.dependencies import Catalog, CatalogReader
from app.core.unit_of_work import ReadSession, Session
from app.providers.service import ProviderService


async def providers(session: Session, catalog: Catalog) -> ProviderService:
    return ProviderService(session, catalog)


async def providers_reader(session: ReadSession, catalog: CatalogReader) -> ProviderService:
    return ProviderService(session, catalog)


Providers = Annotated[ProviderService, Depends(providers)]
ProvidersReader = Annotated[ProviderService, Depends(providers_reader)]
