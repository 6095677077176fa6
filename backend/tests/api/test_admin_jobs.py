"""Looking after the queue: failed jobs are seen, done again, or given up."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI

from app.core.ids import new_id
from app.core.jobs import GiveUp, JobRunner, NewJob, enqueue
from tests.business import Business, Caller, execute, ok, problem


class Flaky:
    """A handler that fails for as long as it is told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.done: list[UUID] = []

    async def __call__(self, subject_id: UUID) -> None:
        if self.error:
            raise self.error
        self.done.append(subject_id)


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


async def add(app: FastAPI, *jobs: NewJob) -> None:
    for job in jobs:
        async with app.state.database.transaction() as session:
            await enqueue(session, job.name, job.subject_id, after=job.after)


async def failed(app: FastAPI, handler: Flaky) -> UUID:
    """The subject of a job that failed for good."""
    handler.error = GiveUp("of ada@example.com")
    await add(app, NewJob("flaky", subject_id := new_id()))
    await JobRunner(app.state.settings, {"flaky": handler}).run_due()
    handler.error = None
    return subject_id


async def jobs(admin: Caller, **query: Any) -> Any:
    return ok(await admin.get("/admin/jobs", params=query))


async def test_what_waits_and_what_failed_is_seen(app: FastAPI, admin: Caller) -> None:
    flaky = Flaky()
    subject_id = await failed(app, flaky)
    flaky.error = ValueError("of ada@example.com")
    await add(app, NewJob("flaky", new_id()))
    await JobRunner(app.state.settings, {"flaky": flaky}).run_due()
    await add(app, NewJob("later", later := new_id(), timedelta(hours=1)))
    seen = await jobs(admin)
    assert [
        (job["name"], job["state"], job["attempts"], job["error"]) for job in seen["items"]
    ] == [
        ("later", "queued", 0, None),
        ("flaky", "queued", 1, "ValueError"),
        ("flaky", "failed", 0, "GiveUp"),
    ]
    assert seen["items"][0]["subject_id"] == str(later)
    assert seen["depth"] == [
        {"name": "flaky", "state": "failed", "number": 1},
        {"name": "flaky", "state": "queued", "number": 1},
        {"name": "later", "state": "queued", "number": 1},
    ]
    assert "ada@example.com" not in str(seen)
    (job,) = (await jobs(admin, state="failed"))["items"]
    assert job["subject_id"] == str(subject_id)
    assert [job["name"] for job in (await jobs(admin, name="later"))["items"]] == ["later"]


async def test_pages_follow_one_another(app: FastAPI, admin: Caller) -> None:
    await add(app, *(NewJob("some", new_id()) for _ in range(5)))
    seen, cursor = [], None
    while True:
        page = await jobs(admin, limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [job["id"] for job in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 5


async def test_a_failed_job_is_done_again(app: FastAPI, admin: Caller) -> None:
    flaky = Flaky()
    subject_id = await failed(app, flaky)
    await execute(app, "UPDATE pgqueuer SET attempts = 8")
    (job,) = (await jobs(admin))["items"]
    assert job["attempts"] == 8
    headers = {"Idempotency-Key": "again"}
    for _ in range(2):
        again = ok(await admin.post(f"/admin/jobs/{job['id']}/retry", headers=headers))
        assert (again["state"], again["attempts"]) == ("queued", 0)
    await JobRunner(app.state.settings, {"flaky": flaky}).run_due()
    assert flaky.done == [subject_id]
    assert (await jobs(admin))["items"] == []
    query = {"type": "job.retried"}
    (event,) = ok(await admin.get("/admin/audit-log", params=query))["items"]
    assert (event["subject_id"], event["actor_id"]) == (str(subject_id), admin.user["id"])
    assert (event["before"]["name"], event["before"]["error"]) == ("flaky", "GiveUp")


async def test_a_failed_job_is_given_up(app: FastAPI, admin: Caller) -> None:
    flaky = Flaky()
    await failed(app, flaky)
    (job,) = (await jobs(admin))["items"]
    assert (await admin.delete(f"/admin/jobs/{job['id']}")).status_code == 204
    problem(await admin.delete(f"/admin/jobs/{job['id']}"), 404, "not_found")
    problem(await admin.post(f"/admin/jobs/{job['id']}/retry"), 404, "not_found")
    await JobRunner(app.state.settings, {"flaky": flaky}).run_due()
    assert flaky.done == []
    query = {"type": "job.discarded"}
    assert len(ok(await admin.get("/admin/audit-log", params=query))["items"]) == 1


async def test_what_has_not_failed_is_left_alone(app: FastAPI, admin: Caller) -> None:
    await add(app, NewJob("some", new_id()))
    (job,) = (await jobs(admin))["items"]
    for state in ("queued", "picked"):
        await execute(app, f"UPDATE pgqueuer SET status = '{state}'")
        problem(await admin.post(f"/admin/jobs/{job['id']}/retry"), 409, "invalid_transition")
        problem(await admin.delete(f"/admin/jobs/{job['id']}"), 409, "invalid_transition")
    for job_id in ("0", "x", str(2**63)):
        problem(await admin.delete(f"/admin/jobs/{job_id}"), 422, "validation_failed")
