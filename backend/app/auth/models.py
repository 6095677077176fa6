"""Users, and the roles that grant them permissions."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, LargeBinary, Text, func
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.orm.attributes import flag_modified

from app.core.ids import new_id
from app.database import Base, Versioned


class User(Versioned, Base):
    """A person with an account. `email` is kept in lower case."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("email = lower(email)", name="email_lower"),
        Index("uq_users_email", "email", unique=True),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    email: Mapped[str]
    name: Mapped[str]
    phone: Mapped[str | None]
    time_zone: Mapped[str | None]
    locale: Mapped[str | None]
    hashed_password: Mapped[str] = mapped_column(deferred=True)
    is_active: Mapped[bool] = mapped_column(default=True, server_default="true")
    is_superuser: Mapped[bool] = mapped_column(default=False, server_default="false")
    email_verified: Mapped[bool] = mapped_column(default=False, server_default="false")
    mfa_enabled: Mapped[bool] = mapped_column(default=False, server_default="false")

    def touch(self) -> None:
        """Give the account its next version, since the roles it holds have changed."""
        flag_modified(self, "name")

    def __repr__(self) -> str:
        return f"User({self.id})"


class Role(Versioned, Base):
    """A named set of permissions. The built-in ones cannot be deleted."""

    __tablename__ = "roles"
    __table_args__ = (Index("uq_roles_name", "name", unique=True),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    is_builtin: Mapped[bool] = mapped_column(default=False, server_default="false")

    def touch(self) -> None:
        """Give the role its next version, since what it grants has changed."""
        flag_modified(self, "name")


class PermissionRow(Base):
    """The catalogue as the database knows it, so that no role grants what does not exist."""

    __tablename__ = "permissions"

    name: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str]


class RolePermission(Base):
    __tablename__ = "role_permissions"

    role_id: Mapped[UUID] = mapped_column(
        ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True
    )
    permission: Mapped[str] = mapped_column(
        ForeignKey("permissions.name", ondelete="CASCADE"), primary_key=True
    )


class UserRole(Base):
    __tablename__ = "user_roles"
    __table_args__ = (Index(None, "role_id"),)

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    role_id: Mapped[UUID] = mapped_column(
        ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True
    )


class LoginSession(Base):
    """A device on which someone is logged in. Access tokens name it and die with it."""

    __tablename__ = "sessions"
    __table_args__ = (Index(None, "user_id"), Index(None, "expires_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    device: Mapped[str] = mapped_column(server_default="")
    address: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class RefreshToken(Base):
    """A refresh token, as a digest. One of a session is unspent; the spent ones betray thieves."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (Index(None, "session_id"),)

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    spent_at: Mapped[datetime | None]


class ApiKey(Base):
    """A key that lets a program act for its owner, within a scope. Revoking deletes it."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("length(digest) = 32", name="digest_sha256"),
        Index("uq_api_keys_prefix", "prefix", unique=True),
        Index(None, "user_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    prefix: Mapped[str]
    digest: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    # Names only: what one of them no longer means is ignored when the key is used.
    permissions: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class Purpose(StrEnum):
    """What a link that was mailed to somebody allows."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a name, no secret


class OneTimeToken(Base):
    """A link that was or will be mailed. One of a kind for each user: a new one ends the old.

    Neither `digest` nor `salt` gives the token away: it is derived with a key that is not in the
    database.
    """

    __tablename__ = "one_time_tokens"
    __table_args__ = (
        CheckConstraint("purpose IN ('verify_email', 'reset_password')", name="purpose_known"),
        Index("uq_one_time_tokens_user_id_purpose", "user_id", "purpose", unique=True),
        Index("uq_one_time_tokens_digest", "digest", unique=True),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    purpose: Mapped[str]
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime]
    mailed_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
