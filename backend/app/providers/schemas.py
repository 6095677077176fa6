"""What clients send and get about providers."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from app.catalog.schemas import LocationIds
from app.core.schemas import UNCHANGED, Input, Line, Output, Paragraphs, Version, Zone, example

_EXAMPLE_ID = "0199f0c0-0000-7000-8000-000000000001"


class ProviderCreate(Input):
    model_config = example(
        display_name="Dr. Grace Hopper", bio="Compilers and clocks.", time_zone="Europe/Paris"
    )

    user_id: UUID | None = Field(None, description="The account that owns this calendar.")
    display_name: Line = Field(examples=["Dr. Grace Hopper"])
    bio: Paragraphs = ""
    time_zone: Zone
    location_ids: LocationIds = Field(default_factory=list)
    is_active: bool = True


class ProviderPatch(Input):
    """The fields to change; a field that is not named stays as it is."""

    model_config = example(location_ids=[_EXAMPLE_ID], is_active=False)

    user_id: UUID | None = None
    display_name: Line = UNCHANGED
    bio: Paragraphs = UNCHANGED
    time_zone: Zone = UNCHANGED
    location_ids: LocationIds = UNCHANGED
    is_active: bool = UNCHANGED


class ProviderOut(Output):
    id: UUID
    user_id: UUID | None
    display_name: str
    bio: str
    time_zone: str
    location_ids: list[UUID]
    is_active: bool
    version: Version
    created_at: datetime
    updated_at: datetime


class Assignment(Input):
    """A provider of a service."""

    provider_id: UUID
    weight: int = Field(1, ge=1, le=1000, description="Share among several, for round robin.")
    priority: int = Field(0, ge=0, le=1000, description="Higher is asked first.")


class Assignments(Input):
    model_config = example(providers=[{"provider_id": _EXAMPLE_ID, "weight": 2, "priority": 1}])

    providers: list[Assignment] = Field(max_length=1000)


class AssignmentsOut(Output):
    service_id: UUID
    providers: list[Assignment]
    version: Version
