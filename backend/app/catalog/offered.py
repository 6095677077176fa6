"""Reads of the offer: kept for all who may see the same of it."""

from collections.abc import Hashable

from fastapi import Request

from app.auth.dependencies import caller
from app.auth.permissions import Permission
from app.catalog.service import offer_version
from app.core.routing import KeptRoute

_OPENING = (Permission.SERVICES_WRITE, Permission.RESOURCES_WRITE, Permission.PROVIDERS_WRITE)
"""What of the offer not everybody sees, those see who may change it."""


class OfferedRoute(KeptRoute):
    """A route of the offer, whose answers depend on nothing but the offer and the caller's rights.

    Other rooms whose tables raise the offer's version use it too.
    """

    about = "offer"

    async def depends_on(self, request: Request) -> Hashable:
        principal = await caller(request)
        rights = () if principal is None else filter(principal.may, _OPENING)
        state = request.app.state
        readers = state.database.readers
        version = await state.offer_versions.ask(None, lambda: offer_version(readers))
        return version, tuple(right.value for right in rights)
