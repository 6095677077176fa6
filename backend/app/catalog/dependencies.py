"""The catalogue for routes: one that writes, one that only reads."""

from typing import Annotated

from fastapi import Depends

from app.catalog.service import CatalogService
from app.core.unit_of_work import ReadSession, Session


async def catalog(session: Session) -> CatalogService:
    return CatalogService(session)


async def catalog_reader(session: ReadSession) -> CatalogService:
    return CatalogService(session)


Catalog = Annotated[CatalogService, Depends(catalog)]
CatalogReader = Annotated[CatalogService, Depends(catalog_reader)]
