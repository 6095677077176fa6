"""What the OpenAPI document promises, and that it promises the truth."""

import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi import FastAPI

from app.auth.principal import Principal
from app.core.ids import new_id
from app.main import create_app
from tests.business import problem, serving
from tests.conftest import make_settings

PROBLEM = "application/problem+json"
APP = create_app(make_settings())
DOCUMENT = APP.openapi()
ID = "0199f0c0-0000-7000-8000-000000000000"

# Everything else under /api/v1 asks who is calling.
PUBLIC = {
    "auth_signup",
    "auth_login",
    "auth_token",
    "auth_refresh",
    "auth_verify_email",
    "auth_password_forgot",
    "auth_password_reset",
    "availability_get",
    "availability_days",
    "availability_next",
    "availability_explain",
    "bookings_create",
    "calendar_feeds_get",
    "holds_create",
    "holds_end",
    "holds_extend",
    "locations_get",
    "locations_list",
    "manage_cancel",
    "manage_get",
    "manage_reschedule",
    "notifications_unsubscribe",
    "overrides_list",
    "providers_get",
    "providers_list",
    "resources_get",
    "resources_list",
    "schedules_get",
    "service_providers_get",
    "services_get",
    "services_list",
}

# Strangers may, where the service admits guests; elsewhere they are told to log in.
FOR_GUESTS = {"bookings_create", "holds_create"}

# Their answers hold secrets that no table may keep, or there is nothing left to do twice.
UNREPEATABLE = {
    "auth_login",
    "auth_token",
    "auth_refresh",
    "auth_logout",
    "auth_logout_all",
    "auth_mfa_totp_start",
    "auth_mfa_totp_confirm",
    "auth_mfa_recovery_codes_renew",
    "notifications_unsubscribe",
}
# What they end has no version: it is there or it is not.
UNVERSIONED = {
    "admin_jobs_discard",
    "auth_mfa_disable",
    "auth_sessions_end",
    "calendar_feeds_revoke",
}


class Operation(NamedTuple):
    method: str
    path: str
    content: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.content["operationId"])

    def problems(self, status: str) -> set[str]:
        """The codes of the problems that it may answer with this status."""
        response = self.content["responses"].get(status, {"content": {}})
        return set(response["content"].get(PROBLEM, {"examples": {}})["examples"])

    @property
    def body(self) -> dict[str, Any] | None:
        return self.content.get("requestBody", {}).get("content", {}).get("application/json")

    def parameters(self, place: str) -> set[str]:
        return {p["name"] for p in self.content.get("parameters", []) if p["in"] == place}


def resolved(part: Any) -> Any:
    """A part of the document with what it shares with others in place."""
    kind, _, name = part.get("$ref", "").removeprefix("#/components/").partition("/")
    return DOCUMENT["components"][kind][name] if name else part


def whole(operation: dict[str, Any]) -> dict[str, Any]:
    """An operation with all that it shares in place."""
    responses = {status: resolved(r) for status, r in operation["responses"].items()}
    found = operation | {"responses": responses}
    if "parameters" in operation:
        found["parameters"] = [resolved(parameter) for parameter in operation["parameters"]]
    return found


OPERATIONS = [
    Operation(method.upper(), path, whole(content))
    for path, methods in DOCUMENT["paths"].items()
    for method, content in methods.items()
]
API = [operation for operation in OPERATIONS if operation.path.startswith("/api/v1/")]


def each(operations: Iterable[Operation]) -> pytest.MarkDecorator:
    found = list(operations)
    assert found
    return pytest.mark.parametrize("operation", found, ids=lambda operation: operation.name)


def test_all_operations_are_there() -> None:
    assert len(OPERATIONS) >= 25
    assert len(API) >= 25
    assert {operation.name for operation in API} >= PUBLIC


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+)+", name)] == []
    assert len(set(names)) == len(names)


@each(OPERATIONS)
def test_it_says_what_it_does(operation: Operation) -> None:
    assert operation.content["summary"]
    assert len(operation.content["tags"]) == 1
    assert not operation.content["summary"].endswith(".")


FILES = {
    "admin_exports_bookings": "text/csv",
    "bookings_calendar": "text/calendar; charset=utf-8",
    "calendar_feeds_get": "text/calendar; charset=utf-8",
}


@each(OPERATIONS)
def test_its_success_is_typed(operation: Operation) -> None:
    successes = {
        status: response
        for status, response in operation.content["responses"].items()
        if status.startswith("2")
    }
    # Signing up is answered 202 where addresses are protected.
    assert len(successes) == (2 if operation.name == "auth_signup" else 1)
    for status, response in successes.items():
        if status == "204":
            assert "content" not in response
            continue
        if operation.name in FILES:
            assert list(response["content"]) == [FILES[operation.name]]
            continue
        schema = response["content"]["application/json"]["schema"]
        # A model, a list of them, or one of several.
        for model in schema.get("anyOf", [schema.get("items", schema)]):
            assert model.get("$ref", "").startswith("#/components/schemas/")


@each(OPERATIONS)
def test_its_errors_are_problems_with_their_codes(operation: Operation) -> None:
    for status, response in operation.content["responses"].items():
        if status.startswith(("4", "5")) and operation.path != "/health/ready":
            assert set(response["content"]) == {PROBLEM}
            assert operation.problems(status), status


