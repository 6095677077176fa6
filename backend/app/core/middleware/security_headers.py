"""Headers that tell browsers to trust an answer no further than it needs."""

from app.core.exchange import Field

_HEADERS: tuple[Field, ...] = (
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
_HSTS: Field = (b"strict-transport-security", b"max-age=31536000")


def security_headers(*, hsts: bool) -> tuple[Field, ...]:
    """What an answer carries unless it says otherwise: the docs pages, for one, have their own CSP.

    Args:
        hsts: tell browsers to come back by HTTPS only; off where development is plain HTTP.
    """
    return (*_HEADERS, _HSTS) if hsts else _HEADERS
