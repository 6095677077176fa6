"""What accounts' mails say.

Nothing in them was typed by whoever caused them: before an address is verified, a name is text
that a stranger may send to anybody in our name.
"""

from app.core.letters import Draft, Link
from app.core.words import Words


def verification(say: Words, project: str, link: str, minutes: int) -> Draft:
    return Draft(
        subject=say("Confirm your address for {project}", project=project),
        before=[
            say(
                "Somebody, probably you, gave this address to {project}."
                " Please confirm it is yours.",
                project=project,
            )
        ],
        link=Link(say("Confirm my address"), link),
        after=[
            say("The link works once, within {duration}.", duration=say.duration(minutes)),
            say("If it was not you, ignore this mail: nothing will happen."),
        ],
    )


def password_reset(say: Words, project: str, link: str, minutes: int) -> Draft:
    return Draft(
        subject=say("Set a new password for {project}", project=project),
        before=[
            say(
                "Somebody, probably you, asked to set a new password for your account at"
                " {project}.",
                project=project,
            )
        ],
        link=Link(say("Set a new password"), link),
        after=[
            say(
                "The link works once, within {duration}, and logs you out everywhere.",
                duration=say.duration(minutes),
            ),
            say("If it was not you, ignore this mail: your password stays as it is."),
        ],
    )


def account_exists(say: Words, project: str, link: str) -> Draft:
    return Draft(
        subject=say("You have an account at {project} already", project=project),
        before=[
            say(
                "Somebody, probably you, tried to sign up at {project} with this address.",
                project=project,
            ),
            say(
                "You have an account already. Log in with it, or set a new password if you"
                " forgot it."
            ),
        ],
        link=Link(say("Log in"), link),
        after=[say("If it was not you, ignore this mail: nothing has changed.")],
    )
