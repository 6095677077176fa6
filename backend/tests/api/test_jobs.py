"""What follows a commit: never without it, always after it, through crashes and outages."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import httpx
import pytest
import structlog
from fastapi import FastAPI
from pgqueuer import AsyncpgDriver, Queries
from sqlalchemy import text

from app.config import Settings
from app.core.clock import system_clock
from app.core.context import bound_request_id
from app.core.ids import new_id
from app.core.jobs import (
    MAXIMUM_ATTEMPTS,
    GiveUp,
    JobRunner,
    enqueue,
    enqueue_all,
    pause_before,
    running,
)
from app.core.letters import Letter
from app.core.logging import configure_logging
from app.core.mail import Mailer, MailNotSent, MailRefused
from app.core.migrations import BACKEND
from app.jobs import job_runner
from app.main import create_app
from app.postgres import connect
from tests.business import PASSWORD, Hands, ok, serving
from tests.conftest import make_settings
from tests.mailbox import Mailbox, texts

ADA = {"name": "Ada Lovelace", "email": "ada@example.com", "password": PASSWORD}
LETTER = Letter("Hello", "Plain text.", "<p>Some HTML.</p>", "en")


@pytest.fixture
def settings(settings: Settings, mailbox: Mailbox) -> Settings:
    return settings.model_copy(update=mailbox.settings)


async def sign_up(app: FastAPI, email: str = ADA["email"]) -> None:
    """Sign up with the application, whose lifespan is running, which enqueues one mail."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        ok(await client.post("/api/v1/auth/signup", json=ADA | {"email": email}))


async def queue(app: FastAPI) -> list[Any]:
    """Every job: status, attempts, and how long after its last change it is due."""
    statement = "SELECT status::text, attempts, execute_after - updated AS pause FROM pgqueuer"
    async with app.state.database.reading() as session:
        return list(await session.execute(text(statement)))


async def failures(app: FastAPI) -> list[str]:
    statement = "SELECT traceback::text FROM pgqueuer_log WHERE traceback IS NOT NULL"
    async with app.state.database.reading() as session:
        return list(await session.scalars(text(statement)))


async def change(app: FastAPI, statement: str) -> None:
    async with app.state.database.transaction() as session:
        await session.execute(text(statement))


async def make_due(app: FastAPI) -> None:
    await change(app, "UPDATE pgqueuer SET execute_after = now()")


