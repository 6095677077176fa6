"""What clients send and get about notifications."""

from app.core.schemas import Input, Output, Version, example


class PreferencesIn(Input):
    """What to be mailed about."""

    model_config = example(bookings=True, appointments=True, reminders=False)

    bookings: bool
    appointments: bool
    reminders: bool


class PreferencesOut(Output):
    """What somebody is mailed about, besides the security of their account.

    `bookings` they have made, `appointments` with them as a provider, `reminders`.
    """

    bookings: bool
    appointments: bool
    reminders: bool
    version: Version
