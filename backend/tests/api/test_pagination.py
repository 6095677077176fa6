import base64
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.business import Business, Caller, execute, ok, problem

ID = "0199f0c0-0000-7000-8000-000000000000"
LISTS = ["/services", "/locations", "/providers", "/bookings", "/admin/audit-log"]


@pytest.fixture
async def admin(business: Business) -> Caller:
    return await business.admin()


def cursor(*values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()


async def add(admin: Caller, *names: str) -> list[dict[str, Any]]:
    body = {"time_zone": "UTC"}
    return [ok(await admin.post("/locations", body | {"name": name})) for name in names]


async def walk(caller: Caller, path: str, **query: Any) -> list[list[dict[str, Any]]]:
    """All pages, one after the other."""
    pages = []
    while True:
        page = ok(await caller.get(path, params=query))
        pages.append(page["items"])
        if page["next_cursor"] is None:
            return pages
        query["cursor"] = page["next_cursor"]


def names(pages: list[list[dict[str, Any]]]) -> list[str]:
    return [item["name"] for page in pages for item in page]


# --- Limits -----------------------------------------------------------------------------------
async def test_a_page_has_fifty_items_unless_asked_for_up_to_two_hundred(
    app: FastAPI, admin: Caller
) -> None:
    await execute(
        app,
        "INSERT INTO locations (id, name, time_zone)"
        " SELECT gen_random_uuid(), lpad(n::text, 3, '0'), 'UTC' FROM generate_series(1, 201) n",
    )
    for query, sizes in (
        ({}, [50, 50, 50, 50, 1]),
        ({"limit": 200}, [200, 1]),
        ({"limit": 67}, [67, 67, 67]),
    ):
        pages = await walk(admin, "/locations", **query)
        assert [len(page) for page in pages] == sizes
        assert names(pages) == [f"{n:03}" for n in range(1, 202)]


async def test_an_empty_list_is_one_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/services")
    assert ok(answer) == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("limit", ["0", "-1", "201", "1.5", "", "ten", str(2**63)])
async def test_a_limit_out_of_range_is_refused(admin: Caller, limit: str) -> None:
    for path in LISTS:
        answer = await admin.get(path, params={"limit": limit})
        body = problem(answer, 422, "validation_failed")
        assert [error["pointer"] for error in body["errors"]] == ["#/limit"]


# --- Walking ----------------------------------------------------------------------------------
@pytest.mark.parametrize("sort", ["name", "-name", "created_at", "-created_at"])
async def test_every_row_is_seen_once_and_in_order(admin: Caller, sort: str) -> None:
    made = await add(admin, "c", "a", "b", "a", "d", "a")
    column = sort.removeprefix("-")
    expected = sorted(made, key=lambda row: (row[column], row["id"]), reverse=sort.startswith("-"))
    for limit in (1, 2, 3, 6, 7):
        pages = await walk(admin, "/locations", sort=sort, limit=limit)
        assert [row for page in pages for row in page] == expected


@pytest.mark.parametrize("sort", ["name", "-name"])
async def test_rows_that_come_while_one_walks_neither_repeat_nor_hide_others(
    admin: Caller, sort: str
) -> None:
    made = {row["id"] for row in await add(admin, "b", "d", "d", "f", "h")}
    seen: list[str] = []
    query = {"limit": 2, "sort": sort}
    while True:
        page = ok(await admin.get("/locations", params=query))
        seen += [row["id"] for row in page["items"]]
        if page["next_cursor"] is None:
            break
        await add(admin, "a", "d", "i")  # before, among and after those that were there
        query["cursor"] = page["next_cursor"]
    assert len(seen) == len(set(seen))
    assert made <= set(seen)


async def test_a_row_that_goes_while_one_walks_hides_no_other(app: FastAPI, admin: Caller) -> None:
    rows = await add(admin, "a", "b", "c", "d")
    first = ok(await admin.get("/locations", params={"limit": 2}))
    await execute(app, "DELETE FROM locations WHERE name IN ('a', 'b')")
    query = {"limit": 2, "cursor": first["next_cursor"]}
    assert ok(await admin.get("/locations", params=query)) == {
        "items": rows[2:],
        "next_cursor": None,
    }


@pytest.mark.parametrize("name", ["\U0001f600" * 199, '"' * 199, "\\" * 199, "é" * 199, "%_'; --"])
async def test_a_cursor_holds_the_longest_and_strangest_name(admin: Caller, name: str) -> None:
    await add(admin, *(f"{name}{n}" for n in range(3)))
    for sort in ("name", "-name"):
        pages = await walk(admin, "/locations", limit=1, sort=sort)
        assert sorted(names(pages)) == [f"{name}{n}" for n in range(3)]


async def test_the_log_can_be_walked(admin: Caller) -> None:
    await add(admin, *"abcdefg")
    whole = ok(await admin.get("/admin/audit-log"))["items"]
    pages = await walk(admin, "/admin/audit-log", limit=3)
    assert [entry for page in pages for entry in page] == whole
    instants = [entry["occurred_at"] for entry in whole]
    assert instants == sorted(instants, reverse=True)


async def test_filters_hold_on_every_page(admin: Caller) -> None:
    await add(admin, *"abcde")
    query = {"type": "location.created", "limit": 2}
    pages = await walk(admin, "/admin/audit-log", **query)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert {entry["type"] for page in pages for entry in page} == {"location.created"}


# --- Cursors that are none ----------------------------------------------------------------------
BROKEN = {
    "text": "nonsense",
    "empty": "",
    "no base 64": "!!!",
    "base 64 of another alphabet": "++//",
    "padding alone": "====",
    "NUL": "\0",
    "not ASCII": "é",
    "not UTF-8": "_____w",
    "no JSON": base64.urlsafe_b64encode(b"{").decode(),
    "an object": base64.urlsafe_b64encode(b'{"a":1,"b":2,"c":3}').decode(),
    "a number": base64.urlsafe_b64encode(b"7").decode(),
    "text inside": base64.urlsafe_b64encode(b'"abc"').decode(),
    "deep": base64.urlsafe_b64encode(b"[" * 1400).decode(),
    "huge": "a" * 6_000,
    "too few": cursor("name", "a"),
    "too many": cursor("name", "a", ID, 1),
    "another sort": cursor("created_at", "2026-01-01T00:00:00+00:00", ID),
    "another direction": cursor("-name", "a", ID),
    "a sort that is a list": cursor(["name"], "a", ID),
    "a number for text": cursor("name", 1, ID),
    "null for text": cursor("name", None, ID),
    "a list for text": cursor("name", ["a"], ID),
    "NUL in text": cursor("name", "a\0", ID),
    "a lone surrogate in text": cursor("name", "\ud800", ID),
    "no id": cursor("name", "a", "x"),
    "a number for an id": cursor("name", "a", 1),
    "null for an id": cursor("name", "a", None),
    "a list for an id": cursor("name", "a", [ID]),
}
BROKEN_INSTANTS = {
    "text for an instant": cursor("created_at", "yesterday", ID),
    "a date for an instant": cursor("created_at", "2026-01-01", ID),
    "an instant without an offset": cursor("created_at", "2026-01-01T00:00:00", ID),
    "a number for an instant": cursor("created_at", 1, ID),
    "NaN for an instant": cursor("created_at", float("nan"), ID),
    "before all years": cursor("created_at", "0001-01-01T00:00:00+14:00", ID),
    "after all years": cursor("created_at", "9999-12-31T23:59:59-14:00", ID),
}


@pytest.fixture
async def refuses(client: httpx.AsyncClient) -> Any:
    async def refuses(value: str, sort: str) -> None:
        params = {"cursor": value, "sort": sort}
        for path in ("/services", "/locations", "/providers"):
            answer = await client.get(f"/api/v1{path}", params=params)
            problem(answer, 422, "validation_failed")

    return refuses


async def test_what_is_no_cursor_is_refused(refuses: Any) -> None:
    for value in BROKEN.values():
        await refuses(value, "name")


async def test_what_is_no_cursor_of_instants_is_refused(refuses: Any) -> None:
    for value in BROKEN_INSTANTS.values():
        await refuses(value, "created_at")


async def test_the_log_refuses_what_is_no_cursor(admin: Caller) -> None:
    for value in (*BROKEN.values(), *BROKEN_INSTANTS.values(), cursor("name", "a", ID)):
        answer = await admin.get("/admin/audit-log", params={"cursor": value})
        problem(answer, 422, "validation_failed")


# --- Sorts that are none ------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/services", "/locations", "/providers"])
async def test_an_unknown_sort_is_refused(client: httpx.AsyncClient, path: str) -> None:
    for sort in (
        "",
        "-",
        "--name",
        "+name",
        "name,id",
        "Name",
        "price",
        "id",
        "name; DROP TABLE x",
    ):
        answer = await client.get(f"/api/v1{path}", params={"sort": sort})
        body = problem(answer, 422, "validation_failed")
        assert [error["pointer"] for error in body["errors"]] == ["#/sort"]
