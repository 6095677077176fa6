"""The last resort: what nobody handled becomes a problem like any other error.

Starlette's own handler for 500 sits outside every other middleware, where an answer gets neither
CORS nor security headers: a browser then shows a network error instead of a 500.
"""

from collections.abc import Callable
from http import HTTPStatus

import structlog
from starlette.responses import Response
from starlette.types import Scope

from app.core.exchange import Exchange

log = structlog.get_logger(__name__)

Render = Callable[[Scope, Exception], Response]
"""Turns any exception into the problem to send: an expected one (the body limit's 413) into its
own, all others into 500."""


Report = Callable[[Scope, Exception], None]
"""Tells whoever keeps track of errors."""


def last_answer(
    error: Exception, scope: Scope, exchange: Exchange, *, render: Render, report: Report
) -> Response | None:
    """The answer to an exception that escaped; what becomes a 500 is logged, and reported.

    None: it is too late for another answer. The server closes the connection and prints the
    traceback; a line here tells whose request it was.
    """
    if exchange.status is not None:
        log.error("answer_broken_off", error=type(error).__name__)
        report(scope, error)
        return None
    answer = render(scope, error)
    if answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("unhandled_error", exc_info=error)
        report(scope, error)
    return answer
