"""`/docs` (Swagger UI) and `/redoc`, served whole by the app: no CDN, fonts or logos from outside.

Each page has its own Content-Security-Policy, as tight as the two programs bear, with a nonce
that only this answer's two scripts carry.
"""

import html
import json
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from secrets import token_urlsafe
from typing import Any, Final, NamedTuple

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from app.config import Settings

_ASSETS: Final = "/docs/assets"

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{assets}/{icon}">
<link rel="stylesheet" href="{assets}/{style}">
</head>
<body>
<div id="ui"></div>
<script nonce="{nonce}" src="{assets}/{script}"></script>
<script nonce="{nonce}">{start}</script>
</body>
</html>
"""

# Neither program needs inline styles; Markdown in a description would: write no aligned tables.
_POLICY: Final = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'{styles}; "
    "img-src 'self' data:; connect-src 'self'; worker-src {workers}; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)

# What Redoc's two <style> elements hold when they are added: nothing (styled-components fills its
# own through the CSSOM) and the rules of its scrollbar.
_REDOC_STYLES: Final = (
    " 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    " 'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"
)


class _Asset(NamedTuple):
    name: str  # with the hash of its content: a browser may keep it for good
    media_type: str
    body: bytes


def add_docs(app: FastAPI, settings: Settings) -> None:
    """Add the pages where the settings allow them; elsewhere they do not exist.

    The app must be made with `docs_url=None` and `redoc_url=None`, and with an `openapi_url` only
    where `settings.serves_docs`.
    """
    if not settings.serves_docs:
        return

    @app.get("/docs", include_in_schema=False)
    async def swagger_ui(request: Request) -> HTMLResponse:
        options = {
            "url": f"{_root(request)}{app.openapi_url}",
            "dom_id": "#ui",
            "deepLinking": True,
            "displayRequestDuration": True,
            "filter": True,
            # Else the document is sent to swagger.io for a badge.
            "validatorUrl": None,
            # Else the token stays in localStorage, for the next person at this browser and for
            # any script that ever runs on this origin.
            "persistAuthorization": False,
        }
        return _page(
            request,
            title=f"{settings.PROJECT_NAME} - Swagger UI",
            script="swagger.js",
            style="swagger.css",
            start=f"SwaggerUIBundle({_script_json(options)})",
        )

    @app.get("/redoc", include_in_schema=False)
    async def redoc(request: Request) -> HTMLResponse:
        url = _script_json(f"{_root(request)}{app.openapi_url}")
        return _page(
            request,
            title=f"{settings.PROJECT_NAME} - Redoc",
            script="redoc.js",
            style="redoc.css",
            start=f"Redoc.init({url}, {{}}, document.getElementById('ui'))",
            styles=_REDOC_STYLES,
            workers="blob:",  # its search
        )

    @app.get(f"{_ASSETS}/{{name}}", include_in_schema=False)
    async def docs_asset(request: Request, name: str) -> Response:
        asset = next((a for a in _assets().values() if a.name == name), None)
        if asset is None:
            raise HTTPException(404)
        etag = f'"{name}"'
        headers = {"cache-control": "public, max-age=31536000, immutable", "etag": etag}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(asset.body, media_type=asset.media_type, headers=headers)


def _page(
    request: Request,
    *,
    title: str,
    script: str,
    style: str,
    start: str,
    styles: str = "",
    workers: str = "'none'",
) -> HTMLResponse:
    assets, nonce = _assets(), token_urlsafe(16)
    page = _PAGE.format(
        title=html.escape(title),
        assets=html.escape(_root(request) + _ASSETS),
        icon=assets["favicon.png"].name,
        style=assets[style].name,
        script=assets[script].name,
        start=start,
        nonce=nonce,
    )
    policy = _POLICY.format(nonce=nonce, styles=styles, workers=workers)
    return HTMLResponse(page, headers={"content-security-policy": policy})


def _root(request: Request) -> str:
    """The path under which a proxy serves the app, if it says so."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def _script_json(value: Any) -> str:  # noqa: ANN401 - whatever JSON holds
    """JSON that cannot end the <script> it stands in."""
    return json.dumps(value).replace("<", "\\u003c")


@cache  # read on the first visit, not at every start of an app that nobody may ask
def _assets() -> dict[str, _Asset]:
    swagger = files("fastapi_swagger") / "resources"
    redoc = files("fastapi_offline") / "static" / "redoc.standalone.js"
    # Redoc shows its maker's logo from its maker's server. The words next to it stay.
    script = redoc.read_bytes().replace(
        b"https://cdn.redoc.ly/redoc/logo-mini.svg",
        b"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>",
    )
    contents = {
        "favicon.png": ("image/png", (swagger / "favicon-32x32.png").read_bytes()),
        "swagger.css": ("text/css", (swagger / "swagger-ui.css").read_bytes()),
        "swagger.js": ("text/javascript", (swagger / "swagger-ui-bundle.js").read_bytes()),
        "redoc.css": ("text/css", b"body { margin: 0 }"),
        "redoc.js": ("text/javascript", script),
    }
    return {
        name: _Asset(f"{blake2b(body, digest_size=8).hexdigest()}.{name}", media_type, body)
        for name, (media_type, body) in contents.items()
    }
