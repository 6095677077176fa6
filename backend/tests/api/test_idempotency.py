"""Idempotency keys: a request that is sent twice does its work once and is answered alike."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.bookings import repository
from app.database import Database
from tests.business import PASSWORD, Business, Caller, Hands, ok

NINE = "2026-03-03T09:00:00+01:00"
TEN = "2026-03-03T10:00:00+01:00"


@pytest.fixture
def database(app: FastAPI) -> Database:
    return app.state.database


@pytest.fixture
async def service(business: Business) -> dict[str, Any]:
    service = await business.service(durations_minutes=[60])
    await business.provider(service)
    return service


@pytest.fixture
async def ada(business: Business) -> Caller:
    return await business.customer("Ada Lovelace")


def key(name: str = "a-key") -> dict[str, str]:
    return {"Idempotency-Key": name}


async def count(database: Database, table: str) -> int:
    async with database.reading() as session:
        return (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


async def test_the_same_request_is_answered_byte_for_byte(
    ada: Caller, service: dict[str, Any], database: Database
) -> None:
    body = {"service_id": service["id"], "start": NINE, "notes": "Zażółć gęślą jaźń"}
    first = await ada.post("/bookings", body, headers=key())
    second = await ada.post("/bookings", body, headers=key())

    assert first.status_code == second.status_code == 201
    assert first.content == second.content
    for name in ("content-type", "content-length", "etag", "location"):
        assert first.headers[name] == second.headers[name]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert await count(database, "bookings") == 1
    assert await count(database, "events WHERE type = 'booking.created'") == 1


async def test_an_action_is_replayed_too(ada: Caller, service: dict[str, Any]) -> None:
    booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
    path = f"/bookings/{booking['id']}/cancel"
    first = await ada.post(path, {"reason": "ill"}, headers=key())
    second = await ada.post(path, {"reason": "ill"}, headers=key())
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert second.status_code == 200
    assert second.headers["etag"] == first.headers["etag"]
    assert second.headers["idempotency-replayed"] == "true"


async def test_the_replay_is_the_first_answer_even_where_the_booking_has_changed(
    ada: Caller, service: dict[str, Any]
) -> None:
    body = {"service_id": service["id"], "start": NINE}
    first = await ada.post("/bookings", body, headers=key())
    ok(await ada.post(f"/bookings/{first.json()['id']}/cancel"))
    second = await ada.post("/bookings", body, headers=key())
    assert second.content == first.content


async def test_the_same_key_for_another_request_is_refused(
    ada: Caller, service: dict[str, Any], database: Database
) -> None:
    ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}, headers=key()))
    other = await ada.post("/bookings", {"service_id": service["id"], "start": TEN}, headers=key())
    assert code(other) == (422, "idempotency_key_reused")
    assert await count(database, "bookings") == 1


async def test_the_query_is_part_of_the_request(
    app: FastAPI, ada: Caller, service: dict[str, Any]
) -> None:
    """No POST of today takes a query; so it is sent to one that does not look at it."""
    body = {"service_id": service["id"], "start": NINE}
    ok(await ada.post("/bookings", body, headers=key()))
    with patch("app.core.routing.refuse_unknown_query"):
        other = await ada.post("/bookings?dry_run=true", body, headers=key())
    assert code(other) == (422, "idempotency_key_reused")


async def test_keys_belong_to_the_caller(
    business: Business, ada: Caller, service: dict[str, Any]
) -> None:
    grace = await business.customer("Grace Hopper")
    hers = ok(
        await ada.post("/bookings", {"service_id": service["id"], "start": NINE}, headers=key())
    )
    his = await grace.post("/bookings", {"service_id": service["id"], "start": TEN}, headers=key())
    assert his.status_code == 201
    assert his.json()["id"] != hers["id"]


async def test_keys_belong_to_the_route_and_to_the_object_acted_upon(
    ada: Caller, service: dict[str, Any]
) -> None:
    first, second = [
        ok(await ada.post("/bookings", {"service_id": service["id"], "start": s}, headers=key(s)))
        for s in (NINE, TEN)
    ]
    for booking in (first, second):
        answer = await ada.post(f"/bookings/{booking['id']}/cancel", headers=key(NINE))
        assert answer.status_code == 200
        assert answer.json()["id"] == booking["id"]
        assert "idempotency-replayed" not in answer.headers


async def test_quoted_and_bare_are_the_same_key(ada: Caller, service: dict[str, Any]) -> None:
    body = {"service_id": service["id"], "start": NINE}
    first = await ada.post("/bookings", body, headers=key("8e03978e-40d5"))
    second = await ada.post("/bookings", body, headers=key('"8e03978e-40d5"'))
    assert second.content == first.content
    assert second.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("name", ["k", "k" * 255, '"' + "k" * 255 + '"', "~!#$%&'()*+,-./:;<=>?@"])
async def test_any_visible_characters_make_a_key(
    ada: Caller, service: dict[str, Any], name: str
) -> None:
    body = {"service_id": service["id"], "start": NINE}
    assert (await ada.post("/bookings", body, headers=key(name))).status_code == 201


@pytest.mark.parametrize(
    "name",
    [
        "",
        '""',
        "k" * 256,
        '"' + "k" * 256 + '"',
        "two words",
        'a"b',
        '"open',
        "clé",
        "a\tb",
        "a, b",
    ],
    ids=["empty", "quotes", "256", "quoted-256", "space", "inside", "open", "latin", "tab", "list"],
)
async def test_a_malformed_key_is_refused(
    ada: Caller, service: dict[str, Any], database: Database, name: str
) -> None:
    body = {"service_id": service["id"], "start": NINE}
    headers = {b"Idempotency-Key": name.encode()}
    headers |= {b"Authorization": f"Bearer {ada.token}".encode()}
    refused = await ada.client.post("/api/v1/bookings", json=body, headers=headers)
    assert code(refused) == (422, "validation_failed")
    assert refused.json()["errors"][0]["pointer"] == "#/Idempotency-Key"
    assert await count(database, "bookings") == 0


# --- While the first is running --------------------------------------------------------------
@pytest.fixture
async def blocked_calendar(database: Database, service: dict[str, Any]) -> AsyncIterator[Any]:
    """A transaction of somebody else's that holds the calendars' rows: whoever books must wait."""
    async with database.engine.connect() as connection:
        await connection.execute(text("SELECT * FROM calendars FOR UPDATE"))
        yield connection
        await connection.rollback()


async def _waits(request: "asyncio.Task[httpx.Response]", database: Database) -> None:
    """Return once a statement waits for a lock in Postgres; the server tells, no clock does."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()"
    )
    async with database.reading() as session:
        while not (await session.execute(waiting)).scalar_one():
            assert not request.done()


