"""Answers to a service's questions: asked for, checked, kept and shown."""

from typing import Any

from fastapi import FastAPI
from sqlalchemy import text

from tests.business import Business, Caller, ok, problem

NINE = "2026-03-03T09:00:00+01:00"
QUESTIONS = [
    {"key": "reason", "label": "Why do you come?", "type": "text", "required": True},
    {"key": "first", "label": "Is it your first visit?", "type": "boolean", "required": False},
    {
        "key": "how",
        "label": "How?",
        "type": "select",
        "required": False,
        "options": ["here", "by video"],
    },
]


async def book(caller: Caller, service: dict[str, Any], **fields: Any) -> Any:
    return await caller.post("/bookings", {"service_id": service["id"], "start": NINE} | fields)


async def test_answers_are_kept_and_shown(business: Business) -> None:
    service = await business.service(questions=QUESTIONS)
    await business.provider(service)
    ada = await business.customer()
    answers = {"how": "by video", "reason": "  A cough ", "first": False}
    booking = ok(await book(ada, service, answers=answers))
    assert booking["answers"] == {"reason": "A cough", "first": False, "how": "by video"}
    assert ok(await ada.get(f"/bookings/{booking['id']}"))["answers"] == booking["answers"]
    (listed,) = ok(await ada.get("/bookings"))["items"]
    assert listed["answers"] == booking["answers"]


async def test_what_is_wrong_with_answers_is_said_at_each_of_them(
    app: FastAPI, business: Business
) -> None:
    service = await business.service(questions=QUESTIONS)
    await business.provider(service)
    ada = await business.customer()
    for answers in ({}, {"reason": " "}, {"reason": None}):
        refused = problem(await book(ada, service, answers=answers), 422, "validation_failed")
        assert refused["errors"] == [
            {"detail": "an answer is required", "pointer": "#/answers/reason"}
        ]
    answers = {"reason": "A cough", "how": "by post", "a/b~c": 1, "first": "yes"}
    refused = problem(await book(ada, service, answers=answers), 422, "validation_failed")
    assert {e["pointer"] for e in refused["errors"]} == {
        "#/answers/how",
        "#/answers/a~1b~0c",
        "#/answers/first",
    }
    assert "by post" not in str(refused)
    problem(await book(ada, service, answers=["A cough"]), 422, "validation_failed")
    async with app.state.database.reading() as session:
        assert await session.scalar(text("SELECT count(*) FROM allocations")) == 0


async def test_what_is_asked_later_is_not_asked_of_who_has_booked(business: Business) -> None:
    service = await business.service()
    await business.provider(service)
    ada, admin = await business.customer(), await business.admin()
    booking = ok(await book(ada, service))
    ok(await admin.patch(f"/services/{service['id']}", {"questions": QUESTIONS}))
    move = {"start": "2026-03-03T10:00:00+01:00"}
    assert ok(await ada.post(f"/bookings/{booking['id']}/reschedule", move))["answers"] == {}


async def test_answers_are_exported_and_forgotten_with_the_person(
    app: FastAPI, business: Business
) -> None:
    service = await business.service(questions=QUESTIONS)
    await business.provider(service)
    ada, admin = await business.customer(), await business.admin()
    booking = ok(await book(ada, service, answers={"reason": "a canary in a coal mine"}))
    (exported,) = ok(await ada.get("/auth/me/export"))["bookings"]
    assert exported["answers"] == {"reason": "a canary in a coal mine"}
    assert (await admin.delete(f"/admin/users/{ada.user['id']}")).status_code == 204
    assert ok(await admin.get(f"/bookings/{booking['id']}"))["answers"] == {}
