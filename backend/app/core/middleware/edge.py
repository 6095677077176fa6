"""The outermost layer: what every request meets, whatever becomes of it."""

from collections.abc import Callable, Sequence
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.context import enter_request, leave_request
from app.core.exchange import Exchange, leave
from app.core.middleware.errors import Render, Report, last_answer
from app.core.middleware.request_id import request_id_of

Check = Callable[[Scope, Exchange], Response | None]
"""Looks at a request by its first lines: it may correct the scope, say what the answer is to carry,
raise an error to refuse the request, or answer it."""

Observer = Callable[[Scope, Exchange, float, BaseException | None], None]
"""Is told of a request that is over: the seconds it took, and what broke it off, if something did.
By then the router, the checks and authentication have filled the scope."""


class EdgeMiddleware:
    """Makes the exchange, gives the request its id, runs the checks, answers errors, and tells.

    None of that waits for anything, and a layer for each would cost more than what it does.

    Args:
        app: the next ASGI application.
        checks: in their order; the first may refuse what the others would admit.
        observers: are told of every request, refused ones and broken ones too.
        arrivals: are told that there is a request, of which the observers will be told.
        render: turns an exception that nobody else handled into the answer.
        report: is told of what nobody foresaw; by default, nobody is.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        checks: Sequence[Check] = (),
        observers: Sequence[Observer] = (),
        arrivals: Sequence[Callable[[], None]] = (),
        render: Render,
        report: Report = lambda *_: None,
    ) -> None:
        self.app = app
        self.checks = tuple(checks)
        self.observers = tuple(observers)
        self.arrivals = tuple(arrivals)
        self.render = render
        self.report = report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        started_at = perf_counter()
        for arrive in self.arrivals:
            arrive()
        exchange = Exchange(scope, send)
        request_id = request_id_of(exchange)
        exchange.request_id = request_id.encode()
        context = enter_request(request_id)
        failure: BaseException | None = None
        try:
            await (self._check(scope, exchange) or self.app)(scope, receive, exchange.send)
        except ClientDisconnect as gone:
            # Nobody is left to answer; further out this would be logged as a crash.
            failure = gone
        except Exception as error:
            answer = last_answer(error, scope, exchange, render=self.render, report=self.report)
            if answer is None:
                failure = error
                raise
            await answer(scope, receive, exchange.send)
        except BaseException as cancelled:
            failure = cancelled
            raise
        finally:
            for tell in self.observers:
                tell(scope, exchange, perf_counter() - started_at, failure)
            failure = None  # it knows this frame: else they would keep each other
            leave_request(context)
            leave(scope)

    def _check(self, scope: Scope, exchange: Exchange) -> Response | None:
        for check in self.checks:
            answer = check(scope, exchange)
            if answer is not None:
                return answer
        return None
