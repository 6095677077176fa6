"""Permission catalogue → default roles → first superuser.

Runs at every start, on every replica at once: it adds what is missing and touches nothing that an
administrator has changed. A permission that is new in this release is granted to the built-in roles
that are meant to have it; one that an administrator took away stays away.
"""

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.models import PermissionRow, Role, RolePermission, User
from app.auth.permissions import ADMIN, BUILT_IN_ROLES, DESCRIPTIONS, Permission
from app.auth.repository import add_user
from app.auth.role_repository import ids_named
from app.config import Settings
from app.core.events import SYSTEM, record
from app.core.security import PasswordHasher
from app.database import Database

_SEED_LOCK = 4_917_201_001


async def seed(session: AsyncSession, settings: Settings, passwords: PasswordHasher) -> None:
    """Bring the catalogue, the built-in roles and the first superuser into being."""
    await session.execute(select(func.pg_advisory_xact_lock(_SEED_LOCK)))
    new_permissions = await _seed_permissions(session)
    await _seed_roles(session, new_permissions)
    await _seed_superuser(session, settings, passwords)


async def seed_database(database: Database, settings: Settings) -> None:
    """The same, in a transaction of its own."""
    passwords = PasswordHasher(rounds=settings.BCRYPT_ROUNDS, threads=1)
    try:
        async with database.transaction() as session:
            await seed(session, settings, passwords)
    finally:
        passwords.close()


async def _seed_permissions(session: AsyncSession) -> set[str]:
    """Add what this release brings to the catalogue; returns what is new in it."""
    known = set(await session.scalars(select(PermissionRow.name)))
    statement = insert(PermissionRow)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["name"], set_={"description": statement.excluded.description}
        ),
        [{"name": p.value, "description": DESCRIPTIONS[p]} for p in Permission],
    )
    # One that this release does not know stays: a newer replica may have brought it.
    return {p.value for p in Permission} - known


async def _seed_roles(session: AsyncSession, new_permissions: set[str]) -> None:
    for name, (description, permissions) in BUILT_IN_ROLES.items():
        role_id = await session.scalar(select(Role.id).where(Role.name == name))
        grants = {p.value for p in permissions}
        if role_id is None:
            role_id = await session.scalar(
                insert(Role)
                .values(name=name, description=description, is_builtin=True)
                .returning(Role.id)
            )
        else:
            grants &= new_permissions
        if grants:
            await session.execute(
                insert(RolePermission).on_conflict_do_nothing(),
                [{"role_id": role_id, "permission": p} for p in sorted(grants)],
            )


async def _seed_superuser(
    session: AsyncSession, settings: Settings, passwords: PasswordHasher
) -> None:
    """Create FIRST_SUPERUSER, but only where nobody is one: an old password must not come back."""
    if await session.scalar(select(User.id).where(User.is_superuser).limit(1)):
        return
    user_id = await add_user(
        session,
        email=settings.FIRST_SUPERUSER.lower(),
        name="Administrator",
        hashed_password=await passwords.hash(settings.FIRST_SUPERUSER_PASSWORD.get_secret_value()),
        role_ids=await ids_named(session, [ADMIN]),
        is_superuser=True,
        email_verified=True,
    )
    if user_id is not None:
        await record(session, "user.created", subject_id=user_id, actor=SYSTEM)
