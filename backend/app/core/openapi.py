"""The OpenAPI document: what FastAPI derives from the code, and what it cannot know."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.config import Settings
from app.core.problems import MEDIA_TYPE, Problem, problem_examples

_DESCRIPTION = """
Appointment booking: honest free times, no double booking, ever.

- **Errors** are `application/problem+json` (RFC 9457); `code` is stable.
- **Instants** are RFC 3339 and carry an offset.
- **Lists** are paged with `limit` and `cursor`.
- **Versions**: send `If-Match` with what you have seen; a stale one is 412.
- **Idempotency-Key** on POST makes a repetition safe.
"""


def describe(app: FastAPI, settings: Settings) -> None:
    """Make `app.openapi()` complete."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, settings)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _document(app: FastAPI, settings: Settings) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs", {})
    schemas["Problem"] = problem
    components["examples"] = problem_examples()
    # FastAPI's own shape of a validation error is never sent.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for scheme in components.get("securitySchemes", {}).values():
        if scheme["type"] == "oauth2":
            scheme["flows"]["password"]["tokenUrl"] = f"{settings.API_V1_STR}/auth/token"
    for operations in document["paths"].values():
        for operation in operations.values():
            _drop_default_validation_error(operation["responses"])
    return document


def _drop_default_validation_error(responses: dict[str, Any]) -> None:
    if MEDIA_TYPE not in responses.get("422", {"content": {MEDIA_TYPE: {}}})["content"]:
        responses["422"]["content"] = {
            MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}
        }
