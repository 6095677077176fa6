"""The catalogue for routes: one that writes, one that only reads."""

from typing import Annotated

from fastapi import Depends, Request

from app.catalog.commitments import Commitments
from app.catalog.resource_service import ResourceService
from app.catalog.service import CatalogService
from app.core.unit_of_work import ReadSession, Session


async def commitments(request: Request) -> Commitments:
    found: Commitments = request.app.state.commitments
    return found


Promised = Annotated[Commitments, Depends(commitments)]


async def catalog(session: Session, promised: Promised) -> CatalogService:
    return CatalogService(session, promised)


async def catalog_reader(session: ReadSession, promised: Promised) -> CatalogService:
    return CatalogService(session, promised)


async def resources(session: Session, promised: Promised) -> ResourceService:
    return ResourceService(session, promised)


async def resources_reader(session: ReadSession, promised: Promised) -> ResourceService:
    return ResourceService(session, promised)


Catalog = Annotated[CatalogService, Depends(catalog)]
CatalogReader = Annotated[CatalogService, Depends(catalog_reader)]
Resources = Annotated[ResourceService, Depends(resources)]
ResourcesReader = Annotated[ResourceService, Depends(resources_reader)]
