"""The SQL of second factors."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.mfa_models import RecoveryCode, TotpFactor
from app.auth.models import User


async def lock_account(session: AsyncSession, user_id: UUID) -> bool:
    """Whether the account has a second factor, which stays so until the transaction ends.

    All that checks or changes a second factor takes this lock before it reads anything else: what
    it reads is then fresh, and of those who guess at once each counts. Rows that refer to the
    account can be written meanwhile.
    """
    enabled = await session.scalar(
        select(User.mfa_enabled).where(User.id == user_id).with_for_update(key_share=True)
    )
    return bool(enabled)


@dataclass(frozen=True, slots=True)
class Factor:
    """A TOTP factor, pending or not."""

    user_id: UUID
    sealed_secret: bytes = field(repr=False)
    failures: int
    locked_until: datetime | None


async def factor(session: AsyncSession, user_id: UUID) -> Factor | None:
    row = (
        await session.execute(
            select(TotpFactor.sealed_secret, TotpFactor.failures, TotpFactor.locked_until).where(
                TotpFactor.user_id == user_id
            )
        )
    ).one_or_none()
    return Factor(user_id, row[0], row[1], row[2]) if row else None


async def put_pending(session: AsyncSession, user_id: UUID, sealed_secret: bytes) -> None:
    """Store a secret in place of one that was never confirmed. Failures go on being counted."""
    statement = insert(TotpFactor).values(user_id=user_id, sealed_secret=sealed_secret)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["user_id"],
            set_={"sealed_secret": statement.excluded.sealed_secret, "last_step": None},
        )
    )


async def accept_step(session: AsyncSession, user_id: UUID, step: int) -> bool:
    """Spend this time step and all before it; False if it was spent already."""
    accepted = await session.scalar(
        update(TotpFactor)
        .where(
            TotpFactor.user_id == user_id,
            TotpFactor.last_step.is_(None) | (TotpFactor.last_step < step),
        )
        .values(last_step=step)
        .returning(TotpFactor.user_id)
    )
    return accepted is not None


async def spend_recovery_code(
    session: AsyncSession, user_id: UUID, digest: bytes, now: datetime
) -> bool:
    """Spend a recovery code; False if there is none such, or no longer."""
    spent = await session.scalar(
        update(RecoveryCode)
        .where(
            RecoveryCode.user_id == user_id,
            RecoveryCode.digest == digest,
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=now)
        .returning(RecoveryCode.user_id)
    )
    return spent is not None


async def set_failures(
    session: AsyncSession, user_id: UUID, failures: int, locked_until: datetime | None
) -> None:
    await session.execute(
        update(TotpFactor)
        .where(TotpFactor.user_id == user_id)
        .values(failures=failures, locked_until=locked_until)
    )


async def recovery_codes_left(session: AsyncSession, user_id: UUID) -> int:
    left = await session.scalar(
        select(func.count()).where(RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
    )
    return left or 0


async def replace_recovery_codes(
    session: AsyncSession, user_id: UUID, digests: list[bytes]
) -> None:
    await session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    await session.execute(
        insert(RecoveryCode), [{"user_id": user_id, "digest": digest} for digest in digests]
    )


async def set_enabled(session: AsyncSession, user_id: UUID, *, enabled: bool) -> None:
    await session.execute(
        update(User)
        .where(User.id == user_id)
        .values(mfa_enabled=enabled, version=User.version + 1, updated_at=func.now())
    )


async def remove(session: AsyncSession, user_id: UUID) -> None:
    """Forget the secret and the recovery codes."""
    await session.execute(delete(TotpFactor).where(TotpFactor.user_id == user_id))
    await session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
