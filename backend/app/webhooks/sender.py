"""One message to one URL, and what came of it. Nothing but the address that was judged is reached.

The name is resolved once, every address it has is judged, and the connection goes to one of those:
a name server that says something else a moment later is not asked again. Redirections are not
followed, and proxies of the environment are not used.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from time import monotonic

import httpx

from app.webhooks.targets import Address, Network, is_allowed, is_public

TIMEOUT_SECONDS = 15.0
"""For everything: to resolve, to connect, to send and to hear the beginning of the answer."""
EXCERPT_BYTES = 1_000
_CONNECT_SECONDS = 5.0
_MOST_ADDRESSES = 2

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` and the beginning of the answer, or the kind of `error`; how long it took."""

    status: int | None
    excerpt: str | None
    error: str | None
    milliseconds: int


class _NotSent(Exception):
    """The message did not reach anybody. Its text is the kind of error."""


async def resolved(host: str, port: int) -> Sequence[Address]:
    """Every address of a host, as the system says."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _NotSent("unresolvable") from None
    return [ip_address(address[0]) for *_, address in found]


class Sender:
    """Sends messages to public addresses, and to those in `networks`, there without TLS too."""

    def __init__(self, networks: Sequence[Network] = (), *, resolve: Resolve = resolved) -> None:
        self._networks = networks
        self._resolve = resolve

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Post the body. Never raises: whatever went wrong is the outcome."""
        began_at = monotonic()
        status = excerpt = error = None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, excerpt = await self._post(httpx.URL(url), headers, body)
        except _NotSent as problem:
            error = str(problem)
        except (TimeoutError, httpx.TimeoutException):
            error = "timeout"
        except httpx.ConnectError as problem:
            is_tls = isinstance(problem.__context__, ssl.SSLError) or "SSL" in str(problem)
            error = "tls_failed" if is_tls else "connect_failed"
        except httpx.InvalidURL:
            error = "unresolvable"
        except (httpx.HTTPError, OSError, ValueError):
            error = "broken_answer"
        return Outcome(status, excerpt, error, int((monotonic() - began_at) * 1000))

    async def _post(
        self, url: httpx.URL, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, str]:
        addresses = await self._judged(url)
        for address in addresses[:-1]:
            try:
                return await self._post_to(address, url, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._post_to(addresses[-1], url, headers, body)

    async def _judged(self, url: httpx.URL) -> Sequence[Address]:
        """Where the message may go; one address that is none of its own spoils all others."""
        port = url.port or (80 if url.scheme == "http" else 443)
        addresses = await self._resolve(url.raw_host.decode(), port)
        for address in addresses:
            if is_allowed(address, self._networks):
                continue
            if url.scheme != "https" or not is_public(address):
                raise _NotSent("unsafe_target")
        if not addresses:
            raise _NotSent("unresolvable")
        return addresses[:_MOST_ADDRESSES]

    async def _post_to(
        self, address: Address, url: httpx.URL, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, str]:
        host = url.raw_host.decode()
        async with (
            httpx.AsyncClient(
                verify=self._tls,
                trust_env=False,
                follow_redirects=False,
                timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=_CONNECT_SECONDS),
            ) as client,
            client.stream(
                "POST",
                url.copy_with(host=str(address)),
                content=body,
                headers={
                    "Host": url.netloc.decode(),
                    "Accept-Encoding": "identity",
                    "Content-Type": "application/json",
                    "User-Agent": "oneslot-webhooks",
                    **headers,
                },
                # The certificate has to be the name's, not the address's.
                extensions={"sni_hostname": host},
            ) as response,
        ):
            beginning = b""
            async for part in response.aiter_raw():
                beginning += part[:EXCERPT_BYTES]
                if len(beginning) >= EXCERPT_BYTES:
                    break
            return response.status_code, _text(beginning)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made once: to read all certificates takes longer than a message."""
        return httpx.create_ssl_context()


def _text(content: bytes) -> str:
    """What of it is text, for the log; Postgres keeps no NUL."""
    return (
        content[:EXCERPT_BYTES].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    )
