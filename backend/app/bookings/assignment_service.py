"""Who is asked first to give a booking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.plan import Candidate, PlannedProvider
from app.availability.service import AvailabilityService, Opening, local_week_around
from app.bookings import assignment_repository as repository
from app.bookings.assignment import (
    REQUESTED,
    ROUND_ROBIN,
    STRATEGIES_WITH_RECORDS,
    Contender,
    Ranked,
    by_load,
    by_turns,
)


@dataclass(frozen=True, slots=True)
class Choice:
    """A candidate in their place, and the reason, which the booking keeps."""

    candidate: Candidate
    reason: Mapping[str, Any]


class AssignmentService:
    def __init__(self, session: AsyncSession, availability: AvailabilityService) -> None:
        self._session = session
        self._availability = availability

    async def choices(self, opening: Opening, *, requested: bool) -> list[Choice]:
        """The candidates of an opening, those to be asked first before the others.

        `requested`: the caller named the provider. What the service's plan orders takes no round
        trip; where records decide between several, one reads them, after the subjects' locks are
        taken (one more, if the opening has not), so that many bookings at once are spread.
        """
        plan, candidates = opening.plan, opening.candidates
        strategy = REQUESTED if requested and not plan.is_collective else plan.assignment
        if strategy not in STRATEGIES_WITH_RECORDS or len(candidates) == 1:
            return _choices(strategy, candidates, [])
        if not opening.is_locked:
            await self._availability.lock(plan.subject_ids)
        return _choices(strategy, candidates, await self._ranked(opening))

    async def _ranked(self, opening: Opening) -> list[Ranked]:
        plan = opening.plan
        joining = {c.lead.id for c in opening.candidates if c.session is not None}
        contenders = [_contender(c.lead, joins=c.lead.id in joining) for c in opening.candidates]
        if plan.assignment == ROUND_ROBIN:
            team = [_contender(provider) for provider in plan.providers]
            ids = [member.provider_id for member in team]
            records = await repository.turns(self._session, plan.service_id, ids)
            return by_turns(contenders, team, records)
        weeks = {
            c.lead.id: local_week_around(c.lead.hours.zone, opening.start)
            for c in opening.candidates
        }
        return by_load(contenders, *await repository.loads(self._session, weeks))


def _contender(provider: PlannedProvider, *, joins: bool = False) -> Contender:
    return Contender(provider.id, provider.priority, provider.weight, joins)


def _choices(
    strategy: str, candidates: Sequence[Candidate], ranked: Sequence[Ranked]
) -> list[Choice]:
    by_lead: dict[UUID, Candidate] = {c.lead.id: c for c in candidates}
    ranked = ranked or [Ranked(lead_id, {}) for lead_id in by_lead]
    return [
        Choice(
            by_lead[found.provider_id],
            {"strategy": strategy, "candidates": len(candidates), "rank": rank, **found.facts},
        )
        for rank, found in enumerate(ranked, start=1)
    ]
