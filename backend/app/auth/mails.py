"""What accounts' mails say.

Nothing in them was typed by whoever caused them: before an address is verified, a name is text
that a stranger may send to anybody in our name.
"""

from html import escape

from app.core.mail import Letter


def verification(project: str, link: str, minutes: int) -> Letter:
    return _letter(
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
    return _letter(
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
    return _letter(
        f"You have an account at {project} already",
        [
            f"Somebody, probably you, tried to sign up at {project} with this address.",
            "You have an account already. Log in with it, or set a new password if you forgot it.",
        ],
        "Log in",
        link,
        ["If it was not you, ignore this mail: nothing has changed."],
    )


def _letter(subject: str, before: list[str], action: str, link: str, after: list[str]) -> Letter:
    text = "\n\n".join(["Hello,", *before, f"{action}:\n{link}", *after]) + "\n"
    paragraphs = [
        *(f"<p>{escape(line)}</p>" for line in ("Hello,", *before)),
        f'<p><a href="{escape(link)}">{escape(action)}</a></p>',
        f"<p>If that does not work, copy this address:<br>{escape(link)}</p>",
        *(f"<p>{escape(line)}</p>" for line in after),
    ]
    html = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(subject)}</title>\n</head>\n"
        '<body style="font: 16px/1.5 sans-serif; color: #1a1a1a; background: #ffffff">\n<main>\n'
        f'<h1 style="font-size: 20px">{escape(subject)}</h1>\n'
        + "\n".join(paragraphs)
        + "\n</main>\n</body>\n</html>\n"
    )
    return Letter(subject, text, html)
