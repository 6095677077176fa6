"""Who is asked first to give a booking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.availability.plan import Candidate, Plan, PlannedProvider
from app.availability.service import Inquiry, Opening, local_week_around
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


def records_for(plan: Plan, start: datetime) -> Inquiry | None:
    """What must be known of those who give the service to say whose turn it is; None: nothing.

    It is read under the subjects' locks, so that many bookings at once are spread.
    """
    if plan.assignment not in STRATEGIES_WITH_RECORDS:
        return None
    if plan.assignment == ROUND_ROBIN:
        return repository.turns_lately()
    zones = {provider.hours.zone for provider in plan.providers}
    return repository.loads_in({zone: local_week_around(zone, start) for zone in zones})


def choices(opening: Opening, *, requested: bool) -> list[Choice]:
    """The candidates of an opening, those to be asked first before the others.

    `requested`: the caller named the provider. Where records decide between several, the opening
    has been looked at with those of `records_for`; if the strategy has changed just then, the
    plan's own order has to do.
    """
    plan, candidates = opening.plan, opening.candidates
    strategy = REQUESTED if requested and not plan.is_collective else plan.assignment
    is_ranked = len(candidates) > 1 and _strategy_of_records(plan) == strategy
    return _choices(strategy, candidates, _ranked(opening) if is_ranked else [])


def _strategy_of_records(plan: Plan) -> str | None:
    records = plan.providers[0].records
    return records["strategy"] if records is not None else None


def _ranked(opening: Opening) -> list[Ranked]:
    plan = opening.plan
    joining = {c.lead.id for c in opening.candidates if c.session is not None}
    contenders = [_contender(c.lead, joins=c.lead.id in joining) for c in opening.candidates]
    if plan.assignment == ROUND_ROBIN:
        team = [_contender(provider) for provider in plan.providers]
        turns = {p.id: repository.turns(p.records) for p in plan.providers}
        return by_turns(contenders, team, turns)
    return by_load(contenders, {p.id: repository.load(p.records) for p in plan.providers})


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
