"""Who is asking: a frozen fact that rules can reason about."""

from dataclasses import dataclass
from uuid import UUID

from app.auth.permissions import Permission
from app.core.events import Actor


@dataclass(frozen=True, slots=True)
class Principal:
    user_id: UUID
    session_id: UUID
    permissions: frozenset[Permission]
    is_superuser: bool = False

    def may(self, permission: Permission) -> bool:
        return self.is_superuser or permission in self.permissions

    @property
    def actor(self) -> Actor:
        return Actor("user", self.user_id)
