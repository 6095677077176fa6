"""The docs pages in a real browser: whole, without a complaint and without the internet."""

import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from app.config import Settings
from app.main import create_app
from tests.business import ADMIN_EMAIL, ADMIN_PASSWORD
from tests.conftest import make_settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]
# What CSP stops is not always in the console, so the page reports it itself.
REPORT_VIOLATIONS = """
document.addEventListener('securitypolicyviolation', (e) =>
    console.error(`CSP ${e.effectiveDirective} ${e.blockedURI}`));
"""


@pytest.fixture
def docs_base_url(settings: Settings) -> Iterator[str]:
    """Where the pages under test are served."""
    with served(create_app(settings)) as url:
        yield url


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert thread.is_alive(), "uvicorn did not start"
            assert time.monotonic() < deadline, "uvicorn did not start in time"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    async with playwright.async_playwright() as running:
        chromium = await running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        await chromium.close()


@dataclass
class Visit:
    """A page, and everything it did that it should not have done."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    async def assert_quiet(self) -> None:
        await self.page.wait_for_timeout(500)
        assert self.strangers == [], "the page called other servers"
        assert self.complaints == []


@pytest.fixture
async def visit(browser: Any, docs_base_url: str) -> AsyncIterator[Visit]:
    context = await browser.new_context(
        base_url=docs_base_url, viewport={"width": 1300, "height": 1000}
    )
    visit = Visit(await context.new_page())

    async def only_ours(route: Any) -> None:
        url = route.request.url
        if url.startswith((f"{docs_base_url}/", f"blob:{docs_base_url}/", "data:")):
            await route.continue_()
        else:
            visit.strangers.append(url)
            await route.abort()

    def on_console(message: Any) -> None:
        if message.type in {"error", "warning"}:
            visit.complaints.append(message.text)

    await context.route("**/*", only_ours)
    await context.add_init_script(REPORT_VIOLATIONS)
    visit.page.on("console", on_console)
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    yield visit
    await context.close()


async def test_swagger_ui_shows_the_operations(visit: Visit) -> None:
    await visit.page.goto("/docs")
    operation = visit.page.locator(".opblock", has_text="/auth/me").first
    await operation.wait_for()
    await operation.locator(".opblock-summary").click()
    await operation.locator(".opblock-body").wait_for()
    await visit.assert_quiet()


async def test_swagger_ui_logs_in_sends_the_token_and_does_not_keep_it(visit: Visit) -> None:
    page = visit.page
    await page.goto("/docs")
    await page.locator("button.authorize").first.click()
    await page.locator("#oauth_username").fill(ADMIN_EMAIL)
    await page.locator("#oauth_password").fill(ADMIN_PASSWORD)
    async with page.expect_response("**/auth/token") as answer:
        await page.locator(".auth-btn-wrapper .authorize").click()
    token = (await (await answer.value).json())["access_token"]
    await page.locator("button.btn-done").click()

    operation = page.locator(".opblock", has_text="/auth/me").first
    await operation.locator(".opblock-summary").click()
    await operation.locator(".try-out__btn").click()
    async with page.expect_request("**/auth/me") as call:
        await operation.locator(".execute").click()
    assert (await call.value).headers["authorization"] == f"Bearer {token}"
    await operation.locator(".live-responses-table").wait_for()
    assert await page.evaluate("localStorage.length + sessionStorage.length") == 0
    await visit.assert_quiet()


async def test_redoc_shows_the_operations_and_searches(visit: Visit, docs_base_url: str) -> None:
    page = visit.page
    document = await (await page.request.get(f"{docs_base_url}/openapi.json")).json()
    summary = document["paths"]["/api/v1/auth/me"]["get"]["summary"]
    await page.goto("/redoc")
    await page.locator("h2", has_text=summary).first.wait_for()
    await page.locator("input[type=text]").first.fill(max(summary.split(), key=len))
    await page.locator("[data-role='search:results']", has_text=summary).wait_for()
    await visit.assert_quiet()


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_each_answer_has_its_own_nonce(docs_base_url: str, path: str) -> None:
    policies = {
        httpx.get(f"{docs_base_url}{path}").headers["content-security-policy"] for _ in range(2)
    }
    assert len(policies) == 2
    for policy in policies:
        directives = dict(part.split(" ", 1) for part in policy.split("; "))
        assert directives["default-src"] == "'none'"
        assert directives["frame-ancestors"] == "'none'"
        assert directives["script-src"].startswith("'nonce-")
        assert "'" not in directives["script-src"][1:-1], "nothing but the nonce"
        assert "unsafe" not in policy


def test_assets_are_cached_for_good_and_revalidated_cheaply(docs_base_url: str) -> None:
    page = httpx.get(f"{docs_base_url}/docs").text
    source = page.split('src="')[1].split('"')[0]
    first = httpx.get(f"{docs_base_url}{source}")
    assert first.status_code == 200
    assert first.headers["content-type"].startswith("text/javascript")
    assert "immutable" in first.headers["cache-control"]
    again = httpx.get(f"{docs_base_url}{source}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert httpx.get(f"{docs_base_url}/docs/assets/other.js").status_code == 404


def test_elsewhere_there_are_no_docs() -> None:
    settings = make_settings(ENVIRONMENT="production", BCRYPT_ROUNDS=10)
    with served(create_app(settings)) as url:
        for path in ("/docs", "/redoc", "/openapi.json", "/docs/assets/swagger.js"):
            assert httpx.get(f"{url}{path}").status_code == 404
