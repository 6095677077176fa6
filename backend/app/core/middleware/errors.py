"""The last resort: what nobody handled becomes a problem like any other error."""

from collections.abc import Callable
from http import HTTPStatus

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.exchange import exchange_of

log = structlog.get_logger(__name__)


class UnhandledErrorMiddleware:
    """Answers exceptions that escape the router or a middleware further in.

    Starlette's own handler for 500 sits outside every other middleware, where an answer gets
    neither CORS nor security headers: a browser then shows a network error instead of a 500.
    Put this one inside the layer that names those.

    Args:
        app: the next ASGI application.
        render: turns any exception into the problem to send: an expected one (the body limit's
            413) into its own, all others into 500. What it makes a 500 is logged, and reported.
        report: tells whoever keeps track of errors; by default, nobody does.
    """

    def __init__(
        self,
        app: ASGIApp,
        render: Callable[[Scope, Exception], Response],
        report: Callable[[Scope, Exception], None] = lambda *_: None,
    ) -> None:
        self.app = app
        self.render = render
        self.report = report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        try:
            await self.app(scope, receive, send)
        except ClientDisconnect:  # nobody is left to answer, and nothing went wrong
            raise
        except Exception as exc:
            if exchange_of(scope).status is not None:
                # Too late for another answer: the server closes the connection and prints the
                # traceback. This line tells whose request it was.
                log.error("answer_broken_off", error=type(exc).__name__)  # noqa: TRY400
                self.report(scope, exc)
                raise
            response = self.render(scope, exc)
            if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
                log.exception("unhandled_error")
                self.report(scope, exc)
            await response(scope, receive, send)
