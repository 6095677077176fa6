"""What clients send and get about the offer."""

import re
import unicodedata
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from app.core.schemas import UNCHANGED, Input, Line, Output, Paragraphs, Version, Zone, example

_DAY = 24 * 60
_WEEK = 7 * _DAY
_YEAR = 366 * _DAY

Duration = Annotated[int, Field(ge=1, le=_WEEK)]
# The length of a list is that of what was sent: what repeats itself counts each time.
Durations = Annotated[
    list[Duration],
    Field(min_length=1, max_length=20, description="The first is the default."),
    AfterValidator(lambda durations: list(dict.fromkeys(durations))),
]
Buffer = Annotated[int, Field(ge=0, le=_DAY)]
Slug = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", min_length=1, max_length=100)
]
Kind = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]+([-_][a-z0-9]+)*$", max_length=50),
    Field(description="Lower case, so that what is asked for is found.", examples=["room"]),
]
SlotInterval = Annotated[int, Field(ge=1, le=_DAY)]
Notice = Annotated[int, Field(ge=0, le=_YEAR)]
WindowDays = Annotated[int, Field(ge=0, le=3660)]
Capacity = Annotated[
    int, Field(ge=1, le=10_000, description="Seats at one time; from 2, a group session.")
]
Reschedules = Annotated[int, Field(ge=0, le=1000)]
Limit = Annotated[int, Field(ge=1, le=10_000)]
LocationIds = Annotated[
    list[UUID], Field(max_length=100), AfterValidator(lambda ids: list(dict.fromkeys(ids)))
]
ReminderMinutes = Annotated[
    list[Annotated[int, Field(ge=1, le=_YEAR)]],
    Field(max_length=10),
    AfterValidator(lambda minutes: sorted(set(minutes), reverse=True)),
]


class Money(Input):
    amount: int = Field(ge=0, le=10**15, description="Minor units.", examples=[4500])
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217.", examples=["EUR"])


class Approval(StrEnum):
    AUTOMATIC = "automatic"
    REQUIRED = "required"


class AssignmentRule(StrEnum):
    """Who among the free providers gets a booking that names none."""

    ANY = "any"
    ROUND_ROBIN = "round_robin"
    LEAST_BUSY = "least_busy"
    COLLECTIVE = "collective"


class Limits(Input):
    """How often a service may be booked; null: as often as there is time."""

    per_day: Limit | None = Field(None, description="Of one provider, in a local day.")
    per_week: Limit | None = Field(None, description="Of one provider, from Monday to Sunday.")
    per_customer_per_day: Limit | None = None
    per_customer_active: Limit | None = Field(
        None, description="Bookings that one customer has ahead."
    )


class QuestionType(StrEnum):
    TEXT = "text"
    PARAGRAPH = "paragraph"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    EMAIL = "email"
    PHONE = "phone"
    SELECT = "select"
    MULTI_SELECT = "multi_select"


_WITH_OPTIONS = frozenset({QuestionType.SELECT, QuestionType.MULTI_SELECT})


class Question(Input):
    """Something that whoever books is asked."""

    key: Kind = Field(description="Its name among a booking's answers.", examples=["first_visit"])
    label: Line = Field(examples=["Is this your first visit?"])
    type: QuestionType
    required: bool = False
    options: list[Line] = Field(
        default_factory=list, max_length=100, description="What can be chosen, for the selects."
    )

    @model_validator(mode="after")
    def _options_where_one_chooses(self) -> Self:
        if (self.type in _WITH_OPTIONS) != bool(self.options):
            raise ValueError("select and multi_select have options, the other types have none")
        if len(set(self.options)) < len(self.options):
            raise ValueError("each option once")
        return self


class ResourceRequirement(Input):
    """Rooms or devices of a kind that an appointment takes, besides its provider."""

    resource_kind: Kind
    quantity: int = Field(1, ge=1, le=100)


def _keys_once(questions: list[Question]) -> list[Question]:
    if len({question.key for question in questions}) < len(questions):
        raise ValueError("each key once")
    return questions


def _kinds_once(requirements: list[ResourceRequirement]) -> list[ResourceRequirement]:
    if len({each.resource_kind for each in requirements}) < len(requirements):
        raise ValueError("each kind once")
    return requirements


Questions = Annotated[list[Question], Field(max_length=50), AfterValidator(_keys_once)]
ResourceRequirements = Annotated[
    list[ResourceRequirement], Field(max_length=20), AfterValidator(_kinds_once)
]