async def test_while_the_first_is_running_the_second_is_told_so(
    ada: Caller, service: dict[str, Any], database: Database, blocked_calendar: Any
) -> None:
    body = {"service_id": service["id"], "start": NINE}
    first = asyncio.create_task(ada.post("/bookings", body, headers=key()))
    await _waits(first, database)

    second = await ada.post("/bookings", body, headers=key())
    assert code(second) == (409, "idempotency_in_progress")
    other_key = await ada.post("/bookings", {**body, "start": "nonsense"}, headers=key("other"))
    assert code(other_key) == (422, "validation_failed")

    await blocked_calendar.rollback()
    answer = await first
    assert answer.status_code == 201
    replayed = await ada.post("/bookings", body, headers=key())
    assert replayed.content == answer.content


async def test_twenty_at_once_with_one_key_make_one_booking(
    ada: Caller, service: dict[str, Any], database: Database
) -> None:
    for hour in range(9, 15):
        body = {"service_id": service["id"], "start": f"2026-03-03T{hour:02}:00:00+01:00"}
        headers = key(f"hour-{hour}")
        answers = await asyncio.gather(
            *(ada.post("/bookings", body, headers=headers) for _ in range(20))
        )
        said = Counter(a.status_code if a.is_success else a.json()["code"] for a in answers)
        assert set(said) <= {201, "idempotency_in_progress"}
        assert len({a.content for a in answers if a.is_success}) == 1
        assert sum("idempotency-replayed" not in a.headers for a in answers if a.is_success) == 1
        assert await count(database, "bookings") == hour - 8


# --- What is kept, and what is not -----------------------------------------------------------
async def test_a_refusal_is_kept_even_where_the_time_is_free_again(
    business: Business, ada: Caller, service: dict[str, Any]
) -> None:
    grace = await business.customer("Grace Hopper")
    body = {"service_id": service["id"], "start": NINE}
    hers = ok(await ada.post("/bookings", body))
    refused = await grace.post("/bookings", body, headers=key())
    assert code(refused) == (409, "slot_taken")
    ok(await ada.post(f"/bookings/{hers['id']}/cancel"))

    again = await grace.post("/bookings", body, headers=key())
    assert (again.status_code, again.content) == (409, refused.content)
    assert again.headers["content-type"] == "application/problem+json"
    assert again.headers["idempotency-replayed"] == "true"
    assert (await grace.post("/bookings", body, headers=key("new"))).status_code == 201


