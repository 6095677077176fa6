"""Webhooks: who asked for it is told of each commit, signed, and again until it is taken."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from standardwebhooks import Webhook, WebhookVerificationError

from app.config import Settings
from app.core.events import SYSTEM, record
from app.core.ids import new_id
from app.webhooks.jobs import KEPT, WebhookJobs
from app.webhooks.rules import PAUSES
from app.webhooks.sender import Outcome, Sender
from tests.business import Business, Caller, Hands, execute, ok, problem
from tests.conftest import make_settings
from tests.receiver import Received, Receiver, receiving


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"WEBHOOK_ALLOWED_NETWORKS": ("127.0.0.0/8",)})


@pytest.fixture
def clock() -> Hands:
    """The present: receivers refuse what is signed at another time."""
    return Hands(datetime.now(UTC))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def admin(app: FastAPI, business: Business) -> Caller:
    admin = await business.admin()
    await app.state.jobs.run_due()  # what the seed did is told to nobody
    return admin


async def listen(admin: Caller, receiver: Receiver, *events: str, **fields: Any) -> dict[str, Any]:
    body = {"url": receiver.url(), "events": events or ["thing.*"]} | fields
    made: dict[str, Any] = ok(await admin.post("/webhooks", body))
    return made


async def happen(app: FastAPI, event_type: str = "thing.done", **after: Any) -> str:
    async with app.state.database.transaction() as session:
        subject_id, said = new_id(), after or None
        return str(
            await record(session, event_type, subject_id=subject_id, actor=SYSTEM, after=said)
        )


async def run(app: FastAPI) -> None:
    """Let everything happen that follows, however long it would wait."""
    await execute(app, "UPDATE pgqueuer SET execute_after = now()")
    await app.state.jobs.run_due()


async def shown(admin: Caller, webhook: dict[str, Any]) -> Any:
    return ok(await admin.get(f"/webhooks/{webhook['id']}"))


async def deliveries(admin: Caller, webhook: dict[str, Any], **query: Any) -> Any:
    return ok(await admin.get(f"/webhooks/{webhook['id']}/deliveries", params=query))["items"]


async def log(admin: Caller, event_type: str) -> Any:
    return ok(await admin.get("/admin/audit-log", params={"type": event_type}))["items"]


def verified(received: Received, secret: str) -> Any:
    return Webhook(secret).verify(received.body, received.headers)


# --- What is sent -----------------------------------------------------------------------------
async def test_a_booking_is_told_as_standard_webhooks_says(
    app: FastAPI, business: Business, admin: Caller, receiver: Receiver, clock: Hands
) -> None:
    webhook = await listen(admin, receiver, "booking.*")
    service = await business.service()
    await business.provider(service, hours={"monday": [("00:00", "24:00")]})
    monday = (clock.now + timedelta(days=14 - clock.now.weekday())).date()
    booking = await business.booking(service, f"{monday}T09:00:00+01:00")
    await app.state.jobs.run_due()
    (received,) = receiver.received
    message = verified(received, webhook["secret"])
    (event,) = await log(admin, "booking.created")
    assert message["id"] == received.headers["webhook-id"] == event["id"]
    assert message["type"] == "booking.created"
    assert message["data"]["subject"] == {"type": "booking", "id": booking["id"]}
    told = ok(await admin.get("/events", params={"type": "booking.*"}))["items"]
    assert told == [message]


async def test_a_rollback_is_told_to_nobody(
    app: FastAPI, admin: Caller, receiver: Receiver
) -> None:
    class Rollback(Exception): ...

    async def happen_and_fail() -> None:
        async with app.state.database.transaction() as session:
            await record(session, "thing.done", subject_id=new_id(), actor=SYSTEM)
            raise Rollback

    await listen(admin, receiver)
    with pytest.raises(Rollback):
        await happen_and_fail()
    await app.state.jobs.run_due()
    assert receiver.received == []


async def test_each_is_told_what_it_asked_for(
    app: FastAPI, admin: Caller, receiver: Receiver
) -> None:
    some = await listen(admin, receiver, "thing.done", "other.*")
    everything = await listen(admin, receiver, "*")
    off = await listen(admin, receiver, "*", is_active=False)
    happened = {kind: await happen(app, kind) for kind in ("thing.done", "thing.x", "other.x")}
    await app.state.jobs.run_due()
    told = {
        name: {item["event_id"] for item in await deliveries(admin, webhook)}
        for name, webhook in {"some": some, "everything": everything, "off": off}.items()
    }
    assert told["some"] == {happened["thing.done"], happened["other.x"]}
    assert told["everything"] >= set(happened.values())
    assert told["off"] == set()


async def test_it_says_what_was_sent_and_what_was_answered(
    app: FastAPI, admin: Caller, receiver: Receiver, clock: Hands
) -> None:
    webhook = await listen(admin, receiver)
    event_id = await happen(app, note="x" * 2000)
    receiver.answer(200)
    await app.state.jobs.run_due()
    (delivery,) = await deliveries(admin, webhook)
    (tried,) = delivery["tries"]
    assert (delivery["event_id"], delivery["event_type"]) == (event_id, "thing.done")
    assert (delivery["state"], delivery["next_try_at"]) == ("succeeded", None)
    assert (tried["status"], tried["error"], tried["response"]) == (200, None, "ok")
    assert datetime.fromisoformat(tried["at"]) == clock.now
    assert receiver.received[0].body.decode().startswith(delivery["request"])
    assert len(delivery["request"]) == 1000


# --- Again and again --------------------------------------------------------------------------
async def test_what_is_not_taken_is_sent_again_with_the_same_id(
    app: FastAPI, admin: Caller, receiver: Receiver, clock: Hands
) -> None:
    webhook = await listen(admin, receiver)
    await happen(app)
    receiver.answer(500, 302)
    await app.state.jobs.run_due()
    (delivery,) = await deliveries(admin, webhook)
    assert delivery["state"] == "pending"
    pause = datetime.fromisoformat(delivery["next_try_at"]) - clock.now
    assert PAUSES[0] * 0.9 <= pause <= PAUSES[0] * 1.1
    await app.state.jobs.run_due()
    assert len(receiver.received) == 1  # it is not due
    clock.advance(minutes=1)
    for _ in range(3):
        await run(app)
    (delivery,) = await deliveries(admin, webhook)
    assert [tried["status"] for tried in delivery["tries"]] == [500, 302, 204]
    messages = [verified(received, webhook["secret"]) for received in receiver.received]
    assert messages == [messages[0]] * 3
    headers = [received.headers for received in receiver.received]
    assert len({sent["webhook-id"] for sent in headers}) == 1
    stamps = [int(sent["webhook-timestamp"]) for sent in headers]
    assert stamps[1] - stamps[0] == 60


async def test_the_queue_knows_when_it_is_tried_again(
    app: FastAPI, admin: Caller, receiver: Receiver
) -> None:
    await listen(admin, receiver)
    await happen(app)
    receiver.answer(503, 503)
    waits = "SELECT extract(epoch FROM execute_after - updated) FROM pgqueuer"
    for pause in PAUSES[:2]:
        await run(app)
        async with app.state.database.reading() as session:
            (wait,) = await session.scalars(text(waits))
        assert pause * 0.9 <= timedelta(seconds=float(wait)) <= pause * 1.1


async def test_who_takes_nothing_for_three_days_is_switched_off(
    app: FastAPI, admin: Caller, receiver: Receiver
) -> None:
    webhook = await listen(admin, receiver)
    await happen(app)
    receiver.answer(*[500] * (len(PAUSES) + 1))
    for tries in range(1, len(PAUSES) + 1):
        await run(app)
        assert len(receiver.received) == tries
    assert (await shown(admin, webhook))["is_active"]
    await run(app)
    webhook = await shown(admin, webhook)
    assert (webhook["is_active"], webhook["disabled_reason"]) == (False, "failing")
    (delivery,) = await deliveries(admin, webhook, state="failed")
    assert len(delivery["tries"]) == len(PAUSES) + 1
    (event,) = await log(admin, "webhook.disabled")
    assert (event["subject_id"], event["actor_type"]) == (webhook["id"], "system")
    await happen(app)
    await run(app)
    assert len(receiver.received) == len(PAUSES) + 1


async def test_who_is_gone_is_switched_off_and_what_waits_is_not_sent(
    app: FastAPI, admin: Caller, receiver: Receiver
) -> None:
    webhook = await listen(admin, receiver)
    await happen(app)
    receiver.answer(500, 410)
    await app.state.jobs.run_due()
    await happen(app)
    await app.state.jobs.run_due()
    assert (await shown(admin, webhook))["disabled_reason"] == "gone"
    await run(app)
    assert len(receiver.received) == 2
    gone, waited = await deliveries(admin, webhook)
    assert (gone["state"], waited["state"]) == ("failed", "failed")
    assert waited["tries"][-1]["error"] == "switched_off"
    path = f"/webhooks/{webhook['id']}"
    changed = ok(await admin.patch(path, {"is_active": True}))
    assert (changed["is_active"], changed["disabled_reason"]) == (True, None)
    assert len(await log(admin, "webhook.disabled")) == 1


async def test_who_cannot_be_reached_rests_and_holds_nobody_up(
    app: FastAPI, admin: Caller, receiver: Receiver, clock: Hands
) -> None:
    other = await listen(admin, receiver)
    async with receiving() as away:
        webhook = await listen(admin, away)
        url = away.url()
    before = await shown(admin, webhook)
    await happen(app)
    await app.state.jobs.run_due()
    async with receiving(port=away.port) as back:
        assert back.url() == url
        await happen(app)
        await run(app)
        assert back.connections == 0  # it rests, and that is no try
        assert len(await deliveries(admin, other, state="succeeded")) == 2
        waiting = await deliveries(admin, webhook, state="pending")
        assert [len(delivery["tries"]) for delivery in waiting] == [0, 1]
        for delivery in waiting:
            after = datetime.fromisoformat(delivery["next_try_at"]) - clock.now
            assert timedelta(minutes=1) <= after <= timedelta(minutes=2)
        assert await shown(admin, webhook) == before
        clock.advance(minutes=1)
        await run(app)
        assert len(back.received) == 2
        assert len(await deliveries(admin, webhook, state="succeeded")) == 2


async def test_a_new_address_is_tried_at_once(
    app: FastAPI, admin: Caller, receiver: Receiver
) -> None:
    async with receiving() as away:
        webhook = await listen(admin, away)
    await happen(app)
    await app.state.jobs.run_due()
    ok(await admin.patch(f"/webhooks/{webhook['id']}", {"url": receiver.url()}))
    await run(app)
    assert len(receiver.received) == 1


async def test_a_job_that_is_left_over_from_an_earlier_try_does_nothing(
    app: FastAPI, admin: Caller, receiver: Receiver, settings: Settings, clock: Hands
) -> None:
    webhook = await listen(admin, receiver)
    await happen(app)
    receiver.answer(500)
    async with app.state.database.reading() as session:
        await app.state.jobs._followers.run_due()
        (attempt,) = await session.scalars(text("SELECT attempt_id FROM webhook_deliveries"))
    jobs = WebhookJobs(app.state.database, settings, clock)
    await jobs.deliver(attempt)
    await jobs.deliver(attempt)
    assert len(receiver.received) == 1
    (delivery,) = await deliveries(admin, webhook)
    assert len(delivery["tries"]) == 1


async def test_what_two_runners_try_at_once_is_concluded_once(
    app: FastAPI, admin: Caller, receiver: Receiver, settings: Settings, clock: Hands
) -> None:
    class Both(Sender):
        async def send(self, *_: object) -> Outcome:
            if not self.is_second:
                self.is_second = True
                await jobs.deliver(attempt)
            return Outcome(500, "", None, 1)

        is_second = False

    webhook = await listen(admin, receiver)
    await happen(app)
    await app.state.jobs._followers.run_due()
    async with app.state.database.reading() as session:
        (attempt,) = await session.scalars(text("SELECT attempt_id FROM webhook_deliveries"))
    jobs = WebhookJobs(app.state.database, settings, clock, Both())
    await jobs.deliver(attempt)
    (delivery,) = await deliveries(admin, webhook)
    assert len(delivery["tries"]) == 1


# --- Secrets ----------------------------------------------------------------------------------
async def test_a_secret_is_shown_once_and_sealed(
    app: FastAPI, admin: Caller, receiver: Receiver
) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"url": receiver.url(), "events": ["*"]}
    first = await admin.post("/webhooks", body, headers=headers)
    webhook = ok(first)
    assert webhook["secret"].startswith("whsec_")
    assert "secret" not in await shown(admin, webhook)
    again = await admin.post("/webhooks", body, headers=headers)
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    async with app.state.database.reading() as session:
        for table in ("webhooks", "events", "idempotency_keys"):
            rows = str((await session.execute(text(f"SELECT t::text FROM {table} t"))).all())
            assert webhook["secret"] not in rows
            assert webhook["secret"].encode().hex() not in rows
            assert receiver.url() not in rows or table == "webhooks"


async def test_a_secret_that_was_replaced_signs_for_another_day(
    app: FastAPI, admin: Caller, receiver: Receiver, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = await listen(admin, receiver)
    rotated = ok(await admin.post(f"/webhooks/{webhook['id']}/rotate"))
    assert rotated["secret"] != webhook["secret"]
    assert datetime.fromisoformat(rotated["previous_secret_until"]) == clock.now + timedelta(days=1)
    await happen(app)
    await app.state.jobs.run_due()
    for secret in (rotated["secret"], webhook["secret"]):
        verified(receiver.received[0], secret)
    assert len(receiver.received[0].headers["webhook-signature"].split(" ")) == 2
    clock.advance(days=1)
    await happen(app)
    await app.state.jobs.run_due()
    monkeypatch.setattr(Webhook, "_Webhook__verify_timestamp", lambda *_: clock.now)
    verified(receiver.received[1], rotated["secret"])
    with pytest.raises(WebhookVerificationError):
        verified(receiver.received[1], webhook["secret"])
    admin = await Business(admin.client).admin()
    assert [event["after"] for event in await log(admin, "webhook.secret_rotated")] == [None]


async def test_with_another_secret_key_nothing_is_sent_unsigned(
    app: FastAPI, admin: Caller, receiver: Receiver
) -> None:
    webhook = await listen(admin, receiver)
    await execute(app, "UPDATE webhooks SET secret = 'made with another key'")
    await happen(app)
    await app.state.jobs.run_due()
    (delivery,) = await deliveries(admin, webhook)
    assert delivery["tries"][0]["error"] == "secret_unreadable"
    assert receiver.received == []


# --- Tests and replays ------------------------------------------------------------------------
async def test_a_test_is_sent_once_to_one(app: FastAPI, admin: Caller, receiver: Receiver) -> None:
    await listen(admin, receiver, "*", url=receiver.url("127.0.0.1") + "&other")
    webhook = await listen(admin, receiver, "thing.*")
    await app.state.jobs.run_due()
    receiver.received.clear()
    receiver.answer(410)
    sent = ok(await admin.post(f"/webhooks/{webhook['id']}/test"))
    assert (sent["state"], sent["event_type"], sent["tries"]) == ("pending", "webhook.test", [])
    await run(app)
    await run(app)
    (received,) = receiver.received
    assert verified(received, webhook["secret"])["id"] == sent["event_id"]
    (delivery,) = await deliveries(admin, webhook)
    assert (delivery["id"], delivery["state"]) == (sent["id"], "failed")
    assert (await shown(admin, webhook))["is_active"]


async def test_a_replay_is_a_new_delivery_of_the_same_event(
    app: FastAPI, admin: Caller, receiver: Receiver
) -> None:
    webhook = await listen(admin, receiver)
    event_id = await happen(app)
    await app.state.jobs.run_due()
    (delivery,) = await deliveries(admin, webhook)
    headers = {"Idempotency-Key": "again"}
    for _ in range(2):
        replayed = ok(await admin.post(f"/deliveries/{delivery['id']}/replay", headers=headers))
    assert (replayed["event_id"], replayed["state"]) == (event_id, "pending")
    await app.state.jobs.run_due()
    assert [r.headers["webhook-id"] for r in receiver.received] == [event_id] * 2
    assert len(await deliveries(admin, webhook, state="succeeded")) == 2
    (event,) = await log(admin, "webhook.replayed")
    assert event["after"] == {"event_id": event_id}


async def test_what_is_off_or_is_not_there_is_sent_nothing(
    app: FastAPI, admin: Caller, receiver: Receiver
) -> None:
    webhook = await listen(admin, receiver)
    await happen(app)
    await app.state.jobs.run_due()
    (delivery,) = await deliveries(admin, webhook)
    ok(await admin.patch(f"/webhooks/{webhook['id']}", {"is_active": False}))
    for path in (f"/webhooks/{webhook['id']}/test", f"/deliveries/{delivery['id']}/replay"):
        problem(await admin.post(path), 409, "invalid_transition")
    for path in (f"/webhooks/{uuid4()}/test", f"/deliveries/{uuid4()}/replay"):
        problem(await admin.post(path), 404, "not_found")


# --- Administration ---------------------------------------------------------------------------
async def test_a_webhook_is_changed_and_deleted_with_its_deliveries(
    app: FastAPI, admin: Caller, receiver: Receiver
) -> None:
    webhook = await listen(admin, receiver)
    path = f"/webhooks/{webhook['id']}"
    await happen(app)
    async with receiving() as other:
        patch = {"url": other.url(), "events": ["thing.else", "other.*"]}
        answer = await admin.patch(path, patch, headers={"If-Match": '"1"'})
        assert answer.headers["etag"] == '"2"'
        stale = {"If-Match": '"1"'}
        problem(await admin.patch(path, patch, headers=stale), 412, "version_mismatch")
        problem(await admin.post(f"{path}/rotate", headers=stale), 412, "version_mismatch")
        problem(await admin.delete(path, headers=stale), 412, "version_mismatch")
        await happen(app, "other.done")
        await app.state.jobs.run_due()
        assert (len(other.received), receiver.received) == (1, [])
    assert ok(answer) == await shown(admin, webhook)
    (changed,) = await log(admin, "webhook.changed")
    assert changed["before"] == {"events": ["thing.*"]}
    assert [w["id"] for w in ok(await admin.get("/webhooks"))["items"]] == [webhook["id"]]
    assert (await admin.delete(path)).status_code == 204
    problem(await admin.get(path), 404, "not_found")
    problem(await admin.get(f"{path}/deliveries"), 404, "not_found")
    await run(app)


async def test_there_are_only_so_many(
    admin: Caller, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.webhooks.service.MOST_WEBHOOKS", 1)
    await listen(admin, receiver)
    body = {"url": receiver.url(), "events": ["*"]}
    refusal = problem(await admin.post("/webhooks", body), 422, "policy_violation")
    assert refusal["reason"] == "too_many_webhooks"


async def test_what_can_be_seen_to_be_wrong_is_refused(admin: Caller) -> None:
    for url in (
        "http://10.0.0.1/",
        "https://10.0.0.1/",
        "https://0xa.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://user:secret@example.com/",
        "https://example.com/#fragment",
        "ftp://example.com/",
        "file:///etc/passwd",
        "example.com",
        "https://",
        "",
        7,
    ):
        body = {"url": url, "events": ["*"]}
        refusal = problem(await admin.post("/webhooks", body), 422, "validation_failed")
        assert [error["pointer"] for error in refusal["errors"]] == ["#/url"], url
    for events in ([], ["Booking.created"], ["booking"], ["*.created"], ["booking.*"] * 51):
        body = {"url": "https://example.com/", "events": events}
        problem(await admin.post("/webhooks", body), 422, "validation_failed")


async def test_old_deliveries_are_forgotten_and_pending_ones_are_not(
    app: FastAPI, admin: Caller, receiver: Receiver, settings: Settings, clock: Hands
) -> None:
    webhook = await listen(admin, receiver)
    await happen(app)
    await app.state.jobs.run_due()
    receiver.answer(500)
    pending = await happen(app)
    await app.state.jobs.run_due()
    jobs = WebhookJobs(app.state.database, settings, clock)
    await jobs.forget_deliveries()
    assert len(await deliveries(admin, webhook)) == 2
    clock.advance(seconds=KEPT.total_seconds() + 3600)
    await jobs.forget_deliveries()
    admin = await Business(admin.client).admin()
    (left,) = await deliveries(admin, webhook)
    assert left["event_id"] == pending


async def test_a_person_who_is_forgotten_is_forgotten_here_too(
    app: FastAPI, business: Business, admin: Caller, receiver: Receiver
) -> None:
    webhook = await listen(admin, receiver, "user.*")
    ada = await business.customer("Ada Lovelace")
    ok(await ada.patch("/auth/me", {"name": "Countess of Lovelace"}))
    await app.state.jobs.run_due()
    assert any("Countess" in item["request"] for item in await deliveries(admin, webhook))
    erased = await ada.request("DELETE", "/auth/me", json={"password": "correct horse battery"})
    assert erased.status_code == 204
    assert not any("Countess" in item["request"] for item in await deliveries(admin, webhook))


async def test_without_the_setting_this_machine_is_not_reached(
    app: FastAPI, admin: Caller, receiver: Receiver, settings: Settings, clock: Hands
) -> None:
    await listen(admin, receiver)
    await happen(app)
    await app.state.jobs._followers.run_due()
    async with app.state.database.reading() as session:
        (attempt,) = await session.scalars(text("SELECT attempt_id FROM webhook_deliveries"))
    strict = make_settings(POSTGRES_DB=settings.POSTGRES_DB)
    await WebhookJobs(app.state.database, strict, clock).deliver(UUID(str(attempt)))
    assert receiver.connections == 0
