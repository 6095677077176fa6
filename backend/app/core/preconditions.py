"""Conditional requests (RFC 9110, 13): versions as entity tags."""

import re
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import Depends, Header, Request, Response

from app.core.errors import ValidationFailed, VersionMismatch

_TAG = re.compile(r'(?P<weak>W/)?"(?P<opaque>[\x21\x23-\x7e\x80-\xff]*)"')
_ANY_TAG = r'(W/)?"[\x21\x23-\x7e\x80-\xff]*"'
# Empty elements are to be accepted (RFC 9110, 5.6.1.2).
_TAGS = rf"[\t ,]*{_ANY_TAG}([\t ]*,[\t ,]*{_ANY_TAG})*[\t ,]*"


def etag(version: int) -> str:
    """The entity tag of a resource at `version`."""
    return f'"{version}"'


class IfMatch:
    """The versions a client says it has seen, `*` for whichever there is, or None: no matter."""

    def __init__(self, tags: frozenset[str] | Literal["*"] | None) -> None:
        self._tags = tags

    def check(self, version: int | None) -> None:
        """Raise VersionMismatch if the client has not seen this version; None: nothing is there."""
        if self._tags is None:
            return
        if version is None or (self._tags != "*" and str(version) not in self._tags):
            raise VersionMismatch


async def if_match(
    value: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description="The version you have seen.",
            examples=['"3"'],
        ),
    ] = None,
) -> IfMatch:
    if value is None:
        return IfMatch(None)
    if value.strip(" \t") == "*":
        return IfMatch("*")
    if re.fullmatch(_TAGS, value) is None:
        raise ValidationFailed.at("#/If-Match", "not a list of entity tags")
    tags = _TAG.finditer(value)
    # A weak tag never matches here: the comparison is strong (RFC 9110, 13.1.1).
    return IfMatch(frozenset(tag["opaque"] for tag in tags if not tag["weak"]))


Precondition = Annotated[IfMatch, Depends(if_match)]


def answer_in_full(request: Request) -> None:
    """Whatever the client has seen: for an answer of which its entity tag does not tell all."""
    request.scope["answered_in_full"] = True


def etag_matches(request: Request, response: Response) -> bool:
    """Whether `If-None-Match` names the tag of this successful answer."""
    wanted = request.headers.getlist("if-none-match")
    current = response.headers.get("etag")
    if not wanted or current is None or response.status_code != HTTPStatus.OK:
        return False
    return not request.scope.get("answered_in_full") and is_known(",".join(wanted), current)


def is_known(wanted: str, etag: str) -> bool:
    """Whether a value of `If-None-Match` names this tag (weak comparison: RFC 9110, 13.1.2)."""
    if wanted == etag or wanted.strip() == "*":
        return True
    opaque = etag.removeprefix("W/").strip('"')
    return any(tag["opaque"] == opaque for tag in _TAG.finditer(wanted))
