"""Which form of an answer a client asks for (RFC 9110, 12.5.1)."""

from collections.abc import Sequence
from email.message import Message

from app.core.errors import NotAcceptable


def preferred(accept: str | None, offers: Sequence[str]) -> str:
    """The media type, among those offered, that `Accept` likes best; the first where it is equal.

    The most specific range that names a type decides about it. A range that cannot be read is
    passed by.

    Raises:
        NotAcceptable: it takes none of them.
    """
    if accept is None or not accept.strip():
        return offers[0]
    ranges = dict(_range(part) for part in accept.split(","))
    liked = {offer: _quality(offer, ranges) for offer in offers}
    best = max(offers, key=lambda offer: liked[offer])
    if not liked[best]:
        raise NotAcceptable(f"One of {', '.join(offers)} can be had.")
    return best


def _range(text: str) -> tuple[str, float]:
    message = Message()
    message["content-type"] = text
    essence = text.partition(";")[0].strip().lower()
    try:
        quality = float(str(message.get_param("q", "1")))
    except ValueError:
        quality = 0.0
    return essence, quality if 0 <= quality <= 1 else 0.0


def _quality(offer: str, ranges: dict[str, float]) -> float:
    kind = offer.partition("/")[0]
    for essence in (offer, f"{kind}/*", "*/*"):
        if essence in ranges:
            return ranges[essence]
    return 0.0
