"""Asking for free times: the query, understood at once.

FastAPI looks for each parameter of a query by itself, which for nine of them takes longer than the
answer. Here Pydantic reads the query whole, as one model; FastAPI has the same model to describe.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.availability.answers import Answer
from app.availability.free_times_service import FreeTimesService
from app.availability.schemas import Asked
from app.core.routing import ApiRoute, Handler, conditional, refuse_unknown_query

Endpoint: TypeAlias = Callable[[Asked, FreeTimesService], Awaitable[Response]]

_KNOWN = frozenset(Asked.model_fields)


class AskingRoute(ApiRoute):
    """A route whose endpoint takes a query (`Asked`) and the service that answers it."""

    def get_route_handler(self) -> Handler:
        endpoint: Endpoint = self.endpoint

        async def handler(request: Request) -> Response:
            refuse_unknown_query(request, _KNOWN)
            state = request.app.state
            free_times = FreeTimesService(
                state.database.readers,
                state.answer_cache,
                state.clock,
                state.settings.BUSINESS_TIME_ZONE,
            )
            return conditional(request, await endpoint(_read(request), free_times))

        return handler


def as_response(answer: Answer) -> Response:
    return Response(
        answer.body,
        media_type="application/json",
        # Clients may keep it, but must ask before they use it: a free time is soon taken.
        headers={"ETag": answer.etag, "Cache-Control": "no-cache"},
    )


def _read(request: Request) -> Asked:
    query = request.query_params
    given: dict[str, Any] = dict(query)
    if "provider_id" in given:
        given["provider_id"] = query.getlist("provider_id")
    try:
        return Asked.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError(
            [{**problem, "loc": ("query", *problem["loc"])} for problem in error.errors()]
        ) from None
