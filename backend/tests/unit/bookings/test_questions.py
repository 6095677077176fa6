"""Which answers do for which question."""

from typing import Any

import pytest

from app.bookings.questions import checked_answers
from app.core.errors import ValidationFailed


def question(kind: str, *, required: bool = False, options: list[str] | None = None) -> Any:
    return {"key": "q", "label": "?", "type": kind, "required": required, "options": options}


OPTIONS = ["red", "blue"]
GOOD: list[tuple[str, Any, Any]] = [
    ("text", " Ada ", "Ada"),
    ("paragraph", "one\ntwo", "one\ntwo"),
    ("number", 3, 3),
    ("number", -2.5, -2.5),
    ("number", 0, 0),
    ("boolean", False, False),
    ("date", "2026-02-28", "2026-02-28"),
    ("email", "Ada@Example.com", "ada@example.com"),
    ("phone", "+33123456789", "+33123456789"),
    ("select", "blue", "blue"),
    ("multi_select", ["blue", "red"], ["blue", "red"]),
]
BAD: list[tuple[str, Any]] = [
    ("text", 3),
    ("text", "two\nlines"),
    ("text", "x" * 201),
    ("text", "bell \a"),
    ("paragraph", "x" * 5001),
    ("paragraph", ["a"]),
    ("number", "3"),
    ("number", True),
    ("number", 10**16),
    ("number", float("inf")),
    ("boolean", "true"),
    ("boolean", 1),
    ("date", "2026-02-30"),
    ("date", "20260228"),
    ("date", "2026-02-28T00:00:00Z"),
    ("date", 20260228),
    ("email", "ada"),
    ("email", {"a": 1}),
    ("phone", "0123"),
    ("select", "green"),
    ("select", ["red"]),
    ("multi_select", "red"),
    ("multi_select", ["red", "green"]),
    ("multi_select", ["red", "red"]),
    ("multi_select", [["red"]]),
    ("multi_select", [{}]),
]


@pytest.mark.parametrize(("kind", "answer", "kept"), GOOD)
def test_a_good_answer_is_kept(kind: str, answer: Any, kept: Any) -> None:
    assert checked_answers({"q": answer}, [question(kind, options=OPTIONS)]) == {"q": kept}


@pytest.mark.parametrize(("kind", "answer"), BAD, ids=str)
def test_another_answer_is_refused_where_it_stands(kind: str, answer: Any) -> None:
    with pytest.raises(ValidationFailed) as refused:
        checked_answers({"q": answer}, [question(kind, options=OPTIONS)])
    assert [error.pointer for error in refused.value.errors] == ["#/answers/q"]


@pytest.mark.parametrize("kind", sorted({kind for kind, _, _ in GOOD}))
@pytest.mark.parametrize("answer", [None, "", "  ", []], ids=repr)
def test_nothing_is_no_answer(kind: str, answer: Any) -> None:
    assert checked_answers({"q": answer}, [question(kind, options=OPTIONS)]) == {}
    with pytest.raises(ValidationFailed):
        checked_answers({"q": answer}, [question(kind, required=True, options=OPTIONS)])
    with pytest.raises(ValidationFailed):
        checked_answers({}, [question(kind, required=True, options=OPTIONS)])


def test_either_answer_to_a_required_yes_or_no_will_do() -> None:
    asked = [question("boolean", required=True)]
    assert checked_answers({"q": False}, asked) == {"q": False}


def test_nobody_answers_what_was_not_asked() -> None:
    with pytest.raises(ValidationFailed) as refused:
        checked_answers({"x": 1, "q": "yes"}, [question("text")])
    assert [e.pointer for e in refused.value.errors] == ["#/answers/x"]
