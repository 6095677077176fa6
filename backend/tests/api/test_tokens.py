"""Tokens that must not pass. There is no database: one that got as far would be a 503."""

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.core.ids import new_id
from app.core.middleware import errors
from app.main import create_app
from tests.business import Business, Hands, ok, problem, serving
from tests.conftest import make_settings
from tests.unit.core.recorder import record_log

KEY = b"0123456789abcdef0123456789abcdef"
HEADER = {"alg": "HS256", "typ": "JWT"}
NOW = int(Hands().now.timestamp())
CLAIMS = {
    "iss": "oneslot",
    "aud": "oneslot:local",
    "sub": str(new_id()),
    "jti": new_id().hex,
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 900,
    "kind": "access",
    "sid": str(new_id()),
}


@pytest.fixture
def nowhere(tmp_path: Path, clock: Hands) -> FastAPI:
    return create_app(make_settings(POSTGRES_SERVER=str(tmp_path), LOG_LEVEL="INFO"), clock=clock)


@pytest.fixture
async def client(nowhere: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(nowhere) as client:
        yield client


def encode(part: object) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(
    payload: object = CLAIMS,
    header: object = HEADER,
    key: bytes = KEY,
    digest: Callable[..., Any] = hashlib.sha256,
) -> str:
    signed = f"{encode(header)}.{encode(payload)}"
    return f"{signed}.{encode(hmac.digest(key, signed.encode(), digest))}"


def unsigned(algorithm: str) -> str:
    return f"{encode(HEADER | {'alg': algorithm})}.{encode(CLAIMS)}."


def without(name: str) -> str:
    return token({n: value for n, value in CLAIMS.items() if n != name})


def nested(depth: int) -> str:
    return token(header=b'{"alg":"HS256","x":' + b"[" * depth + b"]" * depth + b"}")


async def send(client: httpx.AsyncClient, value: str | bytes) -> httpx.Response:
    raw = value if isinstance(value, bytes) else value.encode()
    return await client.get("/api/v1/auth/me", headers=[(b"Authorization", b"Bearer " + raw)])


INVALID: dict[str, str | bytes] = {
    **{f"alg {name}": unsigned(name) for name in ("none", "None", "NONE", "nOnE", "")},
    "alg none, signed": token(header=HEADER | {"alg": "none"}),
    "alg HS512": token(header=HEADER | {"alg": "HS512"}, digest=hashlib.sha512),
    "alg HS384": token(header=HEADER | {"alg": "HS384"}, digest=hashlib.sha384),
    "alg RS256 with our key": token(header=HEADER | {"alg": "RS256"}),
    "alg ES256 with our key": token(header=HEADER | {"alg": "ES256"}),
    "alg in small letters": token(header=HEADER | {"alg": "hs256"}),
    "alg a list": token(header=HEADER | {"alg": ["HS256"]}),
    "alg null": token(header=HEADER | {"alg": None}),
    "no alg": token(header={"typ": "JWT"}),
    "empty key": token(key=b""),
    "another key": token(key=b"x" * 32),
    "its own key": token(header=HEADER | {"jwk": {"kty": "oct", "k": encode(b"x")}}, key=b"x"),
    "the signature of another": token().rpartition(".")[0] + "." + token({}).rpartition(".")[2],
    "other claims under its signature": ".".join(
        [encode(HEADER), encode(CLAIMS | {"sid": str(new_id())}), token().rpartition(".")[2]]
    ),
    "no signature": token().rpartition(".")[0],
    "empty signature": token().rpartition(".")[0] + ".",
    "a fourth part": token() + ".x",
    **{f"no {name}": without(name) for name in CLAIMS},
    "aud of production": token(CLAIMS | {"aud": "oneslot:production"}),
    "aud without environment": token(CLAIMS | {"aud": "oneslot"}),
    "aud null": token(CLAIMS | {"aud": None}),
    "iss of another": token(CLAIMS | {"iss": "https://evil.example"}),
    "iss null": token(CLAIMS | {"iss": None}),
    "a refresh token": token(CLAIMS | {"kind": "refresh"}),
    "kind null": token(CLAIMS | {"kind": None}),
    "not valid yet": token(CLAIMS | {"nbf": NOW + 60}),
    "issued in the future": token(CLAIMS | {"iat": NOW + 60}),
    **{
        f"{name} {value!r}": token(CLAIMS | {name: value})
        for name in ("exp", "nbf", "iat", "sid")
        for value in ("9999999999", 9999999999.5, [NOW], True, None, {})
    },
    "exp Infinity": token(json.dumps(CLAIMS).replace(str(NOW + 900), "Infinity").encode()),
    "sub no id": token(CLAIMS | {"sub": "admin"}),
    "sub empty": token(CLAIMS | {"sub": ""}),
    "sub null": token(CLAIMS | {"sub": None}),
    "sub a number": token(CLAIMS | {"sub": 1}),
    "sub a list": token(CLAIMS | {"sub": [CLAIMS["sub"]]}),
    "sub SQL": token(CLAIMS | {"sub": "' OR 1=1 --"}),
    "a header 3 KB deep": nested(1500),
    "a header 1 KB deep": nested(500).rpartition(".")[0] + ".",
    "claims 1 KB deep": token(b'{"exp":' + b"[" * 400 + b"]" * 400 + b"}"),
    "10 KB": token(CLAIMS | {"padding": "x" * 7500}),
    "10 KB of nothing": "x" * 10_000,
    "10 KB of dots": "." * 10_000,
    "a header that is a list": token(header=[HEADER]),
    "a header that is no JSON": token(header=b"{"),
    "claims that are a list": token([CLAIMS]),
    "claims that are text": token("x"),
    "claims that are null": token(None),
    "claims that are no JSON": token(b"\xff\xfe"),
    "NUL": b"\0",
    "NUL inside": token().encode().replace(b".", b"\0", 1),
    "not ASCII": "é.é.é",
    "not UTF-8": b"\xff.\xff.\xff",
    "empty": "",
    "a dot": ".",
    "two dots": "..",
    "three dots": "...",
    "no base 64": "!.!.!",
    "an API key": "sk_live_0123456789",
    "two tokens": f"{token()} {token()}",
    "two tokens and a comma": f"{token()}, {token()}",
    "the word again": f"Bearer {token()}",
}


@pytest.mark.parametrize("value", INVALID.values(), ids=INVALID)
async def test_a_forged_or_misused_token_is_refused(
    client: httpx.AsyncClient, value: str | bytes
) -> None:
    answer = await send(client, value)
    problem(answer, 401, "invalid_token")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_forger_of_this_file_could_make_a_good_one(
    settings: object, app: FastAPI, business: Business
) -> None:
    """Else all the others would be refused for the forger's mistake."""
    async with serving(app) as client:
        admin = await Business(client).admin()
        (session,) = ok(await admin.get("/auth/sessions"))["items"]
        own = {"sub": admin.user["id"], "sid": session["id"]}
        assert ok(await send(client, token(CLAIMS | own))) == admin.user
        for other in ("sub", "sid"):
            forged = token(CLAIMS | own | {other: str(new_id())})
            problem(await send(client, forged), 401, "invalid_token")


@pytest.mark.parametrize("age", [0, 1, 10**9])
async def test_one_that_has_run_out_says_so(client: httpx.AsyncClient, age: int) -> None:
    times = {"exp": NOW - age, "nbf": NOW - age - 900, "iat": NOW - age - 900}
    answer = await send(client, token(CLAIMS | times))
    problem(answer, 401, "token_expired")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_real_one_runs_out_after_a_quarter_of_an_hour(app: FastAPI, clock: Hands) -> None:
    async with serving(app) as client:
        admin = await Business(client).admin()
        clock.now += timedelta(minutes=15) - timedelta(seconds=1)
        ok(await admin.get("/auth/me"))
        clock.advance(seconds=1)
        problem(await admin.get("/auth/me"), 401, "token_expired")


@pytest.mark.parametrize(
    "value", [b"Basic YTpi", b"Token x", b"bearerx", b"Bear er", b"", b" ", token().encode()]
)
async def test_another_scheme_is_no_authentication(client: httpx.AsyncClient, value: bytes) -> None:
    answer = await client.get("/api/v1/auth/me", headers=[(b"Authorization", value)])
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("other", [b"Bearer x", b"Basic YTpi", b""])
@pytest.mark.parametrize("path", ["/auth/me", "/services"])
async def test_two_authorizations_are_one_too_many(
    client: httpx.AsyncClient, other: bytes, path: str
) -> None:
    good = b"Bearer " + token().encode()
    for pair in ((good, other), (other, good)):
        headers = [(b"Authorization", value) for value in pair]
        problem(await client.get(f"/api/v1{path}", headers=headers), 401, "invalid_token")


@pytest.mark.parametrize(
    "path", ["/services", "/providers", "/services/0199f0c0-0000-7000-8000-000000000000"]
)
async def test_a_bad_token_is_refused_even_where_none_is_needed(
    client: httpx.AsyncClient, path: str
) -> None:
    headers = {"Authorization": f"Bearer {token(key=b'x')}"}
    problem(await client.get(f"/api/v1{path}", headers=headers), 401, "invalid_token")


async def test_no_token_is_ever_logged(
    nowhere: FastAPI,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def crash() -> None:
        raise RuntimeError

    nowhere.add_api_route("/crash", crash)
    caplog.set_level(logging.DEBUG)
    lines = record_log(monkeypatch, errors)
    for value in (token(), token(key=b"x"), token(CLAIMS | {"exp": NOW})):
        for path in ("/api/v1/auth/me", "/api/v1/nothing", "/crash"):
            await client.get(path, headers={"Authorization": f"Bearer {value}"})
        output = capsys.readouterr()
        written = repr(lines) + caplog.text + output.out + output.err
        assert "/api/v1/auth/me" in written
        assert not [part for part in value.split(".") if part in written]
