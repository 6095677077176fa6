"""The router and the route class of the whole API: what HTTP asks of all routes, in one place.

- A body that is not declared as JSON is 415, where JSON is expected.
- JSON is read strictly: UTF-8, no NaN, no lone surrogates, no NUL, no bottomless nesting, and not
  more parts than anything here could have.
- Unknown query parameters are refused, like unknown body fields.
- A conditional GET whose ETag still holds is answered 304 (RFC 9110, 13.1.2).
- The answer to a request with an Idempotency-Key is kept in its transaction.
"""

import json
import re
from collections.abc import Callable, Coroutine, Hashable, Iterator
from http import HTTPStatus
from typing import Any, ClassVar, NoReturn

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from fastapi.routing import APIRoute, APIRouter
from pydantic import BaseModel
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from app.core import idempotency
from app.core.caching import Answer, Found, content_tag
from app.core.errors import AppError, UnsupportedMediaType
from app.core.exchange import exchange_of
from app.core.preconditions import etag_matches, is_known
from app.core.problems import app_problem

_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})
_VARY = b"Authorization, X-API-Key"

# A megabyte has room for a hundred thousand wrong fields, or half a million empty lists: to make
# them all, and to say of each what is wrong with it, holds up everybody else for most of a second.
_MAXIMUM_PARTS = 10_000
_FEW_ENOUGH_BYTES = 64 * 1024
_PARTS = (b"[", b"{", b":")
# Matches wherever a text begins, cut off or not: so each byte is looked at once.
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRequest(Request):
    """A request whose JSON is what RFC 8259 calls JSON, and what Postgres can store."""

    async def json(self) -> Any:  # noqa: ANN401 - JSON
        body = await self.body()
        if len(body) > _FEW_ENOUGH_BYTES:
            _refuse_many_parts(body)
        try:
            # Decoded here, for `json` would accept UTF-16 and lone surrogates as well.
            value = json.loads(body.decode(), parse_constant=_refuse_constant)
            if b"\\u" in body:
                _refuse_unstorable(value)
        except json.JSONDecodeError:
            raise
        except (ValueError, RecursionError) as error:  # not UTF-8, huge numbers, deep nesting
            raise json.JSONDecodeError(type(error).__name__, "", 0) from None
        return value


class ApiRoute(APIRoute):
    def get_route_handler(self) -> Handler:
        handle = self.get_full_handler()

        async def handler(request: Request) -> Response:
            response = await handle(request)
            return conditional(request, response) if request.method == "GET" else response

        return handler

    def get_full_handler(self) -> Handler:
        """Answers in full, whatever the client has already."""
        handle = super().get_route_handler()
        known = frozenset(_query_names(self.dependant))
        field = self.body_field
        takes_form = field is not None and isinstance(field.field_info, Form)
        takes_json = field is not None and not takes_form

        async def handler(request: Request) -> Response:
            if request.scope["query_string"]:
                refuse_unknown_query(request.query_params, known)
            request = StrictRequest(request.scope, request.receive)
            if takes_json and not _is_json(request) and await request.body():
                raise UnsupportedMediaType
            if takes_form and len(await request.body()) > _FEW_ENOUGH_BYTES:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            try:
                response = await handle(request)
            except idempotency.Replay as replay:
                return replay.response
            except AppError as error:
                return await _final_error(request, error)
            if (claim := idempotency.claim_of(request)) is not None:
                await claim.remember(response)
            return response

        return handler


class PlainRoute(ApiRoute):
    """A route whose answers are new each time, and worth no comparison."""

    def get_route_handler(self) -> Handler:
        return self.get_full_handler()


class KeptRoute(ApiRoute):
    """A route whose answers to GET are kept for all to whom it would answer the same."""

    about: ClassVar[str]
    """What the answers are about, in metrics."""

    async def depends_on(self, request: Request) -> Hashable:
        """What an answer depends on besides the path and the query; see `AnswerCache.get`.

        The caller is judged here: what this raises is the answer.
        """
        raise NotImplementedError

    def get_route_handler(self) -> Handler:
        if "GET" not in (self.methods or ()):
            return super().get_route_handler()
        handle = self.get_full_handler()

        async def handler(request: Request) -> Response:
            scope, state = request.scope, request.app.state
            key = scope["path"], scope["query_string"], await self.depends_on(request)

            async def make() -> Answer:
                response = await handle(request)
                body = bytes(response.body)
                return Answer(body, response.headers.get("etag") or content_tag(body))

            now = state.clock().timestamp()
            answer, found = await state.answers.get(self.about, key, now, make)
            is_public = _CREDENTIALS.isdisjoint(name for name, _ in scope["headers"])
            cache_control = b"no-cache" if is_public else b"private, no-cache"
            return KeptResponse(scope, answer, found, cache_control=cache_control, vary=_VARY)

        return handler


