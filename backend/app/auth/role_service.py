"""Roles: named sets of permissions, which nobody can use to rise above themselves."""

from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import role_repository as repository
from app.auth.models import Role
from app.auth.principal import Principal
from app.auth.role_repository import Granting
from app.auth.rules import may_grant
from app.auth.schemas import RoleCreate, RoleOut, RolePatch
from app.core.errors import AlreadyExists, Forbidden, InUse, NotFound, ValidationFailed
from app.core.events import record, record_change
from app.core.pagination import Page, PageRequest
from app.core.preconditions import IfMatch
from app.core.schemas import patched
from app.core.unit_of_work import constraint_name


class RoleService:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def create(self, new: RoleCreate, principal: Principal) -> RoleOut:
        """Make a role.

        Raises:
            Forbidden: it grants what the caller lacks.
            AlreadyExists: the name is taken.
        """
        _check_grants(principal, new.permissions)
        role = Role(name=new.name, description=new.description)
        self._session.add(role)
        await self._flush()
        permissions: list[str] = sorted(new.permissions)
        await repository.replace_grants(self._session, role.id, permissions)
        out = _role_out(Granting(role, permissions))
        await record(
            self._session,
            "role.created",
            subject_id=role.id,
            actor=principal.actor,
            after=out.model_dump(mode="json"),
        )
        return out

    async def change(
        self, role_id: UUID, patch: RolePatch, seen: IfMatch, principal: Principal
    ) -> RoleOut:
        """Change a role; all who hold it have the new permissions within a second.

        Raises:
            NotFound, VersionMismatch, AlreadyExists (the name).
            Forbidden: it would grant what the caller lacks.
            ValidationFailed: a built-in role keeps its name.
        """
        found = await self._role(role_id)
        seen.check(found.role.version)
        before = _role_out(found).model_dump(mode="json")
        fields = patched(patch)
        permissions = sorted(fields.pop("permissions", found.permissions))
        _check_grants(principal, set(permissions) - set(found.permissions))
        if found.role.is_builtin and fields.get("name", found.role.name) != found.role.name:
            raise ValidationFailed.at("#/name", "a built-in role keeps its name")
        await self._apply(found, fields, permissions)
        out = _role_out(Granting(found.role, permissions))
        await record_change(
            self._session,
            "role.changed",
            subject_id=role_id,
            actor=principal.actor,
            before=before,
            after=out.model_dump(mode="json"),
        )
        return out

    async def delete(self, role_id: UUID, seen: IfMatch, principal: Principal) -> None:
        """Delete a role. Raises InUse: it is built in, or somebody holds it."""
        found = await self._role(role_id)
        seen.check(found.role.version)
        if found.role.is_builtin:
            raise InUse("The built-in roles cannot be deleted.")
        if await repository.is_held(self._session, role_id):
            raise InUse("Somebody holds this role.")
        await self._session.delete(found.role)
        await self._session.flush()
        await record(
            self._session,
            "role.deleted",
            subject_id=role_id,
            actor=principal.actor,
            before=_role_out(found).model_dump(mode="json"),
        )

    async def show(self, role_id: UUID) -> RoleOut:
        return _role_out(await self._role(role_id))

    async def list_roles(self, page: PageRequest, *, sort: str) -> Page[RoleOut]:
        return await repository.ROLES.page(
            self._session,
            repository.roles(),
            page,
            sort=sort,
            build=lambda row: _role_out(repository.granting(row)),
        )

    async def _role(self, role_id: UUID) -> Granting:
        found = await repository.role(self._session, role_id)
        if found is None:
            raise NotFound
        return found

    async def _apply(self, found: Granting, fields: dict[str, Any], permissions: list[str]) -> None:
        for name, value in fields.items():
            setattr(found.role, name, value)
        if permissions != found.permissions:
            await repository.replace_grants(self._session, found.role.id, permissions)
            found.role.touch()
        await self._flush()

    async def _flush(self) -> None:
        try:
            await self._session.flush()
        except IntegrityError as error:
            if constraint_name(error) == "uq_roles_name":
                raise AlreadyExists("Another role has this name.") from None
            raise


def _check_grants(principal: Principal, permissions: set[Any]) -> None:
    if not may_grant(principal, permissions):
        raise Forbidden("Nobody grants a permission that they lack.")


def _role_out(found: Granting) -> RoleOut:
    role = found.role
    fields = {n: getattr(role, n) for n in RoleOut.model_fields if n != "permissions"}
    return RoleOut(**fields, permissions=found.permissions)
