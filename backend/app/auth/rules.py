"""Pure decisions about accounts."""

from app.core.security import MAXIMUM_PASSWORD_BYTES

MINIMUM_PASSWORD_LENGTH = 12


def password_problem(password: str, *, email: str, name: str) -> str | None:
    """Why this password is refused, or None. Length counts; composition does not (NIST 800-63B)."""
    if len(password) < MINIMUM_PASSWORD_LENGTH:
        return f"at least {MINIMUM_PASSWORD_LENGTH} characters"
    if len(password.encode()) > MAXIMUM_PASSWORD_BYTES:
        return f"at most {MAXIMUM_PASSWORD_BYTES} bytes"
    if password.casefold() in {email.casefold(), name.casefold()}:
        return "not the name or the address"
    return None
