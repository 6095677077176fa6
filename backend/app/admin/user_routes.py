"""`/admin/users`."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Response, status

from app.auth.dependencies import Idempotent, Privacy, Users, UsersReader, require
from app.auth.errors import EmailDomainNotAllowed
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.auth.schemas import UserCreate, UserOut, UserPatch, UserRoles
from app.auth.user_service import UserFilter
from app.core.errors import (
    AlreadyExists,
    Forbidden,
    InUse,
    NotFound,
    Unauthenticated,
    Unavailable,
    ValidationFailed,
    VersionMismatch,
)
from app.core.pagination import Page, Paging, sorted_by
from app.core.preconditions import Precondition, etag
from app.core.problems import problems
from app.core.routing import ApiRouter

router = ApiRouter(prefix="/users")

Reader = Depends(require(Permission.USERS_READ))
Writer = Annotated[Principal, Depends(require(Permission.USERS_WRITE))]

_change_problems = problems(
    Unauthenticated,
    Forbidden,
    EmailDomainNotAllowed,
    NotFound,
    AlreadyExists,
    InUse,
    VersionMismatch,
    ValidationFailed,
)


@router.get(
    "",
    operation_id="admin_users_list",
    summary="List accounts",
    responses=problems(Unauthenticated, Forbidden, ValidationFailed),
    dependencies=[Reader],
)
async def list_users(
    users: UsersReader,
    page: Paging,
    *,
    email: Annotated[str | None, Query(max_length=254, description="Exactly this one.")] = None,
    role: Annotated[str | None, Query(max_length=50, description="Who holds it.")] = None,
    is_active: bool | None = None,
    q: Annotated[
        str | None, Query(min_length=1, max_length=100, description="In the name or address.")
    ] = None,
    sort: Annotated[str, sorted_by("created_at", "email", "name")] = "-created_at",
) -> Page[UserOut]:
    return await users.list_users(UserFilter(email, role, is_active, q), page, sort=sort)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="admin_users_create",
    summary="Create an account",
    responses=problems(
        Unauthenticated,
        Forbidden,
        EmailDomainNotAllowed,
        AlreadyExists,
        ValidationFailed,
        Unavailable,
    ),
    dependencies=[Idempotent],
)
async def create_user(
    user: UserCreate, principal: Writer, users: Users, response: Response
) -> UserOut:
    created = await users.create(user, principal)
    response.headers["ETag"] = etag(created.version)
    return created


@router.get(
    "/{user_id}",
    operation_id="admin_users_get",
    summary="Show an account",
    responses=problems(Unauthenticated, Forbidden, NotFound, ValidationFailed),
    dependencies=[Reader],
)
async def get_user(user_id: UUID, users: UsersReader, response: Response) -> UserOut:
    user = await users.show(user_id)
    response.headers["ETag"] = etag(user.version)
    return user


@router.patch(
    "/{user_id}",
    operation_id="admin_users_update",
    summary="Change an account",
    description="What is taken away is gone within a second. Nobody gives what they lack.",
    responses=_change_problems,
)
async def update_user(
    user_id: UUID,
    patch: UserPatch,
    principal: Writer,
    users: Users,
    seen: Precondition,
    response: Response,
) -> UserOut:
    changed = await users.change(user_id, patch, seen, principal)
    response.headers["ETag"] = etag(changed.version)
    return changed


@router.put(
    "/{user_id}/roles",
    operation_id="admin_users_roles_put",
    summary="Say which roles somebody holds",
    responses=_change_problems,
)
async def put_roles(
    user_id: UUID,
    wanted: UserRoles,
    principal: Writer,
    users: Users,
    seen: Precondition,
    response: Response,
) -> UserOut:
    changed = await users.change(user_id, UserPatch(roles=wanted.roles), seen, principal)
    response.headers["ETag"] = etag(changed.version)
    return changed


@router.delete(
    "/{user_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="admin_users_delete",
    summary="Erase an account",
    description=(
        "For good, with all that is personal, also in the log. Bookings stay, anonymous, and keep "
        "their time. To keep somebody out for a while, change `is_active`."
    ),
    responses=problems(
        Unauthenticated, Forbidden, NotFound, InUse, VersionMismatch, ValidationFailed
    ),
)
async def delete_user(
    user_id: UUID, principal: Writer, privacy: Privacy, seen: Precondition
) -> None:
    await privacy.erase_other(user_id, seen, principal)
