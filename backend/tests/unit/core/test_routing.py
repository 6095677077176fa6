"""Which routes a request is tried on."""

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.routing import Match
from starlette.types import Scope

from app.core.routing import ApiRoute, ApiRouter


class Tried(ApiRoute):
    """A route that knows what it was tried on."""

    paths: list[str]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        self.paths.append(scope["path"])
        return super().matches(scope)


def room(prefix: str, path: str) -> tuple[ApiRouter, list[str]]:
    paths: list[str] = []
    router = ApiRouter(prefix, route_class=type("Noted", (Tried,), {"paths": paths}))

    @router.get(path)
    async def endpoint() -> str:
        return prefix

    return router, paths


@pytest.mark.parametrize("prefix", ["/api/v1", ""])
async def test_a_room_is_tried_only_where_the_path_names_it(prefix: str) -> None:
    services, tried_on_services = room("/services", "")
    hours, tried_on_hours = room("/providers/{provider_id}/hours", "/{day}")
    everywhere, tried_on_everywhere = room("", "/health")
    app, api = FastAPI(), APIRouter()
    for router in (services, hours, everywhere):
        api.include_router(router, prefix=prefix)
    app.router.routes.extend(api.routes)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for path, name in (
            ("/services", "/services"),
            ("/%73ervices", "/services"),
            ("/providers/1/hours/monday", "/providers/{provider_id}/hours"),
            ("/health", ""),
        ):
            answer = await client.get(prefix + path)
            assert (answer.status_code, answer.json()) == (200, name)
        assert (await client.post(f"{prefix}/services")).status_code == 405
        assert (await client.get(f"{prefix}/else")).status_code == 404
    assert set(tried_on_services) == {f"{prefix}/services"}
    assert set(tried_on_hours) == {f"{prefix}/providers/1/hours/monday"}
    assert {f"{prefix}/health", f"{prefix}/else"} <= set(tried_on_everywhere)
