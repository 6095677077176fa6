"""Provider services for routes: one that writes, one that only reads."""

from typing import Annotated

from fastapi import Depends, Request

from app.catalog.dependencies import Catalog, CatalogReader
from app.core.unit_of_work import ReadSession, Session
from app.providers.commitments import Commitments
from app.providers.service import ProviderService


async def commitments(request: Request) -> Commitments:
    found: Commitments = request.app.state.commitments
    return found


Promised = Annotated[Commitments, Depends(commitments)]


async def providers(session: Session, catalog: Catalog, promised: Promised) -> ProviderService:
    return ProviderService(session, catalog, promised)


async def providers_reader(
    session: ReadSession, catalog: CatalogReader, promised: Promised
) -> ProviderService:
    return ProviderService(session, catalog, promised)


Providers = Annotated[ProviderService, Depends(providers)]
ProvidersReader = Annotated[ProviderService, Depends(providers_reader)]