class ApiRouter(APIRouter):
    """The routes of a room. They are tried only where the path has the room's name in it.

    FastAPI tries the pattern of each route of each router in turn, twice; for those that come last
    that took longer than all else around the endpoint.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        route_class: type[ApiRoute] = ApiRoute,
        **options: Any,  # noqa: ANN401 - APIRouter's
    ) -> None:
        super().__init__(prefix=prefix, route_class=route_class, **options)
        self._name = prefix.partition("/{")[0]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if self._name not in scope["path"]:
            return Match.NONE, {}
        return super().matches(scope)


async def _final_error(request: Request, error: AppError) -> Response:
    """Keep an outcome that is the request's answer for good; let all others be tried again."""
    claim = idempotency.claim_of(request)
    if claim is None or not idempotency.is_final(error):
        raise error
    response = app_problem(request.scope, error)
    await claim.remember_refusal(response)
    return response


class KeptResponse(Response):
    """An answer that is kept, or 304 to a client that has it: nothing of it is worked out anew.

    Clients may keep it too, but must ask before they use it.
    """

    def __init__(
        self,
        scope: Scope,
        answer: Answer,
        found: Found,
        *,
        cache_control: bytes = b"no-cache",
        vary: bytes | None = None,
    ) -> None:
        self.background = None
        self.raw_headers = [
            (b"etag", answer.etag.encode()),
            (b"cache-control", cache_control),
            (b"x-cache", found.encode()),
        ]
        if vary is not None:
            self.raw_headers.append((b"vary", vary))
        wanted = exchange_of(scope).all(b"if-none-match")
        if wanted and is_known(b",".join(wanted).decode("latin-1"), answer.etag):
            self.status_code, self.body = HTTPStatus.NOT_MODIFIED, b""
        else:
            self.status_code, self.body = HTTPStatus.OK, answer.body
            self.raw_headers += (
                (b"content-length", str(len(answer.body)).encode()),
                (b"content-type", b"application/json"),
            )


def conditional(request: Request, response: Response) -> Response:
    """The answer to a GET, or 304 if the client has it already.

    What has no version has a tag of its content: weak, for it may be encoded in other bytes yet.
    """
    body = getattr(response, "body", b"")
    if body and response.status_code == HTTPStatus.OK and "etag" not in response.headers:
        response.headers["etag"] = f"W/{content_tag(bytes(body))}"
    return _not_modified(response) if etag_matches(request, response) else response


def _not_modified(response: Response) -> Response:
    kept = ("etag", "cache-control", "vary", "content-location", "expires")
    headers = {name: response.headers[name] for name in kept if name in response.headers}
    return Response(status_code=304, headers=headers)


def _is_json(request: Request) -> bool:
    essence = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return essence == "application/json" or (
        essence.startswith("application/") and essence.endswith("+json")
    )


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", "", 0)


def _refuse_many_parts(body: bytes) -> None:
    """Raise JSONDecodeError for too many lists, objects and members, before any is made."""

    def count(text: bytes) -> int:
        return sum(text.count(sign) for sign in _PARTS)

    # Only then do texts, which may hold as many of these as they like, have to be told apart.
    if count(body) > _MAXIMUM_PARTS and count(_TEXT.sub(b"", body)) > _MAXIMUM_PARTS:
        raise json.JSONDecodeError(f"It has more than {_MAXIMUM_PARTS} parts", "", 0)


def _refuse_unstorable(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    # Without escaped backslashes, a `\\u0000` that is left is a NUL.
    if "\\u0000" in text.replace(r"\\", ""):
        raise json.JSONDecodeError("NUL characters are not accepted", "", 0)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise json.JSONDecodeError("Lone surrogates are not characters", "", 0) from None


def refuse_unknown_query(parameters: QueryParams, known: frozenset[str]) -> None:
    """Raise RequestValidationError for parameters that are not known, and for NUL in any."""
    unknown = [name for name in parameters if name not in known]
    errors = [
        {"type": "extra_forbidden", "loc": ("query", name), "msg": "Unknown parameter"}
        for name in unknown
    ]
    errors += [
        {"type": "nul", "loc": ("query", name), "msg": "NUL characters are not accepted"}
        for name, value in parameters.multi_items()
        if "\0" in value
    ]
    if errors:
        raise RequestValidationError(errors)


def _query_names(dependant: Dependant) -> Iterator[str]:
    for param in dependant.query_params:
        annotation = param.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            for name, field in annotation.model_fields.items():
                yield field.alias or name
        else:
            yield param.alias
    for dependency in dependant.dependencies:
        yield from _query_names(dependency)
