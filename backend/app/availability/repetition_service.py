"""Times that are wished for again and again, decided together."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability import repository, taken_repository
from app.availability.errors import SlotUnavailable
from app.availability.plan import Plan, PlannedProvider
from app.availability.rules import Reason
from app.availability.schemas import minute
from app.availability.service import (
    WEEK_AROUND,
    Ask,
    Opening,
    Refusal,
    Wish,
    plan_around,
    refusal,
)
from app.core.clock import Clock


@dataclass(frozen=True, slots=True)
class Repetition:
    """What one provider, or all together, could give of a wish that repeats.

    Each opening has one candidate. `refusals` say why not, start by start. `plan` has all who
    give the service.
    """

    plan: Plan
    lead: PlannedProvider
    openings: Sequence[Opening]
    refusals: Sequence[tuple[datetime, Refusal]]


class RepetitionService:
    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def repetitions(
        self,
        wish: Wish,
        starts_in: Callable[[str], Sequence[datetime]],
        *,
        locking: Collection[UUID] = (),
        ask: Ask | None = None,
    ) -> list[Repetition]:
        """What each could give of a wish that repeats, the preferred ones first.

        `starts_in` has the starts on the clocks of a provider's zone, in order, beginning with the
        wish's own; without any, that provider is left out. Whatever is given takes time from what
        comes after it.

        Four round trips, however many starts: the service, the locks of its subjects and of
        whatever else is `locking`, the service again with what `ask` wants to know, and all that
        is taken meanwhile.

        Raises:
            NotFound: no such service, or location.
            SlotUnavailable: nobody gives it like this.
        """
        now = self._clock()
        plan, duration = await plan_around(self._session, wish, now)
        groups = plan.groups(wish.provider_id)
        if duration not in plan.durations or not groups:
            raise SlotUnavailable(Reason.NOT_OFFERED)
        if wish.start.timestamp() % 60:
            raise SlotUnavailable(Reason.NOT_ALIGNED)
        starts = {zone: starts_in(zone) for zone in {group[0].hours.zone for group in groups}}
        last = max((s[-1] for s in starts.values() if s), default=wish.start)
        subjects = plan.subject_ids
        await repository.lock_subjects(self._session, [*subjects, *locking])
        inquiry = ask(plan, wish.start) if ask is not None else None
        plan, _ = await plan_around(self._session, wish, now, subjects, last, inquiry)
        margin = timedelta(minutes=WEEK_AROUND if plan.limits.bind_provider else 0)
        during = Range(
            wish.start - timedelta(minutes=plan.buffer_before) - margin,
            last + timedelta(minutes=duration + plan.buffer_after) + margin,
        )
        plan = plan.with_taken(
            await taken_repository.taken_times(self._session, plan, during, now=now)
        )
        return [
            _repetition(plan, group, duration, wish.seats, now, starts[group[0].hours.zone])
            for group in plan.groups(wish.provider_id)
            if starts.get(group[0].hours.zone)
        ]


def _repetition(
    plan: Plan,
    group: Sequence[PlannedProvider],
    duration: int,
    seats: int,
    now: datetime,
    starts: Sequence[datetime],
) -> Repetition:
    """What a group could give of these starts, one after the other."""
    whole = replace(plan, providers=group)
    openings: list[Opening] = []
    refusals: list[tuple[datetime, Refusal]] = []
    for start in starts:
        begins = minute(start)
        near = whole.near(begins, duration)
        together = near.providers
        why = near.why_not(together, duration, seats, now.timestamp(), begins)
        if why is not None:
            refusals.append((start, refusal(near, [together], duration, begins, [why])))
            continue
        candidate = near.candidate(together, duration, begins)
        openings.append(Opening(plan, start, duration, seats, [candidate], is_locked=True))
        if candidate.session is None:
            whole = whole.having(candidate, begins, duration)
    return Repetition(plan, group[0], openings, refusals)
