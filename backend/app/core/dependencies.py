"""What every room may ask of the application: its settings, its clock, its password hasher."""

from typing import Annotated

from fastapi import Depends, Request

from app.config import Settings
from app.core.clock import Clock
from app.core.security import PasswordHasher


def settings(request: Request) -> Settings:
    return request.app.state.settings  # type: ignore[no-any-return]  # Starlette's State is untyped


def clock(request: Request) -> Clock:
    return request.app.state.clock  # type: ignore[no-any-return]


def password_hasher(request: Request) -> PasswordHasher:
    return request.app.state.password_hasher  # type: ignore[no-any-return]


AppSettings = Annotated[Settings, Depends(settings)]
AppClock = Annotated[Clock, Depends(clock)]
Passwords = Annotated[PasswordHasher, Depends(password_hasher)]
