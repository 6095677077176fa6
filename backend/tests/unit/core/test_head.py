import pytest
from fastapi import FastAPI, Request
from starlette.types import Receive, Scope, Send

from app.core.middleware.head import HeadMiddleware

from .recorder import call, client, http_scope

app = FastAPI()
app.add_middleware(HeadMiddleware)
inner: list[str] = []


@app.get("/things/{name}")
async def thing(request: Request, name: str) -> dict[str, str]:
    inner.append(request.method)
    request.state.user_id = name
    return {"name": name}


@app.post("/things")
async def add() -> None: ...


async def test_head_is_answered_like_get_without_the_body() -> None:
    async with client(app) as http:
        get, head = await http.get("/things/x"), await http.head("/things/x")
    assert (head.status_code, head.headers) == (200, get.headers)
    assert int(head.headers["content-length"]) == len(get.content) > 0
    assert head.content == b""
    assert inner[-2:] == ["GET", "GET"]


@pytest.mark.parametrize(("path", "status"), [("/things", 405), ("/nothing", 404)])
async def test_where_get_is_refused_head_is_too(path: str, status: int) -> None:
    async with client(app) as http:
        assert (await http.head(path)).status_code == status


async def test_the_server_and_the_log_see_head_and_what_became_of_it() -> None:
    methods = []

    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: object) -> None:
            methods.append(scope["method"])
            await send(message)  # type: ignore[arg-type]

        await HeadMiddleware(thing_app)(scope, receive, watched)

    async def thing_app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = "/things/{name}"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"12", "more_body": True})
        await send({"type": "http.response.body", "body": b"3"})

    scope = http_scope(method="HEAD")
    _, *parts = await call(layer, scope)
    assert [(part["body"], part.get("more_body", False)) for part in parts] == [
        (b"", True),
        (b"", False),
    ]
    assert methods == ["HEAD"] * 3
    assert (scope["method"], scope["route"]) == ("HEAD", "/things/{name}")
