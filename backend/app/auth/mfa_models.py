"""What is kept of a second factor. Whether an account has one is `User.mfa_enabled`."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, LargeBinary, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base


class TotpFactor(Base):
    """An authenticator app's secret, sealed; pending until the account says `mfa_enabled`."""

    __tablename__ = "totp_factors"
    __table_args__ = (CheckConstraint("failures >= 0", name="failures_not_negative"),)

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    sealed_secret: Mapped[bytes] = mapped_column(LargeBinary)
    last_step: Mapped[int | None]
    """The latest time step (of 30 s since 1970) whose code was accepted; earlier ones are spent."""
    failures: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """Wrong codes since the last right one, or since the last lock."""
    locked_until: Mapped[datetime | None]


class RecoveryCode(Base):
    """A code for the day the phone is lost, as a digest. It is good once."""

    __tablename__ = "recovery_codes"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    used_at: Mapped[datetime | None]
