"""`/auth/me/notifications`, what somebody is mailed about; `/unsubscribe`, from within a mail."""

from typing import Annotated

from fastapi import Path, Response, status

from app.auth.dependencies import SessionPrincipal
from app.auth.errors import InvalidToken, TokenExpired
from app.core.errors import (
    Forbidden,
    NotFound,
    Unauthenticated,
    ValidationFailed,
    VersionMismatch,
)
from app.core.preconditions import Precondition, etag
from app.core.problems import problems
from app.core.routing import ApiRouter
from app.notifications.dependencies import Preferences, PreferencesReader
from app.notifications.schemas import PreferencesIn, PreferencesOut

router = ApiRouter(tags=["notifications"])


@router.get(
    "/auth/me/notifications",
    operation_id="notifications_get",
    summary="What I am mailed about",
    responses=problems(Unauthenticated, InvalidToken, TokenExpired, Forbidden),
)
async def show_preferences(
    principal: SessionPrincipal, preferences: PreferencesReader, response: Response
) -> PreferencesOut:
    shown = await preferences.show(principal)
    response.headers["ETag"] = etag(shown.version)
    return shown


@router.put(
    "/auth/me/notifications",
    operation_id="notifications_put",
    summary="Choose what I am mailed about",
    responses=problems(
        Unauthenticated, InvalidToken, TokenExpired, Forbidden, VersionMismatch, ValidationFailed
    ),
)
async def change_preferences(
    wanted: PreferencesIn,
    principal: SessionPrincipal,
    preferences: Preferences,
    seen: Precondition,
    response: Response,
) -> PreferencesOut:
    changed = await preferences.change(wanted, seen, principal)
    response.headers["ETag"] = etag(changed.version)
    return changed


@router.post(
    "/unsubscribe/{token}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="notifications_unsubscribe",
    summary="End reminders, with the token of one",
    description="Mail programs send it themselves (RFC 8058); the body says nothing more.",
    responses=problems(NotFound, ValidationFailed),
)
async def unsubscribe(
    token: Annotated[str, Path(max_length=100)], preferences: Preferences
) -> None:
    await preferences.stop(token)
