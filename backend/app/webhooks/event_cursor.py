"""A place in the log as integrators keep it: opaque, and good for as long as the log is."""

import base64
import binascii
import struct
from uuid import UUID

from app.core.errors import ValidationFailed
from app.core.events import Position

BEGINNING = Position(-1, UUID(int=0))

_FORM = struct.Struct(">q16s")


def encode(position: Position) -> str:
    packed = _FORM.pack(position.transaction_id, position.event_id.bytes)
    return base64.urlsafe_b64encode(packed).decode()


def decode(cursor: str) -> Position:
    """Raises ValidationFailed: no such cursor was ever given."""
    try:
        transaction_id, event_id = _FORM.unpack(base64.b64decode(cursor, b"-_", validate=True))
    except (binascii.Error, struct.error, ValueError):
        raise ValidationFailed.at("#/after", "not a cursor of this list") from None
    return Position(transaction_id, UUID(bytes=event_id))
