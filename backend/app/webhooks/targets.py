"""Which addresses a webhook may be sent to: public ones, and those that the operator allows.

Whoever may name a URL would otherwise reach what only this machine can: its own services, the
network behind it, the cloud's metadata (OWASP: server-side request forgery). A name says nothing:
what is judged is each address that it stands for, and the connection goes to that address.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The IANA registries of special-purpose addresses (RFC 6890), and what is reserved or multicast.
# Written out, since what the standard library calls global differs with its version.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
# All else is special: loopback, addresses with an IPv4 one inside (mapped, NAT64), link-local,
# site-local, private, multicast.
_PUBLIC_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # Teredo, ORCHID and other protocols' own
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address inside
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)


def is_allowed(address: Address, networks: Iterable[Network]) -> bool:
    """Whether the operator allows this address, though it is not public."""
    return any(address in network for network in networks)


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could send there as well."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    is_ordinary = not any(address in network for network in _NOT_PUBLIC_V6)
    return address in _PUBLIC_V6 and is_ordinary and address.scope_id is None


def literal(host: str) -> Address | None:
    """The address that a URL's host is; None: it is a name."""
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None
