"""Asking for free times: a route that does nothing but that.

FastAPI looks for each parameter of a query by itself, and works out what the endpoint depends on
anew, which takes longer than the answer. Here Pydantic reads the query whole, as one model, and the
same query is read once; FastAPI has the same model to describe.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, TypeAlias

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from app.availability.dependencies import free_times_service
from app.availability.free_times_service import FreeTimesService
from app.availability.schemas import Asked
from app.core.caching import Answer, Found
from app.core.routing import ApiRoute, KeptResponse, refuse_unknown_query

Endpoint: TypeAlias = Callable[[Asked, FreeTimesService], Awaitable[tuple[Answer, Found]]]

_KNOWN = frozenset(Asked.model_fields)
_REMEMBERED_QUERIES = 4096
_REMEMBERED_BYTES = 1024


class AskingRoute(ApiRoute):
    """A route whose endpoint takes a query (`Asked`) and the service that answers it."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await super().handle(scope, receive, send)  # 405
            return
        endpoint: Endpoint = self.endpoint
        query: bytes = scope["query_string"]
        asked = _remembered(query) if len(query) <= _REMEMBERED_BYTES else _read(query)
        answer, found = await endpoint(asked, free_times_service(scope["app"].state))
        await KeptResponse(scope, answer, found)(scope, receive, send)


def _read(query: bytes) -> Asked:
    parameters = QueryParams(query)
    refuse_unknown_query(parameters, _KNOWN)
    given: dict[str, Any] = dict(parameters)
    if "provider_id" in given:
        given["provider_id"] = parameters.getlist("provider_id")
    try:
        return Asked.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError(
            [{**problem, "loc": ("query", *problem["loc"])} for problem in error.errors()]
        ) from None


_remembered = lru_cache(_REMEMBERED_QUERIES)(_read)
