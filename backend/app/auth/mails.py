"""What accounts' mails say.

Nothing in them was typed by whoever caused them: before an address is verified, a name is text
that a stranger may send to anybody in our name.
"""

from app.core.mail import Letter, linking_letter


def verification(project: str, link: str, minutes: int) -> Letter:
    return linking_letter(
        f"Confirm your address for {project}",
        [f"Somebody, probably you, gave this address to {project}. Please confirm it is yours."],
        "Confirm my address",
        link,
        [
            f"The link works once, within {minutes} minutes.",
            "If it was not you, ignore this mail: nothing will happen.",
        ],
    )


def password_reset(project: str, link: str, minutes: int) -> Letter:
    return linking_letter(
        f"Set a new password for {project}",
        [f"Somebody, probably you, asked to set a new password for your account at {project}."],
        "Set a new password",
        link,
        [
            f"The link works once, within {minutes} minutes, and logs you out everywhere.",
            "If it was not you, ignore this mail: your password stays as it is.",
        ],
    )


def account_exists(project: str, link: str) -> Letter:
    return linking_letter(
        f"You have an account at {project} already",
        [
            f"Somebody, probably you, tried to sign up at {project} with this address.",
            "You have an account already. Log in with it, or set a new password if you forgot it.",
        ],
        "Log in",
        link,
        ["If it was not you, ignore this mail: nothing has changed."],
    )
