"""Letters: what a mail says, set as plain text and as HTML from the same draft."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from app.core.words import Words

_TEMPLATES: Final = "templates"
_BREAKS: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
"""Whatever could end a line. Spaces that hold a time together stay."""


@dataclass(frozen=True, slots=True)
class Link:
    """What it is for, and where it leads."""

    action: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is to be said, in the order in which it is read. Nothing in it is markup."""

    subject: str
    before: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    """What it is about: a name and a value each."""
    items: Sequence[str] = ()
    link: Link | None = None
    after: Sequence[str] = ()
    small: Sequence[Link] = ()
    """What stands at the end, such as how to have no more of these."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What to say: a subject, a plain text and the same as HTML, in one language."""

    subject: str
    text: str
    html: str
    language: str


def set_letter(draft: Draft, say: Words, project: str) -> Letter:
    """The draft as text and as HTML.

    What people wrote is one line wherever it stands, so that it can't pass for a part of the
    letter, and is escaped in the HTML.
    """
    values = {
        "language": say.tag,
        "project": project,
        "greeting": say("Hello,"),
        "instead": say("If that does not work, copy this address:"),
        "automatic": say("This mail was sent automatically by {project}.", project=project),
        "draft": draft,
    }
    text, html = (_template(kind).render(values) for kind in ("txt", "html"))
    return Letter(_one_line(draft.subject), text, html, say.tag)


def _one_line(text: str) -> str:
    return _BREAKS.sub(" ", text).strip()


@cache
def _template(kind: str) -> Template:
    environment = Environment(
        loader=PackageLoader("app.core", _TEMPLATES),
        autoescape=kind == "html",  # noqa: S701 - plain text has no markup to escape
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["line"] = _one_line
    return environment.get_template(f"letter.{kind}.jinja")
