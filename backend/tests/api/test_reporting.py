"""What leaves for Sentry and OpenTelemetry, and what never does."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import sentry_sdk
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from app.config import Settings
from app.core import reporting, tracing
from app.main import create_app
from tests.business import Business, Hands, ok, problem, serving

DSN = "https://public@sentry.example/1"
CANARY = "ada.canary@example.com"


class Sent(Transport):
    """Keeps what would have been sent."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.items += [json.loads(item.get_bytes()) for item in envelope.items]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """`event`s, or `transaction`s."""
        return [item for item in self.items if item.get("type", "event") == kind]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sent]:
    kept, init = Sent(), sentry_sdk.init
    monkeypatch.setattr(sentry_sdk, "init", lambda *a, **o: init(*a, **o, transport=kept))
    yield kept
    reporting._sentry = None


def reported(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"SENTRY_DSN": SecretStr(DSN)} | changes)


@pytest.fixture
async def broken(
    settings: Settings, clock: Hands, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application whose list of services fails, and quotes somebody."""

    async def fail(*_: object, **__: object) -> None:
        local_secret = f"{CANARY[:3]}-password"  # noqa: F841 - it must not be sent
        raise RuntimeError(f"about {CANARY}")

    monkeypatch.setattr("app.catalog.service.CatalogService.list_services", fail, raising=True)
    app = create_app(
        reported(settings, SENTRY_TRACES_SAMPLE_RATE=1.0, SENTRY_ENVIRONMENT="canary"), clock=clock
    )
    async with serving(app) as client:
        yield client


async def test_what_nobody_foresaw_is_reported_and_names_nobody(
    broken: httpx.AsyncClient, sent: Sent
) -> None:
    caller = await Business(broken).customer("Canary Lovelace")
    answer = await caller.get("/services", params={"limit": "7"}, headers={"Cookie": "canary"})
    problem(answer, 500, "internal_error")
    [event] = sent.of("event")
    assert event["exception"]["values"][-1]["type"] == "RuntimeError"
    assert event["environment"] == "canary"
    assert event["tags"] == {
        "request_id": answer.headers["x-request-id"],
        "method": "GET",
        "route": "/api/v1/services",
        "user_id": caller.user["id"],
    }
    assert event["user"] == {"id": caller.user["id"]}
    everything = json.dumps(sent.items)
    for secret in (CANARY, "Canary Lovelace", caller.user["email"], caller.token, "ada-password"):
        assert secret not in everything
    assert "request" not in event


async def test_a_transaction_is_named_by_the_route_s_template(
    broken: httpx.AsyncClient, sent: Sent
) -> None:
    trace_id = "1" * 32
    headers = {"sentry-trace": f"{trace_id}-{'2' * 16}-1"}
    path = "/api/v1/manage/a-secret-link-s-token"
    assert (await broken.get(path, headers=headers)).status_code == 404
    [traced] = sent.of("transaction")
    assert traced["transaction"] == "GET /api/v1/manage/{token}"
    assert traced["contexts"]["trace"]["trace_id"] == trace_id
    assert traced["contexts"]["response"]["status_code"] == 404
    assert "a-secret-link" not in json.dumps(sent.items)


async def test_expected_errors_are_nobody_s_alarm(broken: httpx.AsyncClient, sent: Sent) -> None:
    problem(await broken.get("/api/v1/auth/me"), 401, "unauthenticated")
    problem(await broken.get("/api/v1/availability"), 422, "validation_failed")
    assert sent.of("event") == []


async def test_traces_are_sent_only_where_a_share_is_set(
    settings: Settings, clock: Hands, sent: Sent
) -> None:
    async with serving(create_app(reported(settings), clock=clock)) as client:
        ok(await client.get("/api/v1/services"))
    assert sent.items == []


async def test_spans_tell_of_routes_and_statements_and_of_no_values(
    settings: Settings, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "OTLPSpanExporter", lambda: exporter)
    app = create_app(settings.model_copy(update={"ENABLE_TRACING": True}), clock=clock)
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    async with serving(app) as client:
        business = Business(client)
        service = await business.service(name="Canary service")
        provider = await business.provider(service)
        path = f"/api/v1/providers/{provider['id']}"
        ok(await client.get(path, headers={"traceparent": traceparent}))
        params = {"service_id": service["id"], "start": "2026-03-03", "end": "2026-03-03"}
        ok(await client.get("/api/v1/availability", params=params))
    spans = exporter.get_finished_spans()
    [request] = [s for s in spans if s.name == "GET /api/v1/providers/{provider_id}"]
    assert request.context is not None
    assert request.context.trace_id == int("a" * 32, 16)
    attributes = dict(request.attributes or {})
    assert attributes["http.response.status_code"] == 200
    parents = {span.parent.span_id for span in spans if span.parent is not None}
    answered = {s.context.span_id for s in spans if s.context and s.name.startswith("GET /api")}
    assert answered <= parents | {request.context.span_id}, "no statement was traced"
    everything = "".join(span.to_json() for span in spans)
    assert "Canary service" not in everything
    assert service["id"] not in everything


@pytest.mark.parametrize(
    ("variable", "value", "package", "extra"),
    [
        ("SENTRY_DSN", DSN, "sentry_sdk", "oneslot[sentry]"),
        ("ENABLE_TRACING", "true", "opentelemetry.exporter", "oneslot[otel]"),
    ],
)
def test_without_the_package_the_start_is_refused_with_its_name(
    variable: str, value: str, package: str, extra: str
) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None
from app.config import Settings
from app.main import create_app
create_app(Settings(_env_file=None, {variable}={value!r}))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert extra in run.stderr
    assert variable in run.stderr


def test_what_is_off_is_not_even_imported() -> None:
    code = """
import sys
from app.config import Settings
from app.main import create_app
create_app(Settings(_env_file=None))
print([name for name in ("sentry_sdk", "opentelemetry.exporter") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"
