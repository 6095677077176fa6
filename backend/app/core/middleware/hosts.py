"""Which names this service answers to (ALLOWED_HOSTS), and that each request gives exactly one."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address

from starlette.types import Scope

from app.core.errors import InvalidHost
from app.core.exchange import Exchange

# RFC 9110, 7.2, without user names and percent signs, which no host of ours has.
_HOST = re.compile(
    r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?)\.?(?::[0-9]{1,5})?"
)
_LONGEST = 260  # of a name, with its last dot and a port
_REMEMBERED = 1024
# Load balancers, Kubernetes and Prometheus ask each instance by its address. No web page can make
# a browser send an address in Host and believe that the answer is the page's own.
ASKED_BY_ADDRESS = frozenset({"/health", "/health/ready", "/metrics"})


def host_name(host: str) -> str | None:
    """The name or address in a Host header, in lower case and without its port; None: malformed.

    An address of IPv6 keeps its brackets.
    """
    match = _HOST.fullmatch(host.lower()) if len(host) <= _LONGEST else None
    if match is None or (match["name"].startswith("[") and not _is_address(match["name"])):
        return None
    return match["name"]


class HostCheck:
    """Admits requests for certain names.

    Args:
        allowed: names, `*.example.com` for all below example.com (and not itself), `*` for any.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        names = {name.lower().rstrip(".") for name in allowed}
        self._takes_any = "*" in names
        self._names = frozenset(name for name in names if "*" not in name)
        self._endings = tuple(name.removeprefix("*") for name in names if name.startswith("*."))
        # The same few come again and again; a stranger's inventions push one another out.
        self._name = lru_cache(_REMEMBERED)(self._judge)

    def __call__(self, scope: Scope, exchange: Exchange) -> None:
        """Raise InvalidHost for a Host that is missing, double, malformed or of someone else."""
        host = exchange.one(b"host")
        if host is None:
            raise InvalidHost
        name, is_allowed = self._name(host)
        if is_allowed:
            return
        if name is None or scope["path"] not in ASKED_BY_ADDRESS or not _is_address(name):
            raise InvalidHost

    def _judge(self, host: bytes) -> tuple[str | None, bool]:
        name = host_name(host.decode("latin-1"))
        return name, name is not None and self.allows(name)

    def allows(self, name: str) -> bool:
        return self._takes_any or name in self._names or name.endswith(self._endings)


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
