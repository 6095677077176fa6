"""Why a time cannot be had: the same judgement as when it is booked, told for each provider."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.commitments import CustomersRecords
from app.availability.rules import Reason
from app.availability.schemas import minute
from app.availability.service import Wish, plan_around
from app.core.clock import Clock
from app.core.prepared import Readers


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a provider cannot give a time; without a provider: why nobody can."""

    provider_id: UUID | None
    reason: Reason


class ExplanationService:
    def __init__(
        self, where: AsyncSession | Readers, customers: CustomersRecords, clock: Clock
    ) -> None:
        self._where = where
        self._customers = customers
        self._clock = clock

    async def obstacles(self, wish: Wish, customer_id: UUID | None) -> tuple[bool, list[Obstacle]]:
        """Whether a time can be had, by this customer if one is named, and what stands in the way.

        One round trip, and another one where customers are limited. Raises NotFound.
        """
        plan, duration = await plan_around(self._where, wish, self._clock())
        groups = plan.groups(wish.provider_id)
        if duration not in plan.durations or not groups:
            return False, [Obstacle(wish.provider_id, Reason.NOT_OFFERED)]
        if wish.start.timestamp() % 60:
            return False, [Obstacle(wish.provider_id, Reason.NOT_ALIGNED)]
        begins, now = minute(wish.start), self._clock().timestamp()
        leads = [group[0] for group in groups]
        reasons = {
            group[0].id: plan.why_not(group, duration, wish.seats, now, begins) for group in groups
        }
        free = [lead for lead in leads if reasons[lead.id] is None]
        if free and customer_id is not None and plan.limits.bind_customer:
            zones = {lead.hours.zone for lead in free}
            enough = await self._customers.zones_with_enough(
                self._where, plan, wish.start, zones, customer_id, without=wish.without
            )
            reasons |= {p.id: Reason.LIMIT_REACHED for p in free if p.hours.zone in enough}
        refused = [Obstacle(lead_id, why) for lead_id, why in reasons.items() if why is not None]
        return len(refused) < len(groups), refused
