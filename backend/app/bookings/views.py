"""A booking as its callers see it, and as the log tells of it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from app.bookings.rules import Caller, Role, allowed_actions, role_of, status_at
from app.bookings.schemas import (
    AllowedActionOut,
    Assigned,
    BookingOut,
    Cancelled,
    Customer,
    HistoryActor,
    HistoryItem,
    NamedLocation,
    NamedProvider,
    NamedResource,
    NamedService,
    Policy,
)
from app.catalog.schemas import Money
from app.core.events import Event
from app.database import AnyRow

IMPERSONAL = (
    "status",
    "reference",
    "service_id",
    "provider_id",
    "location_id",
    "start",
    "end",
    "time_zone",
    "seats",
    "sequence",
    "by",
)
"""What the log says about a booking without saying whose it is, or why."""

_DESCRIBED = (
    "status",
    "reference",
    "service_id",
    "provider_id",
    "location_id",
    "customer_id",
    "starts_at",
    "ends_at",
    "time_zone",
    "seats",
)
_FOR_CUSTOMERS = frozenset({*IMPERSONAL, "reason"})


def booking_out(row: AnyRow, caller: Caller, now: datetime) -> BookingOut:
    """The row of a booking (`repository.view`), with what this caller may do now."""
    zone = ZoneInfo(row.time_zone)
    # Who may book for others, and not see what others have, does not act on it either.
    role = role_of(caller, row) or Role.READER
    provider = NamedProvider(id=row.provider_id, display_name=row.provider_name)
    return BookingOut(
        id=row.id,
        reference=row.reference,
        status=status_at(row, now),
        service=NamedService(id=row.service_id, name=row.service_name),
        provider=provider,
        providers=[NamedProvider(**p) for p in row.providers] if row.providers else [provider],
        location=_location(row),
        resources=[NamedResource(**resource) for resource in row.resources or ()],
        start=row.starts_at.astimezone(zone),
        end=row.ends_at.astimezone(zone),
        time_zone=row.time_zone,
        duration_minutes=row.duration_minutes,
        seats=row.seats,
        customer=_customer(row, caller),
        answers=row.answers,
        notes=row.notes,
        price=_price(row),
        policy=Policy(**row.policy),
        source=row.source,
        assignment=_assigned(row) if role is Role.STAFF else None,
        sequence=row.sequence,
        version=row.version,
        series_id=row.series_id,
        allowed_actions=[
            AllowedActionOut(action=a.action, until=a.until)
            for a in allowed_actions(role, row, now)
        ],
        cancelled=_cancelled(row, caller),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _assigned(row: AnyRow) -> Assigned | None:
    """What was decisive depends on the strategy; the rest is null."""
    kept = row.assigned
    return Assigned(**{n: kept.get(n) for n in Assigned.model_fields}) if kept else None


def _location(row: AnyRow) -> NamedLocation | None:
    if row.location_id is None:
        return None
    return NamedLocation(id=row.location_id, name=row.location_name, address=row.location_address)


def _customer(row: AnyRow, caller: Caller) -> Customer | None:
    """Whose it is. A guest is not told whether the address they gave has an account."""
    if row.guest_email is not None:
        return Customer(
            id=row.customer_id if caller.principal is not None else None,
            name=row.guest_name,
            email=row.guest_email,
            phone=row.guest_phone,
        )
    if row.customer_id is None:
        return None
    return Customer(
        id=row.customer_id,
        name=row.customer_name,
        email=row.customer_email,
        phone=row.customer_phone,
    )


def _price(row: AnyRow) -> Money | None:
    if row.price_amount is None:
        return None
    return Money(amount=row.price_amount, currency=row.price_currency)


def _cancelled(row: AnyRow, caller: Caller) -> Cancelled | None:
    if row.cancelled_at is None:
        return None
    by = row.cancelled_by
    if caller.principal is None and by == Role.CUSTOMER:
        by = Role.GUEST.value
    return Cancelled(by=by, reason=row.cancelled_reason, at=row.cancelled_at)


# --- The log ---------------------------------------------------------------------------------
def described(booking: Mapping[str, Any]) -> dict[str, Any]:
    """A booking's columns for the log: ids and times, nothing personal."""
    location_id = booking["location_id"]
    return {
        "status": booking["status"],
        "reference": booking["reference"],
        "service_id": str(booking["service_id"]),
        "provider_id": str(booking["provider_id"]),
        "location_id": str(location_id) if location_id else None,
        "customer_id": str(booking["customer_id"]) if booking["customer_id"] else None,
        "start": booking["starts_at"].astimezone(UTC).isoformat(),
        "end": booking["ends_at"].astimezone(UTC).isoformat(),
        "time_zone": booking["time_zone"],
        "seats": booking["seats"],
    }


def difference(row: AnyRow, changes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What changes of a booking's columns are to the log: members that differ, before and after."""
    before = {name: getattr(row, name) for name in _DESCRIBED}
    old, new = described(before), described(before | changes)
    changed = [name for name, value in new.items() if old[name] != value]
    return {name: old[name] for name in changed}, {name: new[name] for name in changed}


def called_off(row: AnyRow, role: Role, reason: str, now: datetime) -> dict[str, Any]:
    """What a booking's columns become when somebody calls it off."""
    return {
        "cancelled_by": role.value,
        "cancelled_reason": reason,
        "cancelled_at": now,
        "sequence": row.sequence + 1,
    }


def history(
    events: Sequence[Event], caller: Caller, role: Role, customer_id: UUID | None
) -> list[HistoryItem]:
    """What happened to a booking. Customers and guests are told nobody's id but their own."""

    def shown(payload: dict[str, Any] | None) -> dict[str, Any] | None:
        if payload is None or role in {Role.STAFF, Role.READER}:
            return payload
        own = {"customer_id"} if payload.get("customer_id") == str(customer_id) else set()
        return {name: value for name, value in payload.items() if name in _FOR_CUSTOMERS | own}

    def actor_id(event: Event) -> UUID | None:
        is_shown = role in {Role.STAFF, Role.READER} or caller.is_customer(event.actor_id)
        return event.actor_id if is_shown else None

    return [
        HistoryItem(
            at=event.occurred_at,
            type=event.type,
            actor=HistoryActor(type=event.actor_type, id=actor_id(event)),
            before=shown(event.before),
            after=shown(event.after),
        )
        for event in events
    ]