class ServiceCreate(Input):
    model_config = example(
        name="First consultation",
        durations_minutes=[30, 60],
        buffer_after_minutes=10,
        min_notice_minutes=120,
        booking_window_days=60,
        cancel_until_minutes=1440,
        price={"amount": 4500, "currency": "EUR"},
        limits={"per_customer_active": 2},
        questions=[
            {"key": "first_visit", "label": "Is this your first visit?", "type": "boolean"},
            {
                "key": "reason",
                "label": "What brings you here?",
                "type": "select",
                "required": True,
                "options": ["A question", "A check-up"],
            },
        ],
        resource_requirements=[{"resource_kind": "room", "quantity": 1}],
    )

    name: Line = Field(examples=["First consultation"])
    slug: Slug | None = Field(
        None, description="Default: made from the name.", examples=["first-consultation"]
    )
    description: Paragraphs = ""
    durations_minutes: Durations = Field(examples=[[30, 60]])
    buffer_before_minutes: Buffer = 0
    buffer_after_minutes: Buffer = Field(0, examples=[10])
    slot_interval_minutes: SlotInterval | None = Field(
        None, description="Minutes between starts; default: the duration.", examples=[15]
    )
    min_notice_minutes: Notice = Field(0, examples=[120])
    booking_window_days: WindowDays | None = Field(
        None,
        description="Bookable until the end of this many days from today, in the provider's zone.",
        examples=[60],
    )
    capacity: Capacity = 1
    price: Money | None = None
    approval: Approval = Field(
        Approval.AUTOMATIC, description="`required`: a booking is pending until staff confirm it."
    )
    assignment: AssignmentRule = Field(
        AssignmentRule.ANY,
        description=(
            "Who gets a booking that names no provider; `collective`: all of them take part."
        ),
    )
    allow_guests: bool = Field(False, description="May be booked without an account.")
    cancel_until_minutes: Notice = Field(
        0, description="Customers may cancel until this long before the start.", examples=[1440]
    )
    reschedule_until_minutes: Notice = Field(
        0, description="Customers may move it until this long before the start.", examples=[1440]
    )
    max_reschedules: Reschedules | None = Field(
        None, description="How often customers may move a booking; null: as often as they like."
    )
    limits: Limits = Field(default_factory=Limits)
    questions: Questions = Field(default_factory=list)
    location_ids: LocationIds = Field(
        default_factory=list, description="Where it is given; none: wherever its providers are."
    )
    resource_requirements: ResourceRequirements = Field(default_factory=list)
    reminder_minutes: ReminderMinutes | None = Field(
        None,
        description=(
            "How long before a booking its customer is reminded; []: never; null: as everywhere."
        ),
        examples=[[1440, 60]],
    )
    is_active: bool = True

    @model_validator(mode="after")
    def _has_slug(self) -> Self:
        if self.slug is None:
            self.slug = slug_of(self.name)
        return self


class ServicePatch(Input):
    """The fields to change; a field that is not named stays as it is, a limit too."""

    model_config = example(durations_minutes=[45], price=None, limits={"per_day": 8})

    name: Line = UNCHANGED
    slug: Slug = UNCHANGED
    description: Paragraphs = UNCHANGED
    durations_minutes: Durations = UNCHANGED
    buffer_before_minutes: Buffer = UNCHANGED
    buffer_after_minutes: Buffer = UNCHANGED
    slot_interval_minutes: SlotInterval | None = None
    min_notice_minutes: Notice = UNCHANGED
    booking_window_days: WindowDays | None = None
    capacity: Capacity = UNCHANGED
    price: Money | None = None
    approval: Approval = UNCHANGED
    assignment: AssignmentRule = UNCHANGED
    allow_guests: bool = UNCHANGED
    cancel_until_minutes: Notice = UNCHANGED
    reschedule_until_minutes: Notice = UNCHANGED
    max_reschedules: Reschedules | None = None
    limits: Limits = UNCHANGED
    questions: Questions = UNCHANGED
    location_ids: LocationIds = UNCHANGED
    resource_requirements: ResourceRequirements = UNCHANGED
    reminder_minutes: ReminderMinutes | None = None
    is_active: bool = UNCHANGED


class ServiceOut(Output):
    """A service that can be booked."""

    id: UUID
    name: str
    slug: str
    description: str
    durations_minutes: list[int]
    buffer_before_minutes: int
    buffer_after_minutes: int
    slot_interval_minutes: int | None
    min_notice_minutes: int
    booking_window_days: int | None
    capacity: int
    price: Money | None
    approval: Approval
    assignment: AssignmentRule
    allow_guests: bool
    cancel_until_minutes: int
    reschedule_until_minutes: int
    max_reschedules: int | None
    limits: Limits
    questions: list[Question]
    location_ids: list[UUID]
    resource_requirements: list[ResourceRequirement]
    reminder_minutes: list[int] | None
    is_active: bool
    version: Version
    created_at: datetime
    updated_at: datetime


class LocationCreate(Input):
    model_config = example(
        name="Clinic Paris", address="12 rue de la Paix, Paris", time_zone="Europe/Paris"
    )

    name: Line = Field(examples=["Clinic Paris"])
    address: Paragraphs = Field("", examples=["12 rue de la Paix, Paris"])
    time_zone: Zone


class LocationPatch(Input):
    model_config = example(name="Clinic Opéra")

    name: Line = UNCHANGED
    address: Paragraphs = UNCHANGED
    time_zone: Zone = UNCHANGED


class LocationOut(Output):
    id: UUID
    name: str
    address: str
    time_zone: str
    version: Version
    created_at: datetime
    updated_at: datetime


class ResourceCreate(Input):
    model_config = example(name="Room 1", kind="room")

    name: Line = Field(examples=["Room 1"])
    kind: Kind
    location_id: UUID | None = Field(None, description="Where it is; null: it can be anywhere.")
    is_active: bool = True


class ResourcePatch(Input):
    """The fields to change; a field that is not named stays as it is."""

    model_config = example(name="Room 2", is_active=False)

    name: Line = UNCHANGED
    kind: Kind = UNCHANGED
    location_id: UUID | None = None
    is_active: bool = UNCHANGED


class ResourceOut(Output):
    """A room or a device that services need, held together with the provider."""

    id: UUID
    name: str
    kind: str
    location_id: UUID | None
    is_active: bool
    version: Version
    created_at: datetime
    updated_at: datetime


def slug_of(name: str) -> str:
    """`Séance d'essai (30 min)` → `seance-d-essai-30-min`."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:100].strip("-") or "service"
