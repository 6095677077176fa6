"""Everything a decision about a service's times needs, as one read brings it."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.availability.rules import Interval, SlotRules, WorkingHours


@dataclass(frozen=True, slots=True)
class PlannedProvider:
    """A provider of the service, with hours and, where they were asked for, taken times."""

    id: UUID
    display_name: str
    hours: WorkingHours
    versions: tuple[int, int, int]
    busy: Sequence[Interval] = ()
    time_off: Sequence[Interval] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A service and those who give it, the preferred ones first."""

    service_id: UUID
    service_name: str
    version: int
    durations: Sequence[int]
    buffer_before: int
    buffer_after: int
    slot_interval: int | None
    min_notice: int
    window_days: int | None
    cancel_until_minutes: int
    price_amount: int | None
    price_currency: str | None
    location_zone: str | None
    location_version: int | None
    providers: Sequence[PlannedProvider]

    def rules(self, duration: int) -> SlotRules:
        return SlotRules(
            duration=duration,
            interval=self.slot_interval or duration,
            buffer_before=self.buffer_before,
            buffer_after=self.buffer_after,
            min_notice=self.min_notice,
            window_days=self.window_days,
        )
