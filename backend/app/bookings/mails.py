"""What mails about the waiting list say. Those about bookings are in `notifications/mails.py`."""

from app.core.letters import Draft, Link
from app.core.words import Words
from app.database import AnyRow


def offered(say: Words, project: str, offer: AnyRow, link: str) -> Draft:
    """To who waits: what has become free, and until when it is theirs to take."""
    zone = offer.customer_zone or offer.offer_time_zone
    start = offer.offer_starts_at
    return Draft(
        subject=say("A time has become free at {project}", project=project),
        before=[
            say(
                "It is kept for you until {time}. Then the next in line is asked.",
                time=say.time(offer.offer_until, zone),
            )
        ],
        facts=[
            (say("Service"), offer.service_name),
            (say("With"), offer.offer_provider_name),
            (say("Date"), say.day(start, zone)),
            (say("Time"), say.time(start, zone)),
            (say("Time zone"), say.zone(start, zone)),
        ],
        link=Link(say("Book this time"), link),
        after=[
            say(
                "If it does not suit you, there is nothing to do: you stay in line for other times."
            )
        ],
    )
