"""The SQL of what is done with bookings: one lock, and one statement for each change."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    Update,
    Uuid,
    bindparam,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.availability.service import Taking, keeping, kept, takings
from app.bookings.allowance_repository import CustomersLimits, within_customers_limits
from app.bookings.models import Booking
from app.bookings.repository import (
    all_taken,
    prefixed,
    row_if_taken,
    view_of,
)
from app.core.events import EVENT_COLUMNS, Event
from app.core.prepared import Prepared
from app.database import AnyRow, table
from app.schedules.service import raising_calendar_version


def _locked() -> Select[Any]:
    # The row is waited for inside: whoever has just changed it is seen, in whatever they changed.
    bookings = table(Booking)
    locked = (
        select(bookings)
        .where(bookings.c.id == bindparam("booking_id", type_=Uuid()))
        .with_for_update()
    ).cte("locked")
    return view_of(locked)


_BOOKING_LOCKED = Prepared(_locked())


CHANGEABLE = (
    "status",
    "allocation_id",
    "provider_id",
    "provider_ids",
    "resource_ids",
    "location_id",
    "starts_at",
    "ends_at",
    "time_zone",
    "wall_start",
    "duration_minutes",
    "assigned",
    "manage_digest",
    "manage_salt",
    "expires_at",
    "reschedules",
    "sequence",
    "cancelled_by",
    "cancelled_reason",
    "cancelled_at",
)
"""What an action may change of a booking."""


def _changing() -> Update:
    bookings = table(Booking)
    values: dict[str, Any] = {
        name: bindparam(f"booking_{name}", type_=bookings.c[name].type) for name in CHANGEABLE
    }
    return (
        update(bookings)
        .where(
            bookings.c.provider_id == bindparam("changed_provider_id", type_=Uuid()),
            bookings.c.id == bindparam("changed_id", type_=Uuid()),
        )
        .values(values | {"version": bookings.c.version + 1, "updated_at": func.now()})
        .returning(*bookings.c)
    )


def _change(condition: ColumnElement[bool] | None = None, parts: Sequence[CTE] = ()) -> Select[Any]:
    changed = _changing().where(true() if condition is None else condition).cte("changed")
    columns = table(Event).c
    event = select(*(bindparam(f"event_{n}", type_=columns[n].type) for n in EVENT_COLUMNS))
    logged = insert(table(Event)).from_select(list(EVENT_COLUMNS), event.select_from(changed))
    return view_of(changed).add_cte(*parts, logged.cte("logged"))


def _move(taken: CTE, parts: Sequence[CTE]) -> Select[Any]:
    moved = _changing().where(all_taken(taken)).cte("moved")
    logged = row_if_taken(taken, table(Event), "event_", EVENT_COLUMNS).cte("logged")
    raised = raising_calendar_version(select(taken.c.subject_id)).cte("raised")
    return view_of(moved).add_cte(*parts, logged, raised)


_CHANGE = Prepared(_change())
_CONFIRM = Prepared(_change(*keeping()))
_MOVE = {
    how: Prepared(_move(*taking)) for how, taking in takings(within_customers_limits()).items()
}


async def view_locked(session: AsyncSession, booking_id: UUID) -> AnyRow | None:
    """The booking as it is once everybody who is changing it has done so; it is then ours."""
    parameters = {"booking_id": booking_id}
    row: AnyRow | None = await _BOOKING_LOCKED.first(session, parameters)
    return row


async def change(
    session: AsyncSession, row: AnyRow, changes: dict[str, Any], *, event: dict[str, Any]
) -> AnyRow:
    """Change a booking whose row is locked, and log it. One statement, one round trip.

    Returns the booking as it is now, like `view`.
    """
    parameters = _changed(row, changes) | prefixed("event_", event)
    changed: AnyRow = (await _CHANGE.all(session, parameters))[0]
    return changed


async def confirm(
    session: AsyncSession, row: AnyRow, changes: dict[str, Any], *, event: dict[str, Any]
) -> AnyRow | None:
    """`change` for what owns its time from now on; None: its time is no longer all there."""
    subjects = [*row.provider_ids, *row.resource_ids]
    parameters = _changed(row, changes) | prefixed("event_", event)
    parameters |= kept(row.id, row.allocation_id, subjects)
    confirmed: AnyRow | None = await _CONFIRM.first(session, parameters)
    return confirmed


async def move(
    session: AsyncSession,
    row: AnyRow,
    changes: dict[str, Any],
    *,
    taking: Taking,
    event: dict[str, Any],
    limits: CustomersLimits,
) -> AnyRow | None:
    """Take another time for a booking whose row is locked and whose own time is given back.

    One statement, one round trip, and None as `book` says it.
    """
    parameters = (
        taking.parameters
        | {"taken_subjects": taking.subjects}
        | _changed(row, changes)
        | prefixed("event_", event)
        | limits.parameters
    )
    moved: AnyRow | None = await _MOVE[taking.how].first(session, parameters)
    return moved


def _changed(row: AnyRow, changes: dict[str, Any]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in CHANGEABLE} | changes
    return prefixed("booking_", values) | {
        "changed_provider_id": row.provider_id,
        "changed_id": row.id,
    }