@each(o for o in API if {"parameters", "requestBody"} & set(o.content))
def test_it_says_422_where_something_can_be_invalid(operation: Operation) -> None:
    assert "validation_failed" in operation.problems("422")


@each(o for o in API if o.parameters("query"))
def test_it_says_414_where_a_url_can_be_too_long(operation: Operation) -> None:
    assert operation.problems("414") == {"uri_too_long"}


@each(o for o in API if "security" in o.content)
def test_it_says_401_where_a_token_may_be_sent(operation: Operation) -> None:
    assert {"invalid_token", "token_expired"} <= operation.problems("401")


@each(API)
def test_it_says_whether_it_needs_a_token(operation: Operation) -> None:
    security = operation.content.get("security", [{}])
    assert ({} in security) == (operation.name in PUBLIC)
    asks = operation.name not in PUBLIC or operation.name in FOR_GUESTS
    assert ("unauthenticated" in operation.problems("401")) == asks


@each(o for o in API if o.method in {"PUT", "PATCH", "DELETE"} and o.name not in UNVERSIONED)
def test_what_changes_something_can_be_bound_to_a_version(operation: Operation) -> None:
    assert "If-Match" in operation.parameters("header")
    assert "version_mismatch" in operation.problems("412")


@each(o for o in API if o.method == "POST" and o.name not in UNREPEATABLE)
def test_what_creates_or_acts_can_be_sent_again(operation: Operation) -> None:
    assert "Idempotency-Key" in operation.parameters("header")
    assert "idempotency_in_progress" in operation.problems("409")
    assert "idempotency_key_reused" in operation.problems("422")


@each(o for o in API if o.body)
def test_what_takes_json_takes_nothing_else(operation: Operation) -> None:
    assert "unsupported_media_type" in operation.problems("415")


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_no_reference_leads_nowhere() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > 20
    for reference in found:
        node: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            assert part in node, reference
            node = node[part]


def test_no_parameter_can_be_null() -> None:
    parameters = [p for o in OPERATIONS for p in o.content.get("parameters", [])]
    assert len(parameters) > 100
    assert [p["name"] for p in parameters if {"type": "null"} in p["schema"].get("anyOf", [])] == []


@each(o for o in API if o.name.endswith("_list"))
def test_a_list_says_by_what_it_can_be_sorted(operation: Operation) -> None:
    parameters = {p["name"]: p["schema"] for p in operation.content.get("parameters", [])}
    if "sort" in parameters:
        orders = parameters["sort"]["enum"]
        assert parameters["sort"]["default"] in orders
        assert {f"-{order}" for order in orders if order[0] != "-"} <= set(orders)


def test_it_repeats_no_names_as_titles() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert "title" not in schema, name
    assert "title" in DOCUMENT["components"]["schemas"]["Problem"]["properties"]


def test_every_error_has_an_example_under_its_code() -> None:
    examples = DOCUMENT["components"]["examples"]
    for code, example in examples.items():
        assert example["value"]["code"] == code
        assert set(example["value"]) >= set(
            DOCUMENT["components"]["schemas"]["Problem"]["required"]
        )


def test_swagger_finds_where_to_log_in() -> None:
    (scheme,) = DOCUMENT["components"]["securitySchemes"].values()
    assert scheme["flows"]["password"]["tokenUrl"] == "/api/v1/auth/token"


def test_it_is_json_and_the_same_each_time() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == create_app(make_settings()).openapi()


# --- Against the application ------------------------------------------------------------------
@pytest.fixture
def nowhere(tmp_path: Path) -> FastAPI:
    """Without a database, so that whatever reaches for it is a 503."""
    return create_app(make_settings(POSTGRES_SERVER=str(tmp_path)))


@pytest.fixture
async def client(nowhere: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(nowhere) as client:
        yield client


def filled(path: str) -> str:
    return re.sub(r"\{[a-z_]+\}", ID, path.replace("{date}", "2026-12-24"))


def example_of(operation: Operation) -> Any:
    """The example of its body, by which the document shows how to use it."""
    assert operation.body is not None
    schema = operation.body["schema"]
    for option in schema.get("anyOf", [schema]):
        if "$ref" in option:
            return DOCUMENT["components"]["schemas"][option["$ref"].rpartition("/")[2]]["examples"][
                0
            ]
    raise AssertionError(schema)


@each(o for o in API if o.name not in PUBLIC)
async def test_strangers_pass_only_where_it_says_so(
    client: httpx.AsyncClient, operation: Operation
) -> None:
    json_body = example_of(operation) if operation.body else None
    answer = await client.request(operation.method, filled(operation.path), json=json_body)
    problem(answer, 401, "unauthenticated")


@each(o for o in API if o.body)
async def test_the_example_of_its_body_is_valid(
    nowhere: FastAPI, client: httpx.AsyncClient, operation: Operation
) -> None:
    superuser = Principal(new_id(), new_id(), frozenset(), is_superuser=True)

    class Everybody:
        async def authenticate(self, _: str) -> Principal:
            return superuser

    nowhere.state.authenticator = Everybody()
    client.headers["Authorization"] = "Bearer anything"
    body = example_of(operation)
    path = filled(operation.path)
    # Valid, so it gets as far as the database, which is not there.
    problem(await client.request(operation.method, path, json=body), 503, "unavailable")
    wrong = body | {"colour": "red"}
    problem(await client.request(operation.method, path, json=wrong), 422, "validation_failed")
