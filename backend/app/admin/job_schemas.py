"""What administrators get about jobs."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from app.core.pagination import Page
from app.core.schemas import Output

JobState = Literal["queued", "picked", "failed"]


class JobOut(Output):
    """A job that is not done; those that failed for good stay until somebody decides."""

    id: int
    name: str = Field(examples=["webhooks.deliver"])
    subject_id: UUID = Field(description="What it is about.")
    state: JobState
    attempts: int = Field(description="How often it has failed.")
    error: str | None = Field(description="The kind of its last error.", examples=["MailNotSent"])
    created_at: datetime
    due_at: datetime


class QueueDepth(Output):
    """How many jobs of a name are in a state."""

    name: str
    state: JobState
    number: int


class JobsPage(Page[JobOut]):
    """Jobs, and how many there are in all."""

    depth: list[QueueDepth]
