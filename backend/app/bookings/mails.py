"""What mails about bookings say.

Nothing in them was typed by who books: a stranger could send it to anybody in our name.
"""

from zoneinfo import ZoneInfo

from app.core.mail import Letter, linking_letter
from app.database import AnyRow


def booked(project: str, booking: AnyRow, link: str, *, has_moved: bool) -> Letter:
    """To a guest: what has been booked, or where it has been moved, with the link to manage it."""
    zone = booking.guest_time_zone or booking.time_zone
    start = booking.starts_at.astimezone(ZoneInfo(zone))
    when = f"{start:%A}, {start.day} {start:%B %Y}, {start:%H:%M} ({zone})"
    waits = "It still has to be confirmed." if booking.status == "pending" else "It is confirmed."
    caution = "Whoever has this link can do so: please do not pass it on."
    if has_moved:
        caution += " Links in earlier mails no longer work."
    mistake = "If you have not booked anything, somebody gave your address by mistake: cancel it."
    return linking_letter(
        f"Your booking {booking.reference} at {project}{' has moved' if has_moved else ''}",
        [
            f"{booking.service_name} with {booking.provider_name}",
            f"{when}. {waits}",
        ],
        "See, move or cancel the booking",
        link,
        [caution, mistake],
    )


def offered(project: str, offer: AnyRow, link: str) -> Letter:
    """To who waits: what has become free, and until when it is theirs to take."""
    zone = offer.customer_zone or offer.offer_time_zone
    start = offer.offer_starts_at.astimezone(ZoneInfo(zone))
    until = offer.offer_until.astimezone(ZoneInfo(zone))
    return linking_letter(
        f"A time has become free at {project}",
        [
            f"{offer.service_name} with {offer.offer_provider_name}",
            f"{start:%A}, {start.day} {start:%B %Y}, {start:%H:%M} ({zone}).",
            f"It is kept for you until {until:%H:%M}. Then the next in line is asked.",
        ],
        "Book this time",
        link,
        ["If it does not suit you, there is nothing to do: you stay in line for other times."],
    )