@asynccontextmanager
async def worker(settings: Settings, **extra: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m app.worker` as an operator would start it."""
    environment = {
        "JOBS_IN_PROCESS": "false",
        "MAIL_PORT": str(settings.MAIL_PORT),
        "MAIL_SERVER": settings.MAIL_SERVER,
        "POSTGRES_DB": settings.POSTGRES_DB,
        "SECRET_KEY": settings.SECRET_KEY.get_secret_value(),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.worker", cwd=BACKEND, env=os.environ | environment | extra
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


# --- Commit and rollback ----------------------------------------------------------------------
async def test_a_rollback_leaves_no_job(app: FastAPI, mailbox: Mailbox) -> None:
    class Rollback(Exception): ...

    async def enqueue_and_fail() -> None:
        async with app.state.database.transaction() as session:
            # As the first statement, before SQLAlchemy has begun a transaction by itself.
            await enqueue(session, "auth.mail_link", new_id())
            raise Rollback

    with pytest.raises(Rollback):
        await enqueue_and_fail()
    assert await queue(app) == []


async def test_a_job_lies_in_the_queue_as_if_pgqueuer_had_put_it_there(app: FastAPI) -> None:
    async with app.state.database.transaction() as session:
        with bound_request_id("a-request"):
            await enqueue(session, "a.job", subject := new_id(), after=timedelta(minutes=5))
    connection = await connect(app.state.settings)
    try:
        await Queries(AsyncpgDriver(connection)).enqueue(
            "a.job",
            subject.bytes,
            execute_after=timedelta(minutes=5),
            headers={"request_id": "a-request"},
        )
    finally:
        await connection.close()
    columns = "to_jsonb(q) - '{id,job_id,created,updated,heartbeat,execute_after}'::text[]"
    async with app.state.database.reading() as session:
        for table, wait in (("pgqueuer", "execute_after - updated"), ("pgqueuer_log", "NULL")):
            select = f"SELECT {columns} AS what, {wait} AS wait FROM {table} q"
            ours, theirs = await session.execute(text(select))
            assert ours == theirs
        logged = "SELECT count(*) FROM pgqueuer_log l JOIN pgqueuer q ON q.id = l.job_id"
        assert await session.scalar(text(logged)) == 2


async def test_a_refused_request_leaves_no_job(app: FastAPI, mailbox: Mailbox) -> None:
    await sign_up(app)
    await app.state.jobs.run_due()
    with pytest.raises(AssertionError, match="already_exists"):
        await sign_up(app)
    assert await queue(app) == []


async def test_a_job_is_done_once_and_leaves_the_queue(app: FastAPI, mailbox: Mailbox) -> None:
    await sign_up(app)
    assert [job.status for job in await queue(app)] == ["queued"]
    await app.state.jobs.run_due()
    await app.state.jobs.run_due()
    assert len(mailbox.mails) == 1
    assert await queue(app) == []


async def test_a_job_that_is_run_again_sends_no_second_mail(app: FastAPI, mailbox: Mailbox) -> None:
    await sign_up(app)
    await app.state.jobs.run_due()
    async with app.state.database.transaction() as session:
        link_id = await session.scalar(text("SELECT id FROM one_time_tokens"))
        await enqueue(session, "auth.mail_link", link_id)
    await app.state.jobs.run_due()
    assert len(mailbox.mails) == 1


@pytest.mark.parametrize(("connections", "most"), [(4, 2), (20, 10), (1, 2)])
async def test_half_of_the_connections_are_left_to_requests(
    app: FastAPI, settings: Settings, connections: int, most: int
) -> None:
    at_work, seen = 0, []

    async def work(_: UUID) -> None:
        nonlocal at_work
        at_work += 1
        await asyncio.sleep(0.1)
        seen.append(at_work)
        at_work -= 1

    async with app.state.database.transaction() as session:
        await enqueue_all(session, "a.job", {new_id(): timedelta() for _ in range(most * 2)})
    narrow = settings.model_copy(update={"POSTGRES_POOL_SIZE": connections})
    await JobRunner(narrow, {"a.job": work}).run_due()
    assert (len(seen), max(seen)) == (most * 2, most)


async def test_two_runners_send_each_mail_once(
    settings: Settings, app: FastAPI, clock: Hands, mailbox: Mailbox
) -> None:
    addresses = {f"customer{n}@example.com" for n in range(12)}
    for address in addresses:
        await sign_up(app, address)
    runners = [job_runner(settings, app.state.database, clock) for _ in range(2)]
    await asyncio.gather(*(runner.run_due() for runner in runners))
    assert sorted(mail["To"] for mail in mailbox.mails) == sorted(addresses)


# --- Crashes and restarts ---------------------------------------------------------------------
async def test_a_job_survives_the_kill_of_the_worker_that_had_begun_it(
    settings: Settings, mailbox: Mailbox
) -> None:
    # A worker lives by the real clock, and so must the link that it mails.
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        await sign_up(app)
        mailbox.may_answer.clear()
        async with worker(settings) as process:
            await mailbox.begun.wait()
            process.send_signal(signal.SIGKILL)
            assert await process.wait() == -signal.SIGKILL
        await mailbox.hung_up.wait()
        mailbox.may_answer.set()
        assert [job.status for job in await queue(app)] == ["picked"]
        # As long as the dead worker's heartbeat is fresh, it is not known to be dead.
        await change(app, "UPDATE pgqueuer SET heartbeat = now() + interval '1 minute'")
        await app.state.jobs.run_due()
        assert mailbox.mails == []

        await change(app, "UPDATE pgqueuer SET heartbeat = now() - interval '1 minute'")
        await app.state.jobs.run_due()
        assert [mail["To"] for mail in mailbox.mails] == [ADA["email"]]
        assert await queue(app) == []


async def test_a_worker_that_is_told_to_end_finishes_what_it_has_begun(
    settings: Settings, mailbox: Mailbox
) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        await sign_up(app)
        mailbox.may_answer.clear()
        async with worker(settings) as process:
            await mailbox.begun.wait()
            process.send_signal(signal.SIGTERM)
            mailbox.may_answer.set()
            assert await process.wait() == 0
        assert len(mailbox.mails) == 1
        assert await queue(app) == []


async def test_the_api_runs_jobs_itself_unless_told_otherwise(
    settings: Settings, clock: Hands, mailbox: Mailbox
) -> None:
    assert Settings(_env_file=None).JOBS_IN_PROCESS
    app = create_app(settings.model_copy(update={"JOBS_IN_PROCESS": True}), clock=clock)
    async with serving(app):
        await sign_up(app)
        assert (await mailbox.next())["To"] == ADA["email"]


async def test_a_runner_whose_connection_was_cut_comes_back(
    settings: Settings, clock: Hands, mailbox: Mailbox
) -> None:
    app = create_app(settings.model_copy(update={"JOBS_IN_PROCESS": True}), clock=clock)
    async with serving(app):
        await sign_up(app)
        await mailbox.next()
        await change(
            app,
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE application_name = 'oneslot-jobs' AND datname = current_database()",
        )
        await sign_up(app, "grace@example.com")
        assert (await mailbox.next())["To"] == "grace@example.com"


async def test_a_job_that_outlasts_the_grace_goes_back_into_the_queue(
    settings: Settings, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def endless(_: UUID) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with app.state.database.transaction() as session:
        await enqueue(session, "endless", new_id())
    monkeypatch.setattr("app.core.jobs._GRACE_SECONDS", 0)
    async with running(JobRunner(settings, {"endless": endless})):
        await begun.wait()
    assert [(job.status, job.attempts) for job in await queue(app)] == [("queued", 1)]


async def test_a_job_with_a_delay_waits_for_its_moment(app: FastAPI, settings: Settings) -> None:
    done: list[UUID] = []

    async def handler(subject_id: UUID) -> None:
        done.append(subject_id)

    runner, subject_id = JobRunner(settings, {"later": handler}), new_id()
    async with app.state.database.transaction() as session:
        await enqueue(session, "later", subject_id, after=timedelta(hours=1))
    await runner.run_due()
    assert done == []
    await make_due(app)
    await runner.run_due()
    assert done == [subject_id]


async def test_jobs_of_another_release_are_left_to_it(app: FastAPI) -> None:
    async with app.state.database.transaction() as session:
        await enqueue(session, "future.job", new_id())
    await app.state.jobs.run_due()
    assert [job.status for job in await queue(app)] == ["queued"]


async def test_names_in_the_environment_mean_nothing_to_the_queue_and_the_mail(
    settings: Settings, mailbox: Mailbox
) -> None:
    """pgqueuer and fastapi-mail read some that are anybody's."""
    app = create_app(settings)
    names = {"CHANNEL": "x", "FUNCTION": "x", "QUEUE_TABLE": "x", "USE_CREDENTIALS": "true"}
    async with app.router.lifespan_context(app):
        await sign_up(app)
        async with worker(settings, TIMEOUT="nonsense", **names) as process:
            assert (await mailbox.next())["To"] == ADA["email"]
            process.terminate()
            assert await process.wait() == 0


# --- Failures ---------------------------------------------------------------------------------
async def test_a_mail_that_is_not_taken_is_tried_again_later(
    app: FastAPI, mailbox: Mailbox
) -> None:
    mailbox.content_answers.extend(["451 try later"] * 2)
    await sign_up(app)
    for attempt, pause in ((1, 10), (2, 30)):
        await app.state.jobs.run_due()
        (job,) = await queue(app)
        assert (job.status, job.attempts) == ("queued", attempt)
        assert job.pause == timedelta(seconds=pause)
        assert mailbox.attempts == attempt
        await app.state.jobs.run_due()  # it is not due
        assert mailbox.attempts == attempt
        await make_due(app)
    await app.state.jobs.run_due()
    assert len(mailbox.mails) == 1
    assert await queue(app) == []


async def test_after_the_last_attempt_a_job_is_kept_as_failed(
    app: FastAPI, mailbox: Mailbox
) -> None:
    mailbox.content_answers.extend(["451 try later"] * (MAXIMUM_ATTEMPTS + 1))
    await sign_up(app)
    for _ in range(MAXIMUM_ATTEMPTS + 1):
        await app.state.jobs.run_due()
        await make_due(app)
    assert mailbox.attempts == MAXIMUM_ATTEMPTS
    assert [job.status for job in await queue(app)] == ["failed"]


async def test_a_mail_that_will_never_be_taken_is_not_tried_again(
    app: FastAPI, mailbox: Mailbox
) -> None:
    mailbox.recipient_answers.append("550 no such mailbox")
    await sign_up(app)
    await app.state.jobs.run_due()
    await make_due(app)
    await app.state.jobs.run_due()
    assert mailbox.attempts == 1
    assert [job.status for job in await queue(app)] == ["failed"]


async def test_a_link_that_expired_while_mail_was_down_is_not_mailed(
    app: FastAPI, clock: Hands, mailbox: Mailbox
) -> None:
    mailbox.content_answers.append("451 try later")
    await sign_up(app)
    await app.state.jobs.run_due()
    clock.advance(hours=1)
    await make_due(app)
    await app.state.jobs.run_due()
    assert mailbox.mails == []
    assert await queue(app) == []


async def test_a_failure_is_kept_and_logged_without_the_address(
    app: FastAPI, mailbox: Mailbox, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    mailbox.recipient_answers.extend(["451 <ada@example.com> busy", "550 <ada@example.com> gone"])
    await sign_up(app)
    for _ in range(2):
        await app.state.jobs.run_due()
        await make_due(app)
    kept = await failures(app)
    assert len(kept) == 2
    out, err = capfdbinary.readouterr()
    assert b"job_failed" in out
    assert b"ada@example.com" not in out + err
    assert "ada@example.com" not in str(kept)


async def test_an_error_that_nobody_foresaw_is_kept_by_its_kind_only(
    settings: Settings, app: FastAPI
) -> None:
    async def broken(_: UUID) -> None:
        raise GiveUp("of ada@example.com")

    async with app.state.database.transaction() as session:
        await enqueue(session, "broken", new_id())
    await JobRunner(settings, {"broken": broken}).run_due()
    (kept,) = await failures(app)
    assert "GiveUp" in kept
    assert "ada@example.com" not in kept


def test_pauses_grow_and_all_attempts_fit_into_an_hour() -> None:
    pauses = [pause_before(attempt) for attempt in range(2, MAXIMUM_ATTEMPTS + 1)]
    assert [pause.total_seconds() for pause in pauses] == [10, 30, 90, 270, 810, 900, 900]
    assert sum(pauses, timedelta()) < timedelta(hours=1)


# --- Mails ------------------------------------------------------------------------------------
def composed(to: str = "ada@example.com", **settings: object) -> EmailMessage:
    return Mailer(make_settings(**settings), system_clock).compose(LETTER, to=to, reference="r")


@pytest.mark.parametrize(
    "to", ["ada@example.com\r\nBcc: eve@example.com", "a@b.c\nX: y", "", "@", "a@", "a,b@c.de"]
)
def test_no_address_becomes_a_header_of_its_own(to: str) -> None:
    with pytest.raises(MailRefused):
        composed(to)


def test_no_sender_becomes_a_header_of_its_own() -> None:
    with pytest.raises(ValueError, match="invalid"):
        composed(MAIL_FROM_NAME="Practice\r\nBcc: eve@example.com")


def test_a_foreign_domain_is_written_in_ascii() -> None:
    assert composed("ada@bücher.example")["To"] == "ada@xn--bcher-kva.example"


def test_a_sender_with_a_name_that_needs_quotes_is_quoted() -> None:
    sender = composed(MAIL_FROM_NAME='Dr. Müller, "Zähne"')["From"].addresses[0]
    assert (sender.display_name, sender.addr_spec) == (
        'Dr. Müller, "Zähne"',
        "no-reply@example.com",
    )


async def test_text_in_any_script_arrives_as_it_was(mailbox: Mailbox) -> None:
    letter = Letter("Überraschung 🎉", "Zażółć gęślą jaźń", "<p>漢字</p>", "pl")
    settings = make_settings(**mailbox.settings)
    await Mailer(settings, system_clock).send(letter, to="ada@example.com", reference="r")
    mail = await mailbox.next()
    assert mail["Subject"] == letter.subject
    assert [part.strip() for part in texts(mail)] == [letter.text, letter.html]


async def test_a_suppressed_mail_is_built_and_not_sent(mailbox: Mailbox) -> None:
    settings = make_settings(SUPPRESS_SEND=True, **mailbox.settings)
    await Mailer(settings, system_clock).send(LETTER, to="ada@example.com", reference="r")
    assert mailbox.attempts == 0


async def test_a_server_that_is_away_is_no_end(mailbox: Mailbox) -> None:
    settings = make_settings(MAIL_SERVER="127.0.0.1", MAIL_PORT=1)
    with pytest.raises(MailNotSent) as caught:
        await Mailer(settings, system_clock).send(LETTER, to="ada@example.com", reference="r")
    assert not isinstance(caught.value, GiveUp)


async def test_debugging_says_what_the_server_answered(
    mailbox: Mailbox,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    debugging = settings.model_copy(update={"MAIL_DEBUG": True, "LOG_LEVEL": "INFO"})
    configure_logging(debugging)
    # A logger keeps the level that it was first used with.
    monkeypatch.setattr("app.core.mail.log", structlog.get_logger())
    await Mailer(debugging, system_clock).send(LETTER, to="ada@example.com", reference="r")
    out, _ = capfdbinary.readouterr()
    assert b"Message accepted" in out
    assert b"Plain text" not in out