async def test_a_token_that_is_missing_or_void_leaves_the_key_free(
    ada: Caller, service: dict[str, Any], database: Database
) -> None:
    body = {"service_id": service["id"], "start": NINE}
    anonymous = await ada.client.post("/api/v1/bookings", json=body, headers=key())
    assert code(anonymous) == (401, "unauthenticated")
    forged = key() | {"Authorization": "Bearer nonsense"}
    assert (await ada.client.post("/api/v1/bookings", json=body, headers=forged)).status_code == 401
    assert await count(database, "idempotency_keys") == 0
    assert (await ada.post("/bookings", body, headers=key())).status_code == 201


async def test_a_403_leaves_the_key_free(
    business: Business, ada: Caller, service: dict[str, Any], database: Database
) -> None:
    grace = await business.customer("Grace Hopper")
    body = {"service_id": service["id"], "start": NINE, "customer_id": grace.user["id"]}
    assert code(await ada.post("/bookings", body, headers=key())) == (403, "forbidden")
    assert await count(database, "idempotency_keys") == 0
    del body["customer_id"]
    assert (await ada.post("/bookings", body, headers=key())).status_code == 201


async def test_a_request_that_is_not_valid_leaves_the_key_free(
    ada: Caller, service: dict[str, Any], database: Database
) -> None:
    for body in ({"service_id": service["id"]}, {"service_id": service["id"], "start": "nonsense"}):
        assert code(await ada.post("/bookings", body, headers=key())) == (422, "validation_failed")
    assert await count(database, "idempotency_keys") == 0
    body = {"service_id": service["id"], "start": NINE}
    assert (await ada.post("/bookings", body, headers=key())).status_code == 201


async def test_a_500_leaves_nothing_and_a_retry_works(
    ada: Caller, service: dict[str, Any], database: Database
) -> None:
    body = {"service_id": service["id"], "start": NINE}
    book = repository.book

    async def books_and_breaks(*args: Any, **options: Any) -> None:
        assert await book(*args, **options) is not None
        raise RuntimeError("a bug after the work was done")

    with patch.object(repository, "book", books_and_breaks):
        broken = await ada.post("/bookings", body, headers=key())
    assert code(broken) == (500, "internal_error")
    for table in ("bookings", "allocations", "idempotency_keys"):
        assert await count(database, table) == 0

    retried = await ada.post("/bookings", body, headers=key())
    assert retried.status_code == 201
    assert "idempotency-replayed" not in retried.headers


async def test_a_key_is_kept_for_24_hours(
    business: Business, service: dict[str, Any], clock: Hands
) -> None:
    ada = await business.customer()
    body = {"service_id": service["id"], "start": "2026-03-04T09:00:00+01:00"}
    first = await ada.post("/bookings", body, headers=key())

    clock.advance(hours=23, minutes=59, seconds=59)
    ada = await business.log_in(ada.user["email"], PASSWORD)
    assert (await ada.post("/bookings", body, headers=key())).content == first.content

    clock.advance(seconds=1)
    other = {"service_id": service["id"], "start": "2026-03-04T10:00:00+01:00"}
    answer = await ada.post("/bookings", other, headers=key())
    assert answer.status_code == 201
    assert (await ada.post("/bookings", other, headers=key())).content == answer.content


# --- Visitors --------------------------------------------------------------------------------
async def test_a_visitor_signs_up_once_with_a_key(
    client: httpx.AsyncClient, database: Database
) -> None:
    body = {"name": "Ada", "email": "ada@example.com", "password": PASSWORD}
    first = await client.post("/api/v1/auth/signup", json=body, headers=key())
    second = await client.post("/api/v1/auth/signup", json=body, headers=key())
    assert first.status_code == second.status_code == 201
    assert second.content == first.content
    assert second.headers["idempotency-replayed"] == "true"
    other = body | {"password": "another battery staple"}
    answer = await client.post("/api/v1/auth/signup", json=other, headers=key())
    assert code(answer) == (422, "idempotency_key_reused")


async def test_what_is_kept_of_a_request_does_not_betray_it(
    client: httpx.AsyncClient, database: Database
) -> None:
    """A plain digest of a body with a weak password would give it to whoever can guess."""
    body = f'{{"name":"Ada","email":"ada@example.com","password":"{PASSWORD}"}}'
    headers = key() | {"Content-Type": "application/json"}
    ok(await client.post("/api/v1/auth/signup", content=body, headers=headers))
    kept = text(
        "SELECT digest, sha256(asked) AS plain, sha256('\\x00' || asked) AS plain_with_query,"
        " position(convert_to(:password, 'UTF8') IN convert_to(k::text, 'UTF8') || digest || body)"
        " AS found FROM idempotency_keys k, convert_to(:body, 'UTF8') AS asked"
    )
    async with database.reading() as session:
        row = (await session.execute(kept, {"password": PASSWORD, "body": body})).one()
    assert len(row.digest) == 32
    assert row.digest not in {row.plain, row.plain_with_query}
    assert row.found == 0
