"""An account with its grants, as one read brings it and as clients see it."""

from dataclasses import dataclass

from app.auth.models import User
from app.auth.schemas import UserOut


@dataclass(frozen=True, slots=True)
class Account:
    """A user with the names of the roles held and the permissions these grant."""

    user: User
    roles: list[str]
    permissions: list[str]

    def out(self) -> UserOut:
        own = set(UserOut.model_fields) - {"roles", "permissions"}
        fields = {name: getattr(self.user, name) for name in own}
        return UserOut(**fields, roles=self.roles, permissions=self.permissions)
