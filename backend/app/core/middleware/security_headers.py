"""Headers that tell browsers to trust an answer no further than it needs."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    # JSON must never be taken for a page or a script, nor load or frame anything.
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    (b"x-frame-options", b"DENY"),
    # Links in mails carry one-time tokens.
    (b"referrer-policy", b"no-referrer"),
    # This one is about loads without CORS (<img>, <script>), which no front end makes here. A
    # single-page app on another origin calls through CORS and is not concerned, so: the strictest.
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"permissions-policy",
        b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    # Answers hold personal data. A route whose answer may be kept says so itself.
    (b"cache-control", b"no-store"),
)
# Without includeSubDomains: neighbouring hosts are not this service's to decide for.
_HSTS = (b"strict-transport-security", b"max-age=31536000")


class SecurityHeadersMiddleware:
    """Adds what an answer does not set itself; the docs pages, for one, bring their own CSP.

    Args:
        app: the next ASGI application.
        hsts: tell browsers to come back by HTTPS only; off where development is plain HTTP.
    """

    def __init__(self, app: ASGIApp, *, hsts: bool) -> None:
        self.app = app
        self.headers = (*_HEADERS, _HSTS) if hsts else _HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", ()))
                names = {name.lower() for name, _ in own}
                message["headers"] = own + [h for h in self.headers if h[0] not in names]
            await send(message)

        await self.app(scope, receive, send_with_headers)
