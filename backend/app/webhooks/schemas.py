"""What clients send and get about webhooks."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, HttpUrl, StringConstraints, ValidationError

from app.core.schemas import UNCHANGED, Input, Output, Version, example
from app.webhooks.event_schemas import EventPattern

_MOST_PATTERNS = 50


def _target(text: str) -> str:
    """The URL in the one way to write it: `0x7f.1` is 127.0.0.1."""
    try:
        url = HttpUrl(text)
    except ValidationError:
        raise ValueError("not a URL that begins with https://") from None
    if url.username is not None or url.password is not None or url.fragment is not None:
        raise ValueError("neither a user, nor a password, nor a fragment")
    return str(url)


Target = Annotated[
    str,
    StringConstraints(max_length=2000, pattern=r"^https?://"),
    AfterValidator(_target),
    Field(description="https, at a public address.", examples=["https://example.com/hooks"]),
]
Patterns = Annotated[
    list[EventPattern],
    Field(
        min_length=1,
        max_length=_MOST_PATTERNS,
        description="Types (`booking.created`), all about one kind of thing (`booking.*`), or `*`.",
    ),
]


class WebhookCreate(Input):
    model_config = example(url="https://example.com/hooks", events=["booking.*"])

    url: Target
    events: Patterns
    is_active: bool = True


class WebhookPatch(Input):
    model_config = example(is_active=True)

    url: Target = UNCHANGED
    events: Patterns = UNCHANGED
    is_active: bool = UNCHANGED


class WebhookOut(Output):
    """A webhook without its secret."""

    id: UUID
    url: str
    events: list[str]
    is_active: bool
    disabled_reason: Literal["gone", "failing"] | None = Field(
        description="Why it was switched off: it answered 410, or nothing good for three days."
    )
    previous_secret_until: datetime | None = Field(
        description="Until then the secret before this one signs as well."
    )
    version: Version
    created_at: datetime
    updated_at: datetime


class WebhookWithSecret(WebhookOut):
    """A webhook whose secret is new, shown this once."""

    secret: Annotated[str, StringConstraints(pattern=r"^whsec_")] = Field(
        description="Verify signatures with it (Standard Webhooks).", repr=False
    )


class Try(Output):
    """One try, and what came of it."""

    at: datetime
    milliseconds: int
    status: int | None
    error: str | None = Field(examples=["timeout"])
    response: str | None = Field(description="How the answer began.")


DeliveryState = Literal["pending", "succeeded", "failed"]


class DeliveryOut(Output):
    """One event for one webhook."""

    id: UUID
    webhook_id: UUID
    event_id: UUID = Field(description="Also the header `webhook-id`.")
    event_type: str
    state: DeliveryState
    next_try_at: datetime | None
    tries: list[Try]
    request: str = Field(description="How the body begins.")
    created_at: datetime
