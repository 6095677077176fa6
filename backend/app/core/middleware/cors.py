"""Which web pages may read answers (the Fetch standard's CORS), and with what they may ask.

Starlette's middleware does much the same, for a third of what FastAPI itself needs for a request.
"""

from collections.abc import Iterable

from starlette.responses import Response
from starlette.types import Scope

from app.core.exchange import Exchange, Field

ANY = "*"
PREFLIGHT_SECONDS = 600

_VARY: Field = (b"vary", b"Origin")


class CorsPolicy:
    """What origins may do, as headers that are written once.

    Args:
        origins: those that are admitted, as browsers spell them; `*` admits all.
        methods: what they may ask for.
        request_headers: what they may send, besides what the standard always admits.
        exposed_headers: what they may read, besides what the standard always admits.
        credentials: whether they may send cookies along; not together with `*`.
    """

    def __init__(
        self,
        origins: Iterable[str],
        *,
        methods: Iterable[str],
        request_headers: Iterable[str],
        exposed_headers: Iterable[str],
        credentials: bool = False,
    ) -> None:
        admitted = frozenset(origins)
        if credentials and ANY in admitted:
            raise ValueError("credentials are for origins that are named")
        shared: list[Field] = [
            (b"access-control-expose-headers", ", ".join(exposed_headers).encode()),
        ]
        if credentials:
            shared.append((b"access-control-allow-credentials", b"true"))
        self._takes_any = ANY in admitted
        if not self._takes_any:
            # On an answer to a request without an Origin too: a cache must not give it to one.
            shared.append(_VARY)
        self._admitted = {
            origin.encode(): ((b"access-control-allow-origin", origin.encode()), *shared)
            for origin in admitted
        }
        self._permitted: tuple[Field, ...] = (
            (b"access-control-allow-methods", ", ".join(methods).encode()),
            (b"access-control-allow-headers", ", ".join(request_headers).encode()),
            (b"access-control-max-age", str(PREFLIGHT_SECONDS).encode()),
        )

    def admits(self, origin: bytes | None) -> bool:
        """Whether a page of this origin may read; None: the request names none, or several."""
        return self._takes_any or origin in self._admitted

    def answer_headers(self, origin: bytes | None) -> tuple[Field, ...]:
        """What each answer to a page of this origin carries."""
        if self._takes_any:
            origin = ANY.encode()
        return self._admitted.get(origin or b"", (_VARY,))

    def permitted(self, origin: bytes) -> tuple[Field, ...]:
        """What the answer to its question carries besides."""
        return self._permitted if self.admits(origin) else ()

    def answer_preflight(self, scope: Scope, exchange: Exchange) -> Response | None:
        """A check that answers a browser's question whether a page may make a request.

        The browser compares what it wants with what it reads; so all get the same answer.
        """
        if scope["method"] != "OPTIONS" or not exchange.has(b"access-control-request-method"):
            return None
        origin = exchange.one(b"origin")
        if origin is None:
            return None
        exchange.added += self.permitted(origin)
        return Response(status_code=204)
