"""HEAD is GET without the body (RFC 9110, 9.3.2), on every route that has GET."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """Further in there is no HEAD. The answer keeps its Content-Length, and loses its content.

    The scope further out keeps the method: the server goes by it, and so does the access log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_without_content(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        asked = {**scope, "method": "GET"}
        try:
            await self.app(asked, receive, send_without_content)
        finally:
            scope.update({**asked, "method": "HEAD"})
