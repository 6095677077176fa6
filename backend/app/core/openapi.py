"""The OpenAPI document: what FastAPI derives from the code, and what it cannot know."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts

from app.config import Settings
from app.core.problems import MEDIA_TYPE, Problem, problem_examples, problems_by_code

_DESCRIPTION = """
Appointment booking: honest free times, no double booking, ever.

- **Errors** are `application/problem+json` (RFC 9457); `code` is stable.
- **Instants** are RFC 3339 and carry an offset.
- **Lists** are paged with `limit` and `cursor`.
- **Versions**: send `If-Match` with what you have seen; a stale one is 412.
- **Idempotency-Key** on POST makes a repetition safe.
"""

_FORM = "application/x-www-form-urlencoded"
_NOISE = frozenset({"title", "uniqueItems"})
_VALUES = frozenset({"const", "default", "enum", "example", "examples", "value"})
"""What stands under these is data."""
_BY_NAME = frozenset({"$defs", "properties"})
"""What stands under these has names of its own, which may be any."""


def describe(app: FastAPI, settings: Settings, *, needing_session: Callable[..., Any]) -> None:
    """Make `app.openapi()` complete.

    Args:
        app: the application, with all its routes.
        settings: where its base path is, and whether it takes API keys.
        needing_session: the dependency of those operations that take no API key.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, settings, needing_session)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _document(
    app: FastAPI, settings: Settings, needing_session: Callable[..., Any]
) -> dict[str, Any]:
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
    refusing = _operations_with(app, needing_session) if settings.API_KEYS_ENABLED else None
    _withdraw_api_keys(document, refusing)
    for operations in document["paths"].values():
        for operation in operations.values():
            _say_what_texts_can(operation, schemas)
            _complete(operation)
    _share(document)
    document["components"] = _plain(document["components"])
    document["paths"] = _plain(document["paths"])
    return document


def _operations_with(app: FastAPI, dependency: Callable[..., Any]) -> set[str]:
    """The ids of the operations that depend on this, directly or not."""

    def depends(dependant: Dependant) -> bool:
        return dependant.call is dependency or any(map(depends, dependant.dependencies))

    return {
        route.operation_id
        for route in iter_route_contexts(app.routes)
        if (dependant := getattr(route, "dependant", None)) and depends(dependant)
    }


def _withdraw_api_keys(document: dict[str, Any], operations: set[str] | None) -> None:
    """Take API keys away from these operations; None: from all, for they are not offered."""
    schemes = document["components"].get("securitySchemes", {})
    keys = {name for name, scheme in schemes.items() if scheme["type"] == "apiKey"}
    for path in document["paths"].values():
        for operation in path.values():
            concerned = operations is None or operation["operationId"] in operations
            if concerned and "security" in operation:
                operation["security"] = [s for s in operation["security"] if not keys & s.keys()]
    if operations is None:
        for name in keys:
            del schemes[name]


def _share(document: dict[str, Any]) -> None:
    """Say once what operations repeat: the problems they answer with, and their parameters."""
    problems: dict[str, Any] = {}
    operations = [o for path in document["paths"].values() for o in path.values()]
    texts = Counter(_text(p) for o in operations for p in o.get("parameters", ()))
    parameters: dict[str, Any] = {}
    for operation in operations:
        for status, response in operation["responses"].items():
            if MEDIA_TYPE in response.get("content", {}):
                codes = sorted(response["content"][MEDIA_TYPE]["examples"])
                name = ".".join((status, *codes))
                problems[name] = response
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
        for position, parameter in enumerate(operation.get("parameters", ())):
            name = parameter["name"]
            if texts[_text(parameter)] > 1 and parameters.setdefault(name, parameter) == parameter:
                reference = {"$ref": f"#/components/parameters/{name}"}
                operation["parameters"][position] = reference
    document["components"] |= {"responses": problems, "parameters": parameters}


def _plain(node: Any) -> Any:  # noqa: ANN401 - JSON
    """A part of the document without what Pydantic adds and nobody needs.

    A title that repeats a name says nothing. A set is sent as a list, and whoever names one of its
    members twice is not refused.
    """
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    plain = {}
    for name, value in node.items():
        if name in _VALUES:
            plain[name] = value
        elif name in _BY_NAME and isinstance(value, dict):
            plain[name] = {key: _plain(each) for key, each in value.items()}
        elif name not in _NOISE:
            plain[name] = _plain(value)
    return plain


def _text(part: Any) -> str:  # noqa: ANN401 - JSON
    return json.dumps(part, sort_keys=True)


def _say_what_texts_can(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Parameters and forms are texts: null cannot be sent, and an empty field is none."""
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"] = _not_null(parameter["schema"])
        if schema.get("description") == parameter.get("description"):
            schema.pop("description", None)
    form = operation.get("requestBody", {}).get("content", {}).get(_FORM)
    if form is not None:
        schema = schemas[form["schema"]["$ref"].rpartition("/")[2]]
        fields = schema["properties"] = {
            name: _not_null(field) for name, field in schema["properties"].items()
        }
        for name in schema["required"]:
            fields[name]["minLength"] = 1


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return rest | (options[0] if len(options) == 1 else {"anyOf": options}) if options else schema


def _complete(operation: dict[str, Any]) -> None:
    """Add the problems that follow from what an operation takes, so that no route repeats them."""
    responses = operation["responses"]
    parameters = operation.get("parameters", ())
    codes = ["uri_too_long"] if any(each["in"] == "query" for each in parameters) else []
    if MEDIA_TYPE not in responses.get("422", {"content": {MEDIA_TYPE: {}}})["content"]:
        del responses["422"]  # FastAPI's own
        codes.append("validation_failed")
    if "security" in operation:
        if "401" not in responses:  # those who may stay anonymous
            operation["security"].insert(0, {})
        codes += ["invalid_token", "token_expired"]
    if any(parameter["name"] == "Idempotency-Key" for parameter in parameters):
        codes += ["idempotency_in_progress", "idempotency_key_reused"]
    if "application/json" in operation.get("requestBody", {"content": {}})["content"]:
        codes.append("unsupported_media_type")
    for status, response in problems_by_code(*codes).items():
        kept = responses.setdefault(str(status), response)["content"][MEDIA_TYPE]["examples"]
        kept |= response["content"][MEDIA_TYPE]["examples"]
    operation["responses"] = dict(sorted(responses.items()))
