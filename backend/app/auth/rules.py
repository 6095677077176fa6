"""Pure decisions about accounts."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from zxcvbn import zxcvbn

from app.auth.permissions import BUILT_IN_ROLES, CUSTOMER, PROVIDER, Permission
from app.auth.principal import Principal
from app.core.security import MAXIMUM_PASSWORD_BYTES, normalised

_LEAST_SCORE = 3
_SCORED_LENGTH = 40

WRONG_CODES = 5
"""Wrong codes of a second factor after which none is accepted for a while."""
LOCKED_FOR = timedelta(minutes=15)
# As the catalogue grants them: a customers' role that was given more makes administrators of them.
_ORDINARY = BUILT_IN_ROLES[CUSTOMER][1] | BUILT_IN_ROLES[PROVIDER][1]


def password_problem(password: str, *, email: str, name: str, minimum_length: int) -> str | None:
    """Why this password is refused, or None.

    Length counts and being guessable does; composition does not (NIST SP 800-63B, 3.1.1).
    """
    password = normalised(password)
    if len(password) < minimum_length:
        return f"at least {minimum_length} characters"
    if len(password.encode()) > MAXIMUM_PASSWORD_BYTES:
        return f"at most {MAXIMUM_PASSWORD_BYTES} bytes"
    folded = password.casefold()
    local_part = email.partition("@")[0]
    if folded in {email.casefold(), name.casefold(), local_part.casefold()}:
        return "not the name or the address"
    # 3 of 4 takes more guesses than a slow hash grants who has stolen it. Common passwords, names,
    # dates, repetitions and walks over the keyboard score less, however long they are.
    guesses = zxcvbn(password[:_SCORED_LENGTH], user_inputs=[email, local_part, *name.split()])
    return "too easy to guess" if guesses["score"] < _LEAST_SCORE else None


def may_grant(principal: Principal, permissions: Iterable[str]) -> bool:
    """Whether the caller may give these to anybody: nobody grants what they lack."""
    return principal.is_superuser or principal.permissions.issuperset(permissions)


def may_manage(principal: Principal, *, permissions: Iterable[str], is_superuser: bool) -> bool:
    """Whether the caller may change an account with these permissions.

    Whoever controls an account can become it, so nobody manages an account that may do more.
    """
    return principal.is_superuser or (not is_superuser and may_grant(principal, permissions))


def effective_permissions(
    scope: Iterable[str], *, owner: Iterable[str], owner_is_superuser: bool
) -> frozenset[Permission]:
    """What a key of this scope may do now: no more than its owner, who may have lost something.

    Names that this release does not know, as one before or after it may, grant nothing.
    """
    names = set(scope) if owner_is_superuser else set(scope) & set(owner)
    return frozenset(permission for permission in Permission if permission.value in names)


def email_domain_allowed(email: str, allowed: tuple[str, ...]) -> bool:
    """Whether the address is of one of these domains, compared in their ASCII form (RFC 5891)."""
    return _ascii_domain(email.rpartition("@")[2]) in {_ascii_domain(domain) for domain in allowed}


def _ascii_domain(domain: str) -> str:
    return domain.strip().rstrip(".").encode("idna").decode().lower()


def needs_second_factor(permissions: Iterable[str], *, is_superuser: bool) -> bool:
    """Whether REQUIRE_MFA_FOR_ADMINS means this account: it may do more than providers may."""
    return is_superuser or not _ORDINARY.issuperset(permissions)


def after_wrong_code(failures: int, now: datetime) -> tuple[int, datetime | None]:
    """Failures to remember after one more, and until when codes are refused; None: they are not.

    A lock begins a new count, so that its end is as good as a fresh start.
    """
    if failures + 1 >= WRONG_CODES:
        return 0, now + LOCKED_FOR
    return failures + 1, None
