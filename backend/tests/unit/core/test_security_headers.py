import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from app.core.middleware.answer_headers import AnswerHeaders
from app.core.middleware.cors import CorsPolicy
from app.core.middleware.security_headers import security_headers

from .recorder import client, edge

ALWAYS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
shared_answer = JSONResponse({})


async def plain(_: Request) -> Response:
    return shared_answer


async def opinionated(_: Request) -> Response:
    own = {"Content-Security-Policy": "default-src 'self'", "Cache-Control": "max-age=60"}
    return JSONResponse({}, headers=own)


def guarded(*, hsts: bool) -> ASGIApp:
    cors = CorsPolicy([], methods=[], request_headers=[], exposed_headers=[])
    return edge(app, AnswerHeaders(security=security_headers(hsts=hsts), cors=cors))


app = Starlette(routes=[Route("/plain", plain), Route("/opinionated", opinionated)])


@pytest.mark.parametrize("path", ["/plain", "/missing"])
async def test_every_answer_carries_them_once(path: str) -> None:
    async with client(guarded(hsts=True)) as http:
        for _ in range(2):
            answer = await http.get(path)
            for name, value in ALWAYS.items():
                assert answer.headers.get_list(name) == [value]
            assert "geolocation=()" in answer.headers["permissions-policy"]


@pytest.mark.parametrize("hsts", [True, False])
async def test_https_is_demanded_only_where_it_exists(*, hsts: bool) -> None:
    async with client(guarded(hsts=hsts)) as http:
        answer = await http.get("/plain")
    assert ("strict-transport-security" in answer.headers) is hsts


async def test_what_the_answer_says_itself_stands() -> None:
    async with client(guarded(hsts=True)) as http:
        answer = await http.get("/opinionated")
    assert answer.headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert answer.headers.get_list("cache-control") == ["max-age=60"]
    assert answer.headers["x-frame-options"] == "DENY"
