"""What clients send and get about API keys."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from app.auth.permissions import Permission
from app.core.schemas import Input, Instant, Line, Output, example


class ApiKeyCreate(Input):
    model_config = example(
        name="The website",
        permissions=["bookings:create"],
        expires_at="2099-12-31T00:00:00Z",
    )

    name: Line = Field(examples=["The website"])
    permissions: set[Permission] = Field(
        description="What it may do, as long as its owner may.", examples=[["bookings:create"]]
    )
    expires_at: Instant | None = Field(None, description="null: when it is revoked.")


class ApiKeyOut(Output):
    """A key as its owner sees it: everything but the key."""

    id: UUID
    name: str
    prefix: str = Field(description="How the key starts.", examples=["osk_4f1c0a92be37"])
    permissions: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")


class ApiKeyCreated(ApiKeyOut):
    """A new key, shown this once."""

    key: str = Field(description="Send it as `X-API-Key`.", repr=False)
