"""What Prometheus is told."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from app.config import Settings
from app.core.events import SYSTEM, record
from app.core.jobs import enqueue
from app.main import create_app
from tests.business import Business, Hands, ok, problem, serving

Labels = frozenset[tuple[str, str]]


@pytest.fixture
async def measured(settings: Settings, clock: Hands) -> AsyncIterator[FastAPI]:
    app = create_app(settings.model_copy(update={"ENABLE_METRICS": True}), clock=clock)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(measured: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(measured, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


class Told:
    """The samples of one scrape; processes of other tests have counted in them too."""

    def __init__(self, text: str) -> None:
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self._samples.get((f"oneslot_{name}", frozenset(labels.items())), 0)

    def names(self) -> set[str]:
        return {name for name, _ in self._samples}


async def scrape(client: httpx.AsyncClient) -> Told:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return Told(answer.text)


async def test_there_is_nothing_to_scrape_unless_it_is_wanted(settings: Settings) -> None:
    assert not settings.ENABLE_METRICS
    app = create_app(settings)
    async with serving(app) as client:
        problem(await client.get("/metrics"), 404, "not_found")


async def test_requests_are_counted_by_their_route_s_template(client: httpx.AsyncClient) -> None:
    path = "/api/v1/services/{service_id}"
    before = await scrape(client)
    problem(await client.get(path.format(service_id=uuid4())), 404, "not_found")
    problem(await client.get(path.format(service_id=uuid4())), 404, "not_found")
    after = await scrape(client)
    of = {"method": "GET", "route": path}
    for name, more in (
        ("http_requests_total", {"status": "404"}),
        ("http_problems_total", {"code": "not_found", "reason": ""}),
        ("http_request_duration_seconds_count", {}),
    ):
        assert after(name, **of, **more) - before(name, **of, **more) == 2, name


async def test_what_strangers_make_up_is_one_series(client: httpx.AsyncClient) -> None:
    before = await scrape(client)
    for number in range(5):
        await client.request("BREW", f"/coffee/{number}")
    after = await scrape(client)
    of = {"method": "other", "route": "unmatched", "status": "404"}
    assert after("http_requests_total", **of) - before("http_requests_total", **of) == 5


async def test_probes_and_scrapes_are_not_traffic(client: httpx.AsyncClient) -> None:
    for path in ("/health", "/health/ready", "/metrics"):
        await client.get(path)
    told = await scrape(client)
    for path in ("/health", "/health/ready", "/metrics"):
        assert told("http_requests_total", method="GET", route=path, status="200") == 0


async def test_bookings_are_counted_when_they_are_committed_and_refusals_by_reason(
    client: httpx.AsyncClient,
) -> None:
    business = Business(client)
    service = await business.service()
    await business.provider(service)
    customer = await business.customer()
    before = await scrape(client)
    body = {"service_id": service["id"], "start": "2026-03-03T09:00:00+01:00"}
    headers = {"Idempotency-Key": str(uuid4())}
    ok(await customer.post("/bookings", body, headers=headers))
    ok(await customer.post("/bookings", body, headers=headers))  # the first answer again
    problem(await customer.post("/bookings", body), 409, "slot_taken")
    early = body | {"start": "2026-03-03T03:00:00+01:00"}
    problem(await customer.post("/bookings", early), 422, "slot_unavailable")
    rrule = {"rrule": "FREQ=WEEKLY;COUNT=3", "start": "2026-03-04T09:00:00+01:00"}
    ok(await customer.post("/booking-series", {"service_id": service["id"]} | rrule))
    after = await scrape(client)
    assert after("bookings_created_total") - before("bookings_created_total") == 4
    of = {"method": "POST", "route": "/api/v1/bookings"}
    for code, reason in (
        ("slot_taken", ""),
        ("slot_unavailable", "outside_working_hours"),
    ):
        refused = of | {"code": code, "reason": reason}
        assert (
            after("http_problems_total", **refused) - before("http_problems_total", **refused) == 1
        ), code


async def test_failed_logins_are_counted(client: httpx.AsyncClient) -> None:
    of = {
        "method": "POST",
        "route": "/api/v1/auth/login",
        "code": "invalid_credentials",
        "reason": "",
    }
    before = await scrape(client)
    body = {"email": "nobody@example.com", "password": "not the one"}
    problem(await client.post("/api/v1/auth/login", json=body), 401, "invalid_credentials")
    after = await scrape(client)
    assert after("http_problems_total", **of) - before("http_problems_total", **of) == 1


async def test_the_queue_s_depth_and_age_are_told(
    measured: FastAPI, client: httpx.AsyncClient
) -> None:
    async with measured.state.database.transaction() as session:
        await enqueue(session, "test.nobody_does_it", uuid4())
    told = await scrape(client)
    assert told("jobs", job="test.nobody_does_it", state="queued") == 1
    assert told("jobs_oldest_seconds", job="test.nobody_does_it") > 0


async def test_how_far_followers_of_the_log_are_behind_is_told(
    measured: FastAPI, client: httpx.AsyncClient
) -> None:
    await measured.state.jobs.run_due()
    measured.state.queue_watch._look_again_at = 0
    told = await scrape(client)
    assert told("follower_behind_seconds", follower="webhooks") == 0
    async with measured.state.database.transaction() as session:
        await record(session, "thing.done", subject_id=uuid4(), actor=SYSTEM)
    measured.state.queue_watch._look_again_at = 0
    told = await scrape(client)
    assert told("follower_behind_seconds", follower="webhooks") > 0


async def test_the_pools_are_told(client: httpx.AsyncClient) -> None:
    await client.get("/api/v1/services")
    told = await scrape(client)
    assert told("database_connections", pool="sessions", state="open") >= 1
    assert told("database_connections", pool="sessions", state="in_use") == 0


COUNTING = """
import os, sys
from app.core import metrics
metrics.BOOKINGS_CREATED.inc(int(sys.argv[1]))
metrics.IN_FLIGHT.inc()
metrics.forget_the_dead()
sys.stdout.buffer.write(metrics.exposition())
"""


def test_several_processes_count_together_and_the_dead_have_nothing_in_flight(
    tmp_path: Path,
) -> None:
    def count(number: int) -> Told:
        environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        run = subprocess.run(
            [sys.executable, "-c", COUNTING, str(number)],
            env=environment,
            capture_output=True,
            check=True,
        )
        return Told(run.stdout.decode())

    count(2)
    told = count(3)
    assert told("bookings_created_total") == 5
    assert told("http_requests_in_flight") == 1
