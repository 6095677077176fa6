"""What mails about bookings and accounts say.

Customers are told nothing that they typed, and guests least of all: a stranger could send it to
anybody in our name. Who gives a booking is told whose it is; what was answered and noted, which
may be anything, stays where one must log in to read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.bookings.rules import Status
from app.core.letters import Draft, Link
from app.core.words import Words, later
from app.database import AnyRow
from app.notifications.rules import Audience, Kind

_LONGEST_DEVICE: Final = 120
_DASH: Final = "\N{EN DASH}"
_CUSTOMER: Final = Audience.CUSTOMER
_PROVIDER: Final = Audience.PROVIDER
_SUBJECTS: Final[Mapping[tuple[Audience, Kind], str]] = {
    (_CUSTOMER, Kind.REQUESTED): later("We have received your request {reference}"),
    (_CUSTOMER, Kind.CONFIRMED): later("Your booking {reference} is confirmed"),
    (_CUSTOMER, Kind.DECLINED): later("Your request {reference} was declined"),
    (_CUSTOMER, Kind.MOVED): later("Your booking {reference} has moved"),
    (_CUSTOMER, Kind.REASSIGNED): later("Somebody else takes care of your booking {reference}"),
    (_CUSTOMER, Kind.CANCELLED): later("Your booking {reference} was cancelled"),
    (_CUSTOMER, Kind.EXPIRED): later("Your request {reference} has expired"),
    (_CUSTOMER, Kind.REMINDER): later("Reminder: your booking {reference}"),
    (_PROVIDER, Kind.REQUESTED): later("New request {reference}"),
    (_PROVIDER, Kind.CONFIRMED): later("Booking {reference} is confirmed"),
    (_PROVIDER, Kind.DECLINED): later("Request {reference} was declined"),
    (_PROVIDER, Kind.MOVED): later("Booking {reference} has moved"),
    (_PROVIDER, Kind.REASSIGNED): later("Booking {reference} is yours now"),
    (_PROVIDER, Kind.WITHDRAWN): later("Booking {reference} is no longer yours"),
    (_PROVIDER, Kind.CANCELLED): later("Booking {reference} was cancelled"),
    (_PROVIDER, Kind.EXPIRED): later("Request {reference} has expired"),
}
_OPENINGS: Final[Mapping[tuple[Audience, Kind], Sequence[str]]] = {
    (_CUSTOMER, Kind.EXPIRED): [
        later("Nobody confirmed it in time. You are welcome to ask for another time.")
    ],
    (_CUSTOMER, Kind.REMINDER): [later("Your appointment is coming up.")],
    (_PROVIDER, Kind.EXPIRED): [later("Nobody confirmed it in time.")],
    (_PROVIDER, Kind.WITHDRAWN): [later("It has been given to somebody else.")],
}


@dataclass(frozen=True, slots=True)
class About:
    """What a mail about a booking is made of.

    `link` leads to where something can be done about it, `zone` is the reader's, and `was_at` is
    when it would have been before it moved.
    """

    kind: Kind
    audience: Audience
    booking: AnyRow
    link: str
    zone: str
    is_guests: bool = False
    was_at: datetime | None = None
    small: Sequence[Link] = ()


def about_booking(say: Words, about: About) -> Draft:
    """A mail about one booking."""
    subject = _SUBJECTS[about.audience, about.kind]
    return Draft(
        subject=say(subject, reference=about.booking.reference),
        before=[*_opening(say, about), *_reason(say, about)],
        facts=_facts(say, about),
        link=Link(_action(say, about), about.link) if about.link else None,
        after=_cautions(say, about),
        small=about.small,
    )


def about_series(say: Words, about: About, bookings: Sequence[AnyRow]) -> Draft:
    """A mail about several bookings of a series; `about.booking` is the first of them."""
    is_off, is_theirs = about.kind is Kind.SERIES_CANCELLED, about.audience is Audience.CUSTOMER
    if is_off:
        subject = (
            say("Bookings of your series were cancelled")
            if is_theirs
            else say("Bookings of a series were cancelled")
        )
    else:
        subject = say("Your series of bookings") if is_theirs else say("New series of bookings")
    waits = not is_off and about.booking.status == Status.PENDING
    return Draft(
        subject=subject,
        before=[*([_still_waits(say)] if waits else []), *_reason(say, about)],
        facts=[
            (say("Service"), about.booking.service_name),
            (say("With"), about.booking.provider_name),
            *_whose(say, about),
            (say("Time zone"), say.zone(about.booking.starts_at, about.zone)),
        ],
        items=[_when(say, row.starts_at, about.zone) for row in bookings],
        link=Link(_action(say, about) if is_off else say("See the bookings"), about.link),
        small=about.small,
    )


def _opening(say: Words, about: About) -> list[str]:
    """What there is to say besides the subject."""
    said = [say(text) for text in _OPENINGS.get((about.audience, about.kind), ())]
    if about.booking.status == Status.PENDING and about.kind is not Kind.WITHDRAWN:
        is_theirs = about.audience is Audience.CUSTOMER
        said.append(
            _still_waits(say) if is_theirs else say("It waits for you to confirm or decline it.")
        )
    return said


def _still_waits(say: Words) -> str:
    return say("It still has to be confirmed. We will write to you as soon as that is decided.")


def _reason(say: Words, about: About) -> Sequence[str]:
    """Why it was called off, to who did not do it."""
    booking = about.booking
    did_it = "staff" if about.audience is Audience.PROVIDER else {"customer", "guest"}
    is_off = about.kind in {Kind.DECLINED, Kind.CANCELLED, Kind.SERIES_CANCELLED}
    if not is_off or not booking.cancelled_reason or booking.cancelled_by in did_it:
        return []
    return [say("The reason given: {reason}", reason=booking.cancelled_reason)]


def _facts(say: Words, about: About) -> list[tuple[str, str]]:
    booking, zone = about.booking, about.zone
    lead = {"display_name": booking.provider_name}
    begins, ends = say.time(booking.starts_at, zone), say.time(booking.ends_at, zone)
    facts = [
        (say("Service"), booking.service_name),
        (say("With"), ", ".join(p["display_name"] for p in booking.providers or [lead])),
        *_whose(say, about),
        (say("Date"), say.day(booking.starts_at, zone)),
        (say("Time"), f"{begins} {_DASH} {ends}"),
        (say("Time zone"), say.zone(booking.starts_at, zone)),
    ]
    if about.was_at is not None:
        facts.append((say("Previously"), _when(say, about.was_at, zone)))
    if booking.location_name:
        facts.append((say("Place"), booking.location_name))
    return facts


def _whose(say: Words, about: About) -> list[tuple[str, str]]:
    """Whose it is, to who gives it."""
    booking = about.booking
    name = booking.guest_name or booking.customer_name
    if about.audience is not Audience.PROVIDER or not name:
        return []
    return [(say("Customer"), name)]


def _when(say: Words, moment: datetime, zone: str) -> str:
    return f"{say.day(moment, zone)}, {say.time(moment, zone)}"


def _action(say: Words, about: About) -> str:
    if about.audience is Audience.PROVIDER:
        is_series = about.kind is Kind.SERIES_CANCELLED
        return say("See the bookings") if is_series else say("Open the booking")
    if about.kind in {Kind.DECLINED, Kind.EXPIRED, Kind.CANCELLED, Kind.SERIES_CANCELLED}:
        return say("Find another time")
    return say("See, move or cancel the booking")


def _cautions(say: Words, about: About) -> Sequence[str]:
    """What a guest must know of the link that stands for an account."""
    if not about.is_guests or "#token=" not in about.link:
        return []
    caution = [say("Whoever has this link can do so: please do not pass it on.")]
    if about.kind is Kind.MOVED:
        caution.append(say("Links in earlier mails no longer work."))
    return [
        " ".join(caution),
        say("If you have not booked anything, somebody gave your address by mistake: cancel it."),
    ]


# --- Accounts --------------------------------------------------------------------------------
def about_account(
    say: Words,
    kind: Kind,
    *,
    project: str,
    happened_at: datetime,
    zone: str,
    login: AnyRow | None,
    link: str,
) -> Draft:
    """A notice that concerns the security of an account. `login` is the row of a new session."""
    subject, what = _security(say, kind, project)
    facts = [
        (say("Date"), say.day(happened_at, zone)),
        (say("Time"), say.time(happened_at, zone)),
        (say("Time zone"), say.zone(happened_at, zone)),
    ]
    if login is not None:
        facts.append((say("Device"), login.device[:_LONGEST_DEVICE] or _DASH))
        facts.append((say("Address"), login.address or _DASH))
    return Draft(
        subject=subject,
        before=[what],
        facts=facts,
        **_what_to_do(say, kind, link),
    )


def _what_to_do(say: Words, kind: Kind, link: str) -> dict[str, Any]:
    if kind is Kind.EMAIL_CHANGED:
        # A new password would be mailed to the new address.
        return {"after": [say("If that is not right, please get in touch with us.")]}
    return {
        "link": Link(say("Set a new password"), link),
        "after": [
            say("If it was you, there is nothing to do."),
            say("If it was not, set a new password now: that logs everybody else out."),
        ],
    }


def _security(say: Words, kind: Kind, project: str) -> tuple[str, str]:
    match kind:
        case Kind.NEW_LOGIN:
            return say("New login at {project}", project=project), say(
                "Somebody logged in to your account from a device that we have not seen before."
            )
        case Kind.PASSWORD_CHANGED:
            return say("Your password at {project} was changed", project=project), say(
                "The password of your account was changed. All other devices were logged out."
            )
        case Kind.EMAIL_CHANGED:
            return say("Your address at {project} was changed", project=project), say(
                "Your account has another mail address now. This one gets no more mails."
            )
        case Kind.MFA_ENABLED:
            return say("Two-factor authentication is on at {project}", project=project), say(
                "From now on, logging in to your account takes a code as well."
            )
        case _:
            return say("Two-factor authentication is off at {project}", project=project), say(
                "From now on, the password alone is enough to log in to your account."
            )
