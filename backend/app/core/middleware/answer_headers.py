"""What every answer carries, an error's too: the security headers and those of CORS."""

from collections.abc import Iterable

from starlette.types import Scope

from app.core.exchange import Exchange, Field
from app.core.middleware.cors import CorsPolicy


class AnswerHeaders:
    """Names the headers on the way in, so that whoever answers, answers with them.

    The first of the checks: what the others refuse carries them too.

    Args:
        security: headers for all answers that do not have their own of the name.
        cors: what pages of other origins may read.
    """

    def __init__(self, *, security: Iterable[Field], cors: CorsPolicy) -> None:
        self.security = dict(security)
        self.cors = cors

    def __call__(self, _scope: Scope, exchange: Exchange) -> None:
        exchange.defaults = self.security
        exchange.added = self.cors.answer_headers(exchange.one(b"origin"))
