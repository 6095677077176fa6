"""Every error as `application/problem+json` (RFC 9457): ours, the framework's, the unforeseen.

Input values are never echoed: a body may hold a password next to the field that is wrong.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from app.core.context import current_request_id
from app.core.errors import AppError, FieldError, Unavailable, ValidationFailed
from app.core.exchange import note_problem
from app.core.unit_of_work import driver_error, is_connection_lost, should_retry, sqlstate

MEDIA_TYPE = "application/problem+json"

# A body of a megabyte can be wrong in a hundred thousand places; nobody reads that many.
_MAXIMUM_ERRORS = 50

_CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "request_timeout",
    411: "length_required",
    413: "content_too_large",
    415: "unsupported_media_type",
    431: "headers_too_large",
    503: "unavailable",
    504: "request_timeout",
}


class ProblemItem(BaseModel):
    detail: str
    pointer: str = Field(description="JSON pointer into the request.", examples=["#/start"])


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable; `title` and `detail` are for people."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str | None = None
    errors: list[ProblemItem] = []


def problem_response(
    scope: Scope,
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Iterable[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> Response:
    extensions = extensions or {}
    note_problem(scope, code, str(extensions.get("reason", "")))
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": _instance(scope),
        "code": code,
        "request_id": current_request_id(),
        "errors": [{"detail": e.detail, "pointer": e.pointer} for e in errors],
        **extensions,
    }
    # ASCII only: a path or a field's name may hold what UTF-8 cannot (a lone surrogate).
    return Response(json.dumps(body, separators=(",", ":")), status, headers, MEDIA_TYPE)


def _instance(scope: Scope) -> str:
    """The path, but for a secret link's token: clients log problems."""
    path: str = scope.get("path", "/")
    token = scope.get("path_params", {}).get("token")
    return path.replace(token, "{token}") if token else path


def app_problem(scope: Scope, error: AppError) -> Response:
    return problem_response(
        scope,
        status=error.status,
        code=error.code,
        title=error.title,
        detail=error.detail,
        errors=error.errors,
        headers=error.headers,
        extensions=error.extensions,
    )


def http_problem(scope: Scope, exc: HTTPException) -> Response:
    """The framework's own errors: no such path, no such method, too large."""
    phrase = HTTPStatus(exc.status_code).phrase
    headers = exc.headers
    if exc.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(sorted(_methods(scope)))}
    return problem_response(
        scope,
        status=exc.status_code,
        code=_CODES.get(exc.status_code, "bad_request"),
        title=phrase,
        detail=exc.detail or phrase,
        headers=headers,
    )


def _methods(scope: Scope) -> set[str]:
    """All that the path understands; the router names those of one of its routes."""
    methods = {
        method
        for route in iter_route_contexts(scope["app"].routes)
        if route.path_regex.match(scope["path"])
        for method in route.methods or ()
    }
    return methods | {"HEAD"} if "GET" in methods else methods


def escaped_problem(scope: Scope, error: Exception) -> Response:
    """The answer to what left the router as an exception; its text stays in the log."""
    if isinstance(error, HTTPException):
        return http_problem(scope, error)
    if isinstance(error, AppError):
        return app_problem(scope, error)
    if is_connection_lost(error):
        return app_problem(scope, Unavailable("The database cannot answer right now."))
    if should_retry(error):
        return app_problem(scope, Unavailable("Too many want the same thing at once."))
    return problem_response(
        scope,
        status=500,
        code="internal_error",
        title="Something went wrong on our side.",
        detail="An unexpected internal error; it has been logged.",
    )


def _invalid_request(request: Request, exc: RequestValidationError) -> Response:
    shown = exc.errors()[:_MAXIMUM_ERRORS]
    errors = [FieldError(_plain(e["msg"]), _pointer(e)) for e in shown]
    return app_problem(request.scope, ValidationFailed(errors=errors))


def _database_error(request: Request, exc: Exception) -> Response:
    """Values that Postgres cannot hold are the client's; a server that is away is 503."""
    if should_retry(exc):
        raise exc
    state, error = sqlstate(exc) or "", driver_error(exc)
    if state.startswith("22") or isinstance(error, asyncpg.DataError):
        return app_problem(request.scope, ValidationFailed("A value is out of range."))
    is_cut = isinstance(exc, DBAPIError) and exc.connection_invalidated
    is_cut = is_cut or isinstance(exc, asyncpg.InterfaceError)
    if is_cut or state.startswith(("08", "53", "57")) or state == "55P03":
        return app_problem(request.scope, Unavailable("The database cannot answer right now."))
    raise exc


def _pool_timeout(request: Request, _: PoolTimeout) -> Response:
    return app_problem(request.scope, Unavailable("Too many requests are waiting."))


def _no_connection(request: Request, _: OSError) -> Response:
    return app_problem(request.scope, Unavailable("A service this one needs is away."))


def _pointer(error: Mapping[str, Any]) -> str:
    """`("body", "questions", 0, "key")` → `#/questions/0/key`."""
    place, *parts = error["loc"]
    if error["type"] == "json_invalid":
        parts = []  # FastAPI puts the position in the text there
    elif place != "body":
        # A parameter is flat: what follows its name, but for an index, is Pydantic's own.
        parts = [*parts[:1], *(part for part in parts[1:] if isinstance(part, int))]
    return "#" + "".join(f"/{str(p).replace('~', '~0').replace('/', '~1')}" for p in parts)


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")


def add_problem_handlers(app: FastAPI) -> None:
    handlers: dict[type[Exception], Any] = {
        AppError: lambda request, exc: app_problem(request.scope, exc),
        HTTPException: lambda request, exc: http_problem(request.scope, exc),
        RequestValidationError: _invalid_request,
        DBAPIError: _database_error,
        asyncpg.PostgresError: _database_error,
        asyncpg.InterfaceError: _database_error,
        PoolTimeout: _pool_timeout,
        OSError: _no_connection,
    }
    for error, handler in handlers.items():
        app.add_exception_handler(error, _asynchronous(handler))


def _asynchronous(handler: Any) -> Any:  # noqa: ANN401 - Starlette's own handler type
    """Spare each error answer the hop to a thread that Starlette makes for plain functions."""

    async def handle(request: Request, exc: Exception) -> Response:
        answer: Response = handler(request, exc)
        return answer

    return handle


def problems(*errors: type[AppError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for the errors a route may answer with, one example per code."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        entry = by_status.setdefault(
            error.status,
            {
                "description": HTTPStatus(error.status).phrase,
                "content": {
                    MEDIA_TYPE: {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": {},
                    }
                },
            },
        )
        example = {"$ref": f"#/components/examples/{error.code}"}
        entry["content"][MEDIA_TYPE]["examples"][error.code] = example
    return by_status


def problems_by_code(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The same for errors of rooms that the caller may not know."""
    return problems(*(error for error in _family(AppError) if error.code in codes))


def problem_examples() -> dict[str, Any]:
    """An example of each error that a client may meet, by its code."""
    return {
        error.code: {
            "summary": error.title,
            "value": {
                "type": "about:blank",
                "title": error.title,
                "status": error.status,
                "detail": error.title,
                "instance": "/api/v1/…",
                "code": error.code,
                "request_id": "0199f0c0-0000-7000-8000-000000000000",
                "errors": [],
            },
        }
        for error in _family(AppError)
    }


def _family(parent: type[AppError]) -> Iterator[type[AppError]]:
    for error in parent.__subclasses__():
        if hasattr(error, "code"):
            yield error
        yield from _family(error)
