"""Questions about free times, remembered by their text.

To read and check a query of nine parameters costs more than to answer it. So who asks again, word
for word, is understood at once; the answer itself is made as ever.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from cachetools import LRUCache
from fastapi import Request, Response

from app.availability.answers import Answer
from app.availability.free_times_service import FreeTimesService
from app.core.routing import ApiRoute, Handler, conditional

Asking: TypeAlias = Callable[[FreeTimesService], Awaitable[Answer]]

_REMEMBERED: Final = 4096
_LONGEST: Final = 2000


class Questions:
    """The questions of this process that were understood last, by path and query."""

    def __init__(self) -> None:
        self._asked: LRUCache[tuple[str, bytes], Asking] = LRUCache(_REMEMBERED)

    def recall(self, request: Request) -> Asking | None:
        return self._asked.get(_text(request))

    def remember(self, request: Request, asking: Asking) -> None:
        """Remember what a request asked for, once it has been answered."""
        path, query = _text(request)
        if len(query) <= _LONGEST:
            self._asked[path, query] = asking


class RememberingRoute(ApiRoute):
    """A route that answers a remembered question without reading it again."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            state = request.app.state
            asking = state.questions.recall(request)
            if asking is None:
                return await handle(request)
            free_times = FreeTimesService(
                state.database.readers,
                state.answer_cache,
                state.clock,
                state.settings.BUSINESS_TIME_ZONE,
            )
            return conditional(request, as_response(await asking(free_times)))

        return handler


def as_response(answer: Answer) -> Response:
    return Response(
        answer.body,
        media_type="application/json",
        # Clients may keep it, but must ask before they use it: a free time is soon taken.
        headers={"ETag": answer.etag, "Cache-Control": "no-cache"},
    )


def _text(request: Request) -> tuple[str, bytes]:
    return request.scope["path"], request.scope["query_string"]
