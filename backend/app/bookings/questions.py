"""What a service asks of who books it, and whether the answers will do. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from pydantic import JsonValue, TypeAdapter, ValidationError

from app.auth.schemas import EmailAddress, PhoneNumber
from app.core.errors import FieldError, ValidationFailed
from app.core.schemas import Line, Paragraphs

_LARGEST: Final = 10**15
"""Up to here a number is the same in every client's arithmetic."""


def checked_answers(
    answers: Mapping[str, JsonValue], questions: Sequence[Mapping[str, Any]]
) -> dict[str, JsonValue]:
    """The answers as they are kept, in the order of the questions.

    Null, empty text and an empty list are no answer. A required yes-or-no wants either of them.

    Raises:
        ValidationFailed: with one error for each answer that is missing, wrong or not asked for.
    """
    asked = {question["key"] for question in questions}
    errors = [_error(key, "not a question of this service") for key in answers if key not in asked]
    kept: dict[str, JsonValue] = {}
    for question in questions:
        key, answer = question["key"], answers.get(question["key"])
        if isinstance(answer, str):
            answer = answer.strip()
        if answer is None or answer in ("", []):
            if question["required"]:
                errors.append(_error(key, "an answer is required"))
            continue
        try:
            kept[key] = _CHECKS[question["type"]](answer, question["options"] or [])
        except ValueError as error:
            errors.append(_error(key, str(error)))
    if errors:
        raise ValidationFailed(errors=errors)
    return kept


def _error(key: str, detail: str) -> FieldError:
    # A key that was not asked for may be anything (RFC 6901, 3).
    return FieldError(detail, f"#/answers/{key.replace('~', '~0').replace('/', '~1')}")


def _text(answer: JsonValue, kind: TypeAdapter[str], otherwise: str) -> str:
    try:
        return kind.validate_python(answer, strict=True)
    except ValidationError:
        raise ValueError(otherwise) from None


_LINE: TypeAdapter[str] = TypeAdapter(Line)
_PARAGRAPHS: TypeAdapter[str] = TypeAdapter(Paragraphs)
_EMAIL: TypeAdapter[str] = TypeAdapter(EmailAddress)
_PHONE: TypeAdapter[str] = TypeAdapter(PhoneNumber)


def _number(answer: JsonValue) -> int | float:
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        raise ValueError("a number")  # noqa: TRY004 - it becomes a client's error
    if not math.isfinite(answer) or abs(answer) > _LARGEST:
        raise ValueError("a number of at most 15 digits")
    return answer


def _boolean(answer: JsonValue) -> bool:
    if not isinstance(answer, bool):
        raise ValueError("true or false")  # noqa: TRY004 - it becomes a client's error
    return answer


def _date(answer: JsonValue) -> str:
    try:
        # Of the ways to write a date that Python reads, this accepts one.
        if isinstance(answer, str) and date.fromisoformat(answer).isoformat() == answer:
            return answer
    except ValueError:
        pass
    raise ValueError("a date, YYYY-MM-DD")


def _choice(answer: JsonValue, options: Sequence[str]) -> str:
    if not isinstance(answer, str) or answer not in options:
        raise ValueError("one of the options")
    return answer


def _choices(answer: JsonValue, options: Sequence[str]) -> list[JsonValue]:
    if not isinstance(answer, list) or len(answer) > len(options):
        raise ValueError("a list of different options")
    chosen = [_choice(option, options) for option in answer]
    if len(set(chosen)) < len(chosen):
        raise ValueError("a list of different options")
    return list(answer)


_CHECKS: Final[Mapping[str, Callable[[JsonValue, Sequence[str]], JsonValue]]] = {
    "text": lambda answer, _: _text(answer, _LINE, "one line of at most 200 characters"),
    "paragraph": lambda answer, _: _text(answer, _PARAGRAPHS, "text of at most 5000 characters"),
    "number": lambda answer, _: _number(answer),
    "boolean": lambda answer, _: _boolean(answer),
    "date": lambda answer, _: _date(answer),
    "email": lambda answer, _: _text(answer, _EMAIL, "an e-mail address"),
    "phone": lambda answer, _: _text(answer, _PHONE, "a phone number, such as +33123456789"),
    "select": _choice,
    "multi_select": _choices,
}
