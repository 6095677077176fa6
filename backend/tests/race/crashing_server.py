"""The application in a wrapper that kills its own process where a request asks for it.

`X-Test-Crash: after-commit` dies when the answer is about to leave, so after the commit;
`X-Test-Crash: before-commit` dies with everything written and nothing committed.
"""

import os
import signal
from contextvars import ContextVar

from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import Settings
from app.main import create_app

_dies_before_commit: ContextVar[bool] = ContextVar("dies_before_commit", default=False)


def create_crashing_app() -> ASGIApp:
    event.listen(Engine, "commit", _about_to_commit)
    return CrashingApp(create_app(Settings(_env_file=None)))  # type: ignore[call-arg]  # pydantic-settings' own argument


class CrashingApp:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        crash = dict(scope.get("headers", ())).get(b"x-test-crash")
        _dies_before_commit.set(crash == b"before-commit")

        async def send_or_die(message: Message) -> None:
            if crash == b"after-commit" and message["type"] == "http.response.start":
                _die()
            await send(message)

        await self.app(scope, receive, send_or_die)


def _about_to_commit(_: Connection) -> None:
    if _dies_before_commit.get():
        _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
