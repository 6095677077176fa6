"""Who is asking: a frozen fact that rules can reason about."""

from dataclasses import dataclass
from uuid import UUID

from app.auth.permissions import Permission
from app.core.events import Actor


@dataclass(frozen=True, slots=True)
class Principal:
    user_id: UUID
    session_id: UUID | None
    permissions: frozenset[Permission]
    is_superuser: bool = False
    key_id: UUID | None = None
    """The API key that was sent; then there is no session."""
    lacks_mfa: bool = False
    """Whether all rights are withheld until a second factor is set up (REQUIRE_MFA_FOR_ADMINS)."""

    def may(self, permission: Permission) -> bool:
        return self.is_superuser or permission in self.permissions

    @property
    def idempotency_caller(self) -> str:
        """Whose Idempotency-Keys these are.

        An API key has its own: else it could be given the answer to a request of its owner's for
        which it lacks the permission, and two programs of one owner would have to agree on keys.
        """
        return f"{self.user_id}/{self.key_id}" if self.key_id else str(self.user_id)

    @property
    def actor(self) -> Actor:
        return Actor("user", self.user_id)
