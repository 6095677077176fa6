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
    found: Settings = request.app.state.settings
    return found


async def clock(request: Request) -> Clock:
    found: Clock = request.app.state.clock
    return found


async def password_hasher(request: Request) -> PasswordHasher:
    found: PasswordHasher = request.app.state.password_hasher
    return found


AppSettings = Annotated[Settings, Depends(settings)]
AppClock = Annotated[Clock, Depends(clock)]
Passwords = Annotated[PasswordHasher, Depends(password_hasher)]
