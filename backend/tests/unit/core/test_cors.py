from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from app.core.middleware.answer_headers import AnswerHeaders
from app.core.middleware.cors import CorsPolicy

from .recorder import call, edge, http_scope

SPA = b"https://app.example.com"
OTHERS = [
    b"null",
    b"",
    b"http://app.example.com",
    b"https://app.example.com:444",
    b"https://app.example.com.evil.test",
    b"https://evil.test/https://app.example.com",
    b"https://app.example.com@evil.test",
    b"https://app.example.com/",
    b"HTTPS://app.example.com",
    b"https://example.com",
    b"*",
]


def policy(*origins: str, credentials: bool = False) -> CorsPolicy:
    return CorsPolicy(
        origins or (SPA.decode(),),
        methods=["GET", "PATCH"],
        request_headers=["Authorization", "If-Match"],
        exposed_headers=["ETag", "Location"],
        credentials=credentials,
    )


def test_an_origin_on_the_list_may_read() -> None:
    assert policy().answer_headers(SPA) == (
        (b"access-control-allow-origin", SPA),
        (b"access-control-expose-headers", b"ETag, Location"),
        (b"vary", b"Origin"),
    )


@pytest.mark.parametrize("origin", [*OTHERS, None])
def test_no_other_may_and_caches_know_why(origin: bytes | None) -> None:
    assert policy().answer_headers(origin) == ((b"vary", b"Origin"),)
    assert not policy().admits(origin)


@pytest.mark.parametrize("origin", [SPA, b"null", None])
def test_a_star_admits_all_and_names_none(origin: bytes | None) -> None:
    assert policy("*").answer_headers(origin) == (
        (b"access-control-allow-origin", b"*"),
        (b"access-control-expose-headers", b"ETag, Location"),
    )


def test_credentials_go_with_names_only() -> None:
    allowed = (b"access-control-allow-credentials", b"true")
    assert allowed in policy(credentials=True).answer_headers(SPA)
    assert allowed not in policy().answer_headers(SPA)
    with pytest.raises(ValueError, match="named"):
        policy("*", credentials=True)


async def ask(
    *headers: tuple[bytes, bytes], by: CorsPolicy | None = None, method: str = "OPTIONS"
) -> tuple[int, list[Any]]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 405, "headers": []})

    by = by or policy()
    layer = edge(app, AnswerHeaders(security=(), cors=by), by.answer_preflight)
    start, *_ = await call(layer, http_scope(method=method, headers=list(headers)))
    return start["status"], [field for field in start["headers"] if field[0] != b"x-request-id"]


WANTED = (b"access-control-request-method", b"PATCH")


async def test_a_browser_that_asks_hears_what_may_be_done() -> None:
    status, headers = await ask((b"origin", SPA), WANTED)
    assert status == 204
    assert sorted(headers) == [
        (b"access-control-allow-headers", b"Authorization, If-Match"),
        (b"access-control-allow-methods", b"GET, PATCH"),
        (b"access-control-allow-origin", SPA),
        (b"access-control-expose-headers", b"ETag, Location"),
        (b"access-control-max-age", b"600"),
        (b"vary", b"Origin"),
    ]


@pytest.mark.parametrize("origin", OTHERS)
async def test_for_a_stranger_nothing_may_be_done(origin: bytes) -> None:
    assert await ask((b"origin", origin), WANTED) == (204, [(b"vary", b"Origin")])


async def test_two_origins_are_none() -> None:
    status, headers = await ask((b"origin", SPA), (b"origin", b"https://evil.test"), WANTED)
    assert (status, headers) == (405, [(b"vary", b"Origin")])


async def test_other_requests_are_none_of_its_business() -> None:
    assert (await ask((b"origin", SPA)))[0] == 405
    assert (await ask(WANTED))[0] == 405
    assert (await ask((b"origin", SPA), WANTED, method="GET"))[0] == 405
