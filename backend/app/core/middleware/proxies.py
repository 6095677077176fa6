"""Who is calling, behind reverse proxies: X-Forwarded-* is believed from known ones only.

Each proxy appends the address it was called from to X-Forwarded-For. So only what stands to the
right is worth anything: from there on, addresses of our own proxies are passed over, and the first
other one is the client's. What a client writes into the header itself stands further left.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

from app.core.exchange import Exchange

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_REMEMBERED = 1024
_SCHEMES = frozenset({b"http", b"https"})


class ProxyCheck:
    """Corrects `client` and `scheme` of requests that come through a trusted proxy.

    Args:
        networks: where trusted proxies are.
        trusts_sockets: whether a peer without an address, on a Unix socket, is one as well.
    """

    def __init__(self, networks: Sequence[Network], *, trusts_sockets: bool = False) -> None:
        self._networks = tuple(networks)
        self._trusts_sockets = trusts_sockets
        self._is_trusted_peer = lru_cache(_REMEMBERED)(self._is_trusted_host)

    def __call__(self, scope: Scope, exchange: Exchange) -> None:
        client = scope.get("client")
        if not (self._is_trusted_peer(client[0]) if client else self._trusts_sockets):
            return
        forwarded = exchange.all(b"x-forwarded-for")
        address = self.client_behind(forwarded)
        if address is not None:
            # Nothing here needs the port, which proxies seldom tell.
            scope["client"] = (address, 0)
        scheme = exchange.one(b"x-forwarded-proto")
        if scheme in _SCHEMES:
            scope["scheme"] = scheme.decode()

    def client_behind(self, lines: Iterable[bytes]) -> str | None:
        """The right-most address that is no trusted proxy's; if all are, the left-most.

        What is no address ends the walk: whoever passed it on is the last that is known. None: not
        even the right-most is an address.
        """
        found: Address | None = None
        for hop in reversed(b",".join(lines).split(b",")):
            address = parse_hop(hop.decode("latin-1"))
            if address is None:
                break
            found = address
            if not self.trusts(address):
                break
        return None if found is None else str(found)

    def trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _is_trusted_host(self, host: str) -> bool:
        address = parse_hop(host.partition("%")[0])  # a link-local one may name its interface
        return address is not None and self.trusts(address)


def parse_hop(hop: str) -> Address | None:
    """The address in an entry of X-Forwarded-For: bare, with a port, or in brackets."""
    text = hop.strip()
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
    else:
        port = ""
    if "%" in text or (port and not (port.isascii() and port.isdigit())):
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
