"""What every room may ask of the application: its settings, its clock, its password hasher.

Dependencies are `async def` throughout, also where nothing is awaited: FastAPI hands every other
function to a thread, which takes longer than most of them.
"""

from typing import Annotated

from fastapi import Depends, Request

from app.config import Settings
from app.core.clock import Clock
from app.core.security import PasswordHasher


async def settings(request: Request) -> Settings:
    return request.app.state.settings  # type: ignore[no-any-return]  # Starlette's State is untyped


async def clock(request: Request) -> Clock:
    return request.app.state.clock  # type: ignore[no-any-return]


async def password_hasher(request: Request) -> PasswordHasher:
    return request.app.state.password_hasher  # type: ignore[no-any-return]


AppSettings = Annotated[Settings, Depends(settings)]
AppClock = Annotated[Clock, Depends(clock)]
Passwords = Annotated[PasswordHasher, Depends(password_hasher)]
