"""Booking again and again by a rule, and cancelling what is left of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.principal import Principal
from app.availability.errors import SlotTaken, SlotUnavailable
from app.availability.repetition_service import Repetition, RepetitionService
from app.availability.rules import Reason
from app.availability.service import (
    AvailabilityService,
    Opening,
    Refusal,
    Taking,
    Wish,
    local_day_around,
    taking,
)
from app.bookings import series_repository as repository
from app.bookings.assignment_service import choices, records_for
from app.bookings.questions import checked_answers
from app.bookings.recurrence import InvalidRule, Rule, occurrences, parse
from app.bookings.rules import (
    TRANSITIONS,
    Action,
    Caller,
    Role,
    Status,
    role_of,
    status_at,
    why_not,
)
from app.bookings.schemas import NamedProvider, NamedService
from app.bookings.series_models import BookingSeries
from app.bookings.series_schemas import (
    OnConflict,
    SeriesCancellation,
    SeriesCancelled,
    SeriesCreate,
    SeriesCreated,
    SeriesOut,
    SkippedOut,
)
from app.bookings.service import (
    customer_of,
    expire_each_in_time,
    new_booking,
)
from app.bookings.views import booking_out, called_off, described, difference
from app.bookings.waitlist_repository import announce
from app.core.clock import Clock
from app.core.errors import AppError, Forbidden, NotFound, ValidationFailed
from app.core.events import event_values, record
from app.core.ids import new_id
from app.core.metrics import BOOKINGS_CREATED
from app.core.preconditions import IfMatch
from app.core.unit_of_work import constraint_name, when_committed
from app.database import AnyRow


class SeriesService:
    def __init__(
        self, session: AsyncSession, availability: AvailabilityService, clock: Clock
    ) -> None:
        self._session = session
        self._availability = availability
        self._repetitions = RepetitionService(session, clock)
        self._clock = clock

    async def book(self, wanted: SeriesCreate, principal: Principal) -> SeriesCreated:
        """Book a time as often as a rule says, with one provider, in one transaction.

        Of those who can give the most of it, the service's assignment picks one. Seven round
        trips, however many bookings: the four of `RepetitionService`, the series,
        its event, and one that takes all times and writes all bookings; one where the customer's
        bookings are counted, and one for bookings that wait for approval.

        Raises:
            NotFound: no such service, or location.
            ValidationFailed: the rule, the answers or the customer.
            Forbidden: booking for another customer.
            SlotUnavailable, SlotTaken, SlotHeld, NoSeatsLeft: the first occurrence (`occurrence`)
                that cannot be had, if all are wanted or none can be.
        """
        customer_id = customer_of(wanted.customer_id, principal)
        chosen, reason = await self._chosen(wanted, customer_id)
        openings, refusals = await self._within_limits(chosen, customer_id)
        _check(wanted.on_conflict, openings, refusals)
        plan = chosen.plan
        series = BookingSeries(
            id=new_id(),
            service_id=plan.service_id,
            provider_id=chosen.lead.id,
            customer_id=customer_id,
            rrule=wanted.rrule,
            time_zone=chosen.lead.hours.zone,
            wall_start=_wall(wanted.start, chosen.lead.hours.zone),
            duration_minutes=openings[0].duration,
        )
        self._session.add(series)
        try:
            await self._session.flush()
        except IntegrityError as error:
            if constraint_name(error) == "fk_booking_series_customer_id_users":
                raise ValidationFailed.at("#/customer_id", "no such account") from None
            raise
        given = {
            "series_id": series.id,
            "customer_id": customer_id,
            "answers": checked_answers(wanted.answers, plan.questions),
            "notes": wanted.notes,
            "source": "customer" if customer_id == principal.user_id else "staff",
            "assigned": reason,
        }
        rows, lost = await self._take(openings, given, principal)
        refusals = sorted([*refusals, *((start, SlotTaken()) for start in lost)], key=_start)
        _check(wanted.on_conflict, rows, refusals)
        now, caller = self._clock(), Caller.of(principal)
        await expire_each_in_time(self._session, rows, now)
        when_committed(self._session, partial(BOOKINGS_CREATED.inc, len(rows)))
        await record(
            self._session,
            "series.created",
            subject_id=series.id,
            actor=principal.actor,
            after={"service_id": str(plan.service_id), "bookings": len(rows)},
        )
        return SeriesCreated(
            **_described(series, plan.service_name, chosen.lead.display_name),
            bookings=[booking_out(row, caller, now) for row in rows],
            skipped=[
                _skipped(start.astimezone(ZoneInfo(series.time_zone)), why)
                for start, why in refusals
            ],
        )

    async def show(self, series_id: UUID, principal: Principal) -> SeriesOut:
        """A series with its bookings. Two round trips.

        Raises:
            NotFound: no such series, or somebody else's.
        """
        caller, now = Caller.of(principal), self._clock()
        series, names, rows = await self._visible(series_id, caller)
        return SeriesOut(
            **_described(series, *names), bookings=[booking_out(row, caller, now) for row in rows]
        )

    async def cancel(
        self, series_id: UUID, wanted: SeriesCancellation, seen: IfMatch, principal: Principal
    ) -> SeriesCancelled:
        """Cancel what lies ahead of a series, or what lies ahead from a moment on.

        A customer's deadlines hold for each booking: what is too late is left, and listed. Seven
        round trips, however many bookings; three if there is nothing left to cancel.

        Raises:
            NotFound: no such series, or somebody else's.
            Forbidden: the caller may see it, and act on none of it.
            VersionMismatch: it has changed since the caller saw it.
        """
        caller, now = Caller.of(principal), self._clock()
        series, _, rows = await self._visible(series_id, caller, lock=True)
        seen.check(series.version)
        begin = max(now, wanted.from_ or now)
        off: dict[UUID, AnyRow] = {}
        skipped: list[SkippedOut] = []
        roles = {row.id: role_of(caller, row) or Role.READER for row in rows}
        if rows and set(roles.values()) == {Role.READER}:
            raise Forbidden
        for row in rows:
            if row.starts_at < begin or status_at(row, now) not in TRANSITIONS[Action.CANCEL][0]:
                continue
            why = why_not(roles[row.id], Action.CANCEL, row, now)
            if why is None:
                off[row.id] = row
            else:
                skipped.append(_skipped(row.starts_at.astimezone(ZoneInfo(row.time_zone)), why))
        cancelled = await self._call_off(off, roles, wanted.reason, principal) if off else []
        if off:
            await repository.mark_changed(self._session, series)
        return SeriesCancelled(
            id=series.id,
            cancelled=[booking_out(row, caller, now) for row in cancelled],
            skipped=skipped,
        )

    async def _chosen(
        self, wanted: SeriesCreate, customer_id: UUID
    ) -> tuple[Repetition, Mapping[str, Any]]:
        """Who gives the series, and why."""
        rule = _rule(wanted.rrule)
        wrong: list[InvalidRule] = []

        def starts_in(zone: str) -> Sequence[datetime]:
            try:
                return occurrences(rule, wanted.start, zone)
            except InvalidRule as error:
                wrong.append(error)
                return []

        wish = Wish(
            wanted.service_id,
            wanted.start,
            wanted.provider_id,
            wanted.location_id,
            wanted.duration_minutes,
            wanted.seats,
        )
        found = await self._repetitions.repetitions(
            wish, starts_in, locking=[customer_id], ask=records_for
        )
        if not found and wrong:
            raise ValidationFailed.at("#/rrule", str(wrong[0]))
        if not found:
            raise SlotUnavailable(Reason.NOT_OFFERED)
        most = max(len(repetition.openings) for repetition in found)
        best = {r.lead.id: r for r in found if len(r.openings) == most}
        if not most:
            _check(OnConflict.FAIL, [], next(iter(best.values())).refusals)
        firsts = [repetition.openings[0] for repetition in best.values()]
        together = Opening(
            found[0].plan,
            firsts[0].start,
            firsts[0].duration,
            wanted.seats,
            [opening.candidates[0] for opening in firsts],
            is_locked=True,
        )
        first = choices(together, requested=wanted.provider_id is not None)[0]
        return best[first.candidate.lead.id], first.reason

    async def _within_limits(
        self, chosen: Repetition, customer_id: UUID
    ) -> tuple[Sequence[Opening], Sequence[tuple[datetime, Refusal]]]:
        """What the customer may have of it: each booking counts for those after it."""
        limits = chosen.plan.limits
        if not limits.bind_customer:
            return chosen.openings, chosen.refusals
        zone = chosen.lead.hours.zone
        days = {o.start: local_day_around(zone, o.start) for o in chosen.openings}
        active, starts = await repository.starts_of_customer(
            self._session,
            customer_id,
            chosen.plan.service_id,
            now=self._clock(),
            between=(min(d[0] for d in days.values()), max(d[1] for d in days.values())),
        )
        counted = list(starts)
        openings: list[Opening] = []
        refusals = list(chosen.refusals)
        for opening in chosen.openings:
            begin, end = days[opening.start]
            that_day = sum(begin <= start < end for start in counted)
            if _reached(limits.per_customer_active, active) or _reached(
                limits.per_customer_per_day, that_day
            ):
                refusals.append((opening.start, SlotUnavailable(Reason.LIMIT_REACHED)))
                continue
            openings.append(opening)
            counted.append(opening.start)
            active += 1
        return openings, sorted(refusals, key=_start)

    async def _take(
        self, openings: Sequence[Opening], given: Mapping[str, Any], principal: Principal
    ) -> tuple[Sequence[AnyRow], Sequence[datetime]]:
        """Book them all; returns the bookings, and the starts that somebody else was faster with.

        Who books a single time of one provider's takes no lock, and may win against ours.
        """
        now = self._clock()
        takings: list[Taking] = []
        bookings: list[dict[str, Any]] = []
        for opening in openings:
            booking_id, candidate = new_id(), opening.candidates[0]
            booking = new_booking(opening, candidate, now)
            until = booking["expires_at"]
            how = taking(opening, candidate, booking_id, session_id=new_id(), until=until)
            takings.append(how)
            bookings.append(
                booking | {"id": booking_id, "allocation_id": how.allocation_id, **given}
            )
        events = [
            event_values(
                "booking.created",
                subject_id=booking["id"],
                actor=principal.actor,
                after=described(booking),
            )
            for booking in bookings
        ]
        rows = await repository.book(
            self._session, takings=takings, bookings=bookings, events=events
        )
        booked = {row.id for row in rows}
        lost = []
        for how, booking in zip(takings, bookings, strict=True):
            if booking["id"] not in booked:
                lost.append(booking["starts_at"])
                if how.subjects > 1:
                    await self._availability.undo(how)
        return rows, lost

    async def _call_off(
        self,
        rows: Mapping[UUID, AnyRow],
        roles: Mapping[UUID, Role],
        reason: str,
        principal: Principal,
    ) -> Sequence[AnyRow]:
        now = self._clock()
        events = []
        for row in rows.values():
            changes = called_off(row, roles[row.id], reason, now)
            before, after = difference(row, changes | {"status": Status.CANCELLED.value})
            events.append(
                event_values(
                    "booking.cancelled",
                    subject_id=row.id,
                    actor=principal.actor,
                    before=before,
                    after=after | {"reason": reason, "by": roles[row.id].value},
                )
            )
        cancelled = await repository.cancel(
            self._session,
            {booking_id: roles[booking_id].value for booking_id in rows},
            reason=reason,
            now=now,
            events=events,
        )
        await self._availability.release_many(
            [(row.id, row.allocation_id) for row in rows.values()]
        )
        subjects = {i for row in rows.values() for i in (*row.provider_ids, *row.resource_ids)}
        await announce(self._session, list(subjects))
        return cancelled

    async def _visible(
        self, series_id: UUID, caller: Caller, *, lock: bool = False
    ) -> tuple[BookingSeries, tuple[str, str], Sequence[AnyRow]]:
        found = await repository.series(self._session, series_id, lock=lock)
        rows = await repository.bookings(self._session, series_id, lock=lock) if found else []
        if found is None or not any(role_of(caller, row) for row in rows):
            raise NotFound
        series, service_name, provider_name = found
        names = (service_name, provider_name)
        return series, names, [row for row in rows if role_of(caller, row)]


def _rule(text: str) -> Rule:
    try:
        return parse(text)
    except InvalidRule as error:
        raise ValidationFailed.at("#/rrule", str(error)) from None


def _check(
    on_conflict: OnConflict,
    had: Sequence[object],
    refusals: Sequence[tuple[datetime, Refusal]],
) -> None:
    """Raise the first refusal, with its start, if all is wanted or nothing can be had."""
    if refusals and (on_conflict is OnConflict.FAIL or not had):
        start, error = refusals[0]
        error.extensions["occurrence"] = start.isoformat()
        raise error


def _reached(limit: int | None, count: int) -> bool:
    return limit is not None and count >= limit


def _start(refusal: tuple[datetime, Refusal]) -> datetime:
    return refusal[0]


def _skipped(start: datetime, error: AppError) -> SkippedOut:
    return SkippedOut(start=start, code=error.code, reason=error.extensions.get("reason"))


def _wall(start: datetime, zone: str) -> datetime:
    return start.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def _described(series: BookingSeries, service_name: str, provider_name: str) -> dict[str, Any]:
    return {
        "id": series.id,
        "rrule": series.rrule,
        "service": NamedService(id=series.service_id, name=service_name),
        "provider": NamedProvider(id=series.provider_id, display_name=provider_name),
        "time_zone": series.time_zone,
        "start": series.wall_start.replace(tzinfo=ZoneInfo(series.time_zone)),
        "duration_minutes": series.duration_minutes,
        "version": series.version,
        "created_at": series.created_at,
        "updated_at": series.updated_at,
    }
