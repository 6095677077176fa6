"""Whatever goes wrong, the answer is a problem (RFC 9457) that echoes nothing.

None of this may need the database, so there is none: reaching for it is a 503.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.auth.principal import Principal
from app.core.ids import new_id
from app.main import create_app
from app.postgres import Pulse
from tests.business import problem, serving
from tests.conftest import make_settings

FRONTEND = "http://localhost:5173"
JSON = {"Content-Type": "application/json"}
SERVICE = {"name": "Cut", "durations_minutes": [30]}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """An application without a database, and nobody to notice that it is silent."""

    async def look_away(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Pulse, "watch", look_away)
    return create_app(make_settings(POSTGRES_SERVER=str(tmp_path)))


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(app) as client:
        yield client


@pytest.fixture
def admin(app: FastAPI, client: httpx.AsyncClient) -> httpx.AsyncClient:
    """The same client, let in everywhere."""
    superuser = Principal(new_id(), new_id(), frozenset(), is_superuser=True)

    class Everybody:
        async def authenticate(self, _: str) -> Principal:
            return superuser

    app.state.authenticator = Everybody()
    client.headers["Authorization"] = "Bearer anything"
    return client


def pointers(body: Any) -> list[str]:
    return [error["pointer"] for error in body["errors"]]


async def send(admin: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    return await admin.post("/api/v1/services", content=body, headers=JSON | headers)


# --- Paths and methods ------------------------------------------------------------------------
@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v1/nothing", "/api/v2/services", "/api/v1/services/", "/%00", "/%FF"]
)
async def test_an_unknown_path_is_a_problem(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    body = problem(answer, 404, "not_found")
    assert set(body) == {
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "code",
        "request_id",
        "errors",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/v1/services", "GET, HEAD, POST"),
        (
            "PUT",
            "/api/v1/services/0199f0c0-0000-7000-8000-000000000000",
            "DELETE, GET, HEAD, PATCH",
        ),
        ("GET", "/api/v1/auth/login", "POST"),
        ("POST", "/health", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_there_hears_those_that_are(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await client.request(method, path)
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    "host",
    [
        b"[::1",
        b"",
        b"\xff\xfe",
        b"a b",
        b"localhost:port",
        b"evil.example/a?b#c",
        b"\r\n",
        b"x" * 9000,
        b"a@b",
    ],
)
@pytest.mark.parametrize("path", ["/", "/docs", "/api/v1/services/", "/nothing", "/health"])
async def test_a_malformed_host_is_refused(
    client: httpx.AsyncClient, host: bytes, path: str
) -> None:
    answer = await client.get(path, headers=[(b"Host", host)])
    problem(answer, 400, "invalid_host")
    assert "location" not in answer.headers


# --- Bodies -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"name": ', id="cut off"),
        pytest.param(b'{"name": "x",}', id="trailing comma"),
        pytest.param(b'{"name": "x", "durations_minutes": [NaN]}', id="NaN"),
        pytest.param(b'{"name": "x", "durations_minutes": [Infinity]}', id="Infinity"),
        pytest.param(b'{"name": "x", "durations_minutes": [-Infinity]}', id="-Infinity"),
        pytest.param(rb'{"name": "x\ud800", "durations_minutes": [30]}', id="lone surrogate"),
        pytest.param(b'{"name": "x\xed\xa0\x80", "durations_minutes": [30]}', id="raw surrogate"),
        pytest.param(rb'{"name": "x\u0000", "durations_minutes": [30]}', id="NUL"),
        pytest.param(b'{"name": "x\0", "durations_minutes": [30]}', id="raw NUL"),
        pytest.param(rb'{"name": "x\\\u0000", "durations_minutes": [30]}', id="backslash, NUL"),
        pytest.param(rb'{"\u0000": 1}', id="NUL in a name"),
        pytest.param(b'{"name": "\xff"}', id="not UTF-8"),
        pytest.param(json.dumps(SERVICE).encode("utf-16"), id="UTF-16"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="bottomless list"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="bottomless object"),
        pytest.param(
            b'{"name": "x", "durations_minutes": [' + b"9" * 5000 + b"]}", id="long number"
        ),
        # What these are made of would be made before any of it is found wrong.
        pytest.param(json.dumps({"name": [[]] * 40_000}).encode(), id="many lists"),
        pytest.param(json.dumps({"name": [{}] * 40_000}).encode(), id="many objects"),
        pytest.param(json.dumps(dict.fromkeys(map(str, range(10_000)))).encode(), id="many names"),
        # Longer than any test may take, if each quotation mark were the begin of another search.
        pytest.param(b'{"a":"' + rb":\"" * 300_000 + b"\\", id="long text, cut off"),
    ],
)
async def test_what_is_not_storable_json_is_refused_as_a_whole(
    admin: httpx.AsyncClient, body: bytes
) -> None:
    assert pointers(problem(await send(admin, body), 422, "validation_failed")) == ["#"]


async def test_nesting_near_the_interpreters_limit_is_no_crash(admin: httpx.AsyncClient) -> None:
    for depth in range(800, 1000):
        body = rb'{"\u0041":' + b"[" * depth + b"]" * depth + b"}"
        problem(await send(admin, body), 422, "validation_failed")


async def test_text_that_only_looks_like_an_escaped_nul_is_text(admin: httpx.AsyncClient) -> None:
    # The other field is reached, so this one has passed.
    answer = await send(admin, rb'{"name": "\\u0000", "durations_minutes": []}')
    assert pointers(problem(answer, 422, "validation_failed")) == ["#/durations_minutes"]


async def test_a_long_text_may_hold_what_would_be_too_much_outside_of_it(
    admin: httpx.AsyncClient,
) -> None:
    text = '[{:"\\' * 20_000
    answer = await send(admin, json.dumps({"name": text, "durations_minutes": [30]}).encode())
    assert pointers(problem(answer, 422, "validation_failed")) == ["#/name"]


async def test_a_form_is_as_long_as_what_it_asks_for(client: httpx.AsyncClient) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    asked = {"headers": form, "url": "/api/v1/auth/token"}
    fits = await client.post(content=b"&" * 65_536, **asked)
    problem(fits, 422, "validation_failed")
    too_long = await client.post(content=b"&" * 65_537, **asked)
    problem(too_long, 413, "content_too_large")


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"1", b"null", b"true", b""])
async def test_a_body_that_is_no_object_is_refused(admin: httpx.AsyncClient, body: bytes) -> None:
    assert pointers(problem(await send(admin, body), 422, "validation_failed")) == ["#"]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "", "x"],
)
async def test_a_body_that_is_not_declared_as_json_is_415(
    admin: httpx.AsyncClient, content_type: str
) -> None:
    answer = await send(admin, json.dumps(SERVICE).encode(), **{"Content-Type": content_type})
    problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"]
)
async def test_json_may_be_declared_in_several_ways(
    admin: httpx.AsyncClient, content_type: str
) -> None:
    answer = await send(admin, b'{"name": "Cut"}', **{"Content-Type": content_type})
    assert pointers(problem(answer, 422, "validation_failed")) == ["#/durations_minutes"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"durations_minutes": ["x"]}, "#/durations_minutes/0"),
        ({"durations_minutes": [30, 2**63]}, "#/durations_minutes/1"),
        ({"durations_minutes": [30, -(2**63) - 1]}, "#/durations_minutes/1"),
        ({"durations_minutes": [1.5]}, "#/durations_minutes/0"),
        ({"durations_minutes": []}, "#/durations_minutes"),
        ({"durations_minutes": None}, "#/durations_minutes"),
        ({"price": {"amount": 2**63, "currency": "EUR"}}, "#/price/amount"),
        ({"price": {"amount": 1, "currency": "eur"}}, "#/price/currency"),
        ({"buffer_after_minutes": 2**31}, "#/buffer_after_minutes"),
        ({"name": ""}, "#/name"),
        ({"name": "a\tb"}, "#/name"),
        ({"name": 7}, "#/name"),
        ({"is_superuser": True}, "#/is_superuser"),
        ({"price": {"amount": 1, "currency": "EUR", "x": 1}}, "#/price/x"),
        ({"a/b~c": 1}, "#/a~1b~0c"),
    ],
)
async def test_a_pointer_says_which_part_is_wrong(
    admin: httpx.AsyncClient, change: dict[str, Any], pointer: str
) -> None:
    answer = await admin.post("/api/v1/services", json=SERVICE | change)
    assert pointers(problem(answer, 422, "validation_failed")) == [pointer]


async def test_a_number_beyond_all_floats_is_refused(admin: httpx.AsyncClient) -> None:
    answer = await send(admin, b'{"name": "x", "durations_minutes": [1e999]}')
    assert pointers(problem(answer, 422, "validation_failed")) == ["#/durations_minutes/0"]


async def test_a_body_that_is_wrong_everywhere_gets_a_short_answer(
    admin: httpx.AsyncClient,
) -> None:
    answer = await admin.post(
        "/api/v1/services", json=SERVICE | {"durations_minutes": ["x"] * 10_000}
    )
    assert 1 <= len(problem(answer, 422, "validation_failed")["errors"]) <= 50


# --- Paths' and queries' parameters ------------------------------------------------------------
@pytest.mark.parametrize("value", ["x", "1", "%00", "0199f0c0-0000-7000-8000-00000000000g"])
async def test_an_id_that_is_none_is_refused(admin: httpx.AsyncClient, value: str) -> None:
    answer = await admin.get(f"/api/v1/admin/users/{value}")
    assert pointers(problem(answer, 422, "validation_failed")) == ["#/user_id"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("colour=red", "#/colour"),
        ("Limit=1", "#/Limit"),
        ("sort=name%00", "#/sort"),
        ("is_active=perhaps", "#/is_active"),
        ("limit=many", "#/limit"),
        (f"limit={2**63}", "#/limit"),
    ],
)
async def test_a_query_that_is_not_understood_is_refused(
    admin: httpx.AsyncClient, query: str, pointer: str
) -> None:
    answer = await admin.get(f"/api/v1/admin/users?{query}")
    assert pointers(problem(answer, 422, "validation_failed")) == [pointer]


async def test_a_pointer_to_a_parameter_holds_no_inner_names(client: httpx.AsyncClient) -> None:
    params = {"service_id": "0199f0c0-0000-7000-8000-000000000000", "start": "x", "end": "y"}
    answer = await client.get("/api/v1/availability", params=params | {"provider_id": "z"})
    body = problem(answer, 422, "validation_failed")
    assert set(pointers(body)) == {"#/start", "#/end", "#/provider_id/0"}


@pytest.mark.parametrize("path", ["/health", "/", "/api/v1/auth/me", "/api/v1/bookings"])
async def test_no_path_takes_unknown_parameters(client: httpx.AsyncClient, path: str) -> None:
    problem(await client.get(path, params={"colour": "red"}), 422, "validation_failed")


# --- Size -------------------------------------------------------------------------------------
async def test_a_chunked_body_is_cut_off_at_the_limit(admin: httpx.AsyncClient) -> None:
    sent = 0

    async def thirty_megabytes() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(30):
            sent += 1
            yield b"x" * 1_000_000

    answer = await admin.post("/api/v1/services", content=thirty_megabytes(), headers=JSON)
    problem(answer, 413, "content_too_large")
    assert sent < 5


@pytest.mark.parametrize("path", ["/api/v1/services", "/api/v1/auth/token", "/health", "/nothing"])
async def test_a_body_declared_too_large_is_refused_unread(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.post(path, content=b"x" * 1_048_577, headers=JSON | {"Origin": FRONTEND})
    problem(answer, 413, "content_too_large")
    assert answer.headers["access-control-allow-origin"] == FRONTEND


# --- The unforeseen ---------------------------------------------------------------------------
@pytest.fixture
def crash(app: FastAPI) -> str:
    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("the password is swordfish")

    return "/crash"


async def test_a_crash_tells_nothing_and_keeps_its_headers(
    client: httpx.AsyncClient, crash: str
) -> None:
    answer = await client.get(crash, headers={"Origin": FRONTEND, "X-Request-ID": "mine-1"})
    body = problem(answer, 500, "internal_error")
    assert body["request_id"] == "mine-1"
    assert "swordfish" not in answer.text
    assert "RuntimeError" not in answer.text
    assert answer.headers["access-control-allow-origin"] == FRONTEND
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


# --- CORS -------------------------------------------------------------------------------------
REFUSED = {
    401: ("GET", "/api/v1/auth/me"),
    404: ("GET", "/nothing"),
    405: ("DELETE", "/health"),
    415: ("POST", "/api/v1/auth/login"),
    422: ("GET", "/health?colour=red"),
    500: ("GET", "/crash"),
}


@pytest.mark.parametrize("status", REFUSED)
async def test_the_front_end_may_read_every_refusal(
    client: httpx.AsyncClient, crash: str, status: int
) -> None:
    method, path = REFUSED[status]
    answer = await client.request(
        method, path, headers={"Origin": FRONTEND}, content=b"x" if method == "POST" else None
    )
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == FRONTEND
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://localhost:5173",
        "http://localhost",
        "http://localhost:51730",
        "http://localhost:5173.evil.example",
        "http://evil.example/http://localhost:5173",
        "http://localhost:5173@evil.example",
        "http://localhost:5173/",
        "",
    ],
)
@pytest.mark.parametrize("status", [401, 422, 500])
async def test_no_other_origin_may_read_anything(
    client: httpx.AsyncClient, crash: str, origin: str, status: int
) -> None:
    method, path = REFUSED[status]
    answer = await client.request(method, path, headers={"Origin": origin})
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


async def test_the_front_end_may_send_all_that_the_contract_names(
    client: httpx.AsyncClient,
) -> None:
    asked = {
        "Origin": FRONTEND,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization, content-type, if-match, idempotency-key",
    }
    answer = await client.options("/api/v1/services", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == FRONTEND
    assert "PATCH" in answer.headers["access-control-allow-methods"]


# --- Secrets ----------------------------------------------------------------------------------
SECRET = "swordfish-swordfish"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("signup", {"password": SECRET}),
        ("signup", {"name": "Ada", "email": "ada@example.com", "password": SECRET, "role": 1}),
        ("signup", {"name": "Ada", "email": SECRET, "password": [SECRET]}),
        ("signup", {"name": "Ada", "email": "ada@example.com", "password": SECRET * 500}),
        ("signup", {"name": "Ada", "email": "ada@example.com", "password": {"a": SECRET}}),
        ("signup", {"name": SECRET, "email": "ada@example.com", "password": SECRET}),
        ("login", {"email": "nobody", "password": SECRET}),
        ("login", {"emial": "ada@example.com", "password": SECRET}),
    ],
)
async def test_a_refusal_never_repeats_a_password(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    answer = await client.post(f"/api/v1/auth/{path}", json=body)
    problem(answer, 422, "validation_failed")
    assert SECRET not in answer.text


async def test_a_broken_body_with_a_password_is_not_repeated(client: httpx.AsyncClient) -> None:
    body = f'{{"password": "{SECRET}", "email": '.encode()
    answer = await client.post("/api/v1/auth/login", content=body, headers=JSON)
    problem(answer, 422, "validation_failed")
    assert SECRET not in answer.text


# --- Request ids ------------------------------------------------------------------------------
async def test_every_answer_has_a_request_id_of_its_own(client: httpx.AsyncClient) -> None:
    ids = {(await client.get("/health")).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("incoming", ["", "a b", "a" * 129, "<script>", "a\tb", "é"])
async def test_an_ill_formed_request_id_is_replaced(
    client: httpx.AsyncClient, incoming: str
) -> None:
    answer = await client.get("/nothing", headers=[(b"X-Request-ID", incoming.encode())])
    problem(answer, 404, "not_found")
    assert incoming not in {answer.headers["x-request-id"], answer.json()["request_id"]}
