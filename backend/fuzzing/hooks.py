"""What Schemathesis cannot know from the document: accounts, likely values, and what is no failure.

It is given to Schemathesis by `fuzzing.run`, which also says as whom to ask.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import schemathesis
from hypothesis import strategies as st

from fuzzing.world import log_in

ROLE = os.environ["FUZZ_ROLE"]

# Why a request that the document allows may be refused as invalid: what no JSON Schema can say.
# Any other reason is a rule that the document keeps from its readers, and a failure.
UNSAYABLE = (
    # two values, and what lies between them
    "ends after it starts",
    "at most 62 days",
    "at most 366 days",
    "does not fit in",
    "goes with the scope",
    "either a guest or a customer",
    "select and multi_select have options",
    # what stands twice
    "each key once",
    "each kind once",
    "each provider once",
    "each weekday once",
    # what a text means
    "neither a user, nor a password, nor a fragment",
    "not a URL that begins with https://",
    "not a public address",
    "not an IANA time zone name",
    "not a cursor of this list",
    "not a list of entity tags",
    "no link of ours",
    "a country, or part of one",
    "RFC 5545",
    "special-use or reserved name",
    "years 1970 to 2199",
    # white space alone is nothing, once it is stripped
    "at least 1 character",
    # a rule that is a setting
    "at least 12 characters",
    "https is needed",
    "too easy to guess",
    # what there is, and what is past
    "not one of the service's durations",
    "it lies in the past",
    "no such",
    "they do not give this service",
    "keeps its name",
    "you own no calendar",
)

_first = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
_instants = st.one_of(
    st.integers(0, 14 * 24 * 12).map(lambda number: _first + timedelta(minutes=5 * number)),
    st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
)
schemathesis.openapi.format("date-time", _instants.map(lambda instant: instant.isoformat()))
schemathesis.openapi.format("date", _instants.map(lambda instant: instant.date().isoformat()))
schemathesis.openapi.format(
    "email", st.from_regex(r"[a-z0-9]{1,20}@example\.(com|org)", fullmatch=True)
)


class Account:
    """A token, and another one once it is no good any more: an operation may have ended it."""

    token = log_in(ROLE, os.environ)


@schemathesis.auth(refresh_interval=None)
class Bearer:
    def get(self, case: Any, context: Any) -> str | None:
        return Account.token

    def set(self, case: Any, data: str | None, context: Any) -> None:
        if data is not None:
            case.headers = case.headers or {}
            case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Say of the token that it is a header, by which Schemathesis sees whether it is needed."""
    raw_schema["components"]["securitySchemes"]["Bearer"] = {"type": "http", "scheme": "bearer"}


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Go on with a new account where the old one has ended, or nobody knows its password."""
    sent = response.request.headers.get("Authorization")
    is_ours = Account.token is not None and sent == f"Bearer {Account.token}"
    has_ended = _problem(response).get("code") == "invalid_token"
    is_done = response.status_code == HTTPStatus.NO_CONTENT
    has_new_password = is_done and response.request.path_url.endswith("/auth/me/password")
    if is_ours and (has_ended or has_new_password):
        Account.token = log_in(ROLE, os.environ)


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether it is a failure."""
    if response.status_code == HTTPStatus.BAD_REQUEST and response.content.startswith(
        b"Invalid HTTP request"
    ):
        return False  # by uvicorn: what arrived was no HTTP, and has no problem document
    if None in (case.path_parameters or {}).values():
        return False  # a path without its parameter is another operation's, or nobody's
    is_invalid = response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    if type(failure).__name__ == "RejectedPositiveData" and is_invalid:
        return not _is_unsayable(_problem(response))
    return True


def _is_unsayable(problem: dict[str, Any]) -> bool:
    if problem["code"] != "validation_failed":
        return True  # a slot, a policy, a key used before: the state says no
    return bool(problem["errors"]) and all(
        any(reason in error["detail"] for reason in UNSAYABLE) for error in problem["errors"]
    )


def _problem(response: Any) -> dict[str, Any]:
    try:
        found = json.loads(response.content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
