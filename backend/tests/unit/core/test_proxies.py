from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from starlette.types import Message

from app.core.exchange import Exchange
from app.core.middleware.proxies import ProxyCheck, parse_hop

from .recorder import http_scope

OURS = ProxyCheck([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")])
PROXY, CLIENT, STRANGER = "10.0.0.1", "203.0.113.7", "198.51.100.9"


@pytest.mark.parametrize(
    ("hop", "address"),
    [
        ("203.0.113.7", CLIENT),
        (" 203.0.113.7\t", CLIENT),
        ("203.0.113.7:51234", CLIENT),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:51234", "2001:db8::1"),
        ("::ffff:203.0.113.7", CLIENT),
        ("[::ffff:203.0.113.7]:80", CLIENT),
    ],
)
def test_a_hop_is_an_address_with_or_without_a_port(hop: str, address: str) -> None:
    assert parse_hop(hop) == ip_address(address)


@pytest.mark.parametrize(
    "hop",
    [
        "",
        "unknown",
        "_hidden",
        "localhost",
        "203.0.113",
        "203.0.113.07",
        "203.0.113.7:x",
        "203.0.113.7:\u0663",
        "[2001:db8::1",
        "[2001:db8::1]x",
        "fe80::1%eth0",
        "1" * 5000,
    ],
)
def test_nothing_else_is(hop: str) -> None:
    assert parse_hop(hop) is None


def asked(
    peer: str | None, *forwarded: bytes, scheme: tuple[bytes, ...] = (), by: ProxyCheck = OURS
) -> dict[str, Any]:
    """Client and scheme of a request from this peer with these lines of X-Forwarded-For."""

    async def send(message: Message) -> None:
        raise AssertionError

    headers = [(b"x-forwarded-for", line) for line in forwarded]
    headers += [(b"x-forwarded-proto", line) for line in scheme]
    scope = http_scope(headers=headers, client=(peer, 50_000) if peer else None, scheme="http")
    by(scope, Exchange(scope, send))
    return {"client": scope["client"] and scope["client"][0], "scheme": scope["scheme"]}


def client(peer: str | None, *forwarded: bytes, by: ProxyCheck = OURS) -> Any:
    return asked(peer, *forwarded, by=by)["client"]


def test_behind_a_proxy_the_client_is_whom_it_names() -> None:
    assert client(PROXY, b"203.0.113.7") == CLIENT
    assert client("2001:db8::1", b"203.0.113.7") == CLIENT
    assert client("::ffff:10.0.0.1", b"203.0.113.7") == CLIENT


def test_behind_several_the_client_is_the_first_that_is_none_of_them() -> None:
    assert client(PROXY, b"203.0.113.7, 10.0.0.3, 10.0.0.2") == CLIENT
    assert client(PROXY, b"203.0.113.7", b"10.0.0.3,10.0.0.2") == CLIENT


@pytest.mark.parametrize("claim", [b"198.51.100.9", b"10.0.0.9", b"127.0.0.1", b"junk", b",,", b""])
def test_what_a_client_claims_changes_nothing(claim: bytes) -> None:
    assert client(PROXY, claim + b", 203.0.113.7") == CLIENT
    assert client(PROXY, claim, b"203.0.113.7") == CLIENT
    assert client(CLIENT, claim) == CLIENT


def test_where_all_are_proxies_the_client_is_the_farthest() -> None:
    assert client(PROXY, b"10.0.0.3, 10.0.0.2") == "10.0.0.3"


@pytest.mark.parametrize("junk", [b"unknown", b"", b"203.0.113.7 x", b"\xff"])
def test_junk_ends_the_walk_at_whoever_passed_it_on(junk: bytes) -> None:
    assert client(PROXY, b"203.0.113.7, " + junk + b", 10.0.0.2") == "10.0.0.2"
    assert client(PROXY, b"203.0.113.7, " + junk) == PROXY


def test_without_the_header_the_proxy_is_the_client() -> None:
    assert client(PROXY) == PROXY


def test_the_scheme_is_believed_from_proxies_only() -> None:
    assert asked(PROXY, scheme=(b"https",))["scheme"] == "https"
    assert asked(CLIENT, scheme=(b"https",))["scheme"] == "http"


@pytest.mark.parametrize("scheme", [(b"ftp",), (b"",), (b"https, http",), (b"https", b"https")])
def test_a_scheme_that_is_not_clear_is_not_believed(scheme: tuple[bytes, ...]) -> None:
    assert asked(PROXY, scheme=scheme)["scheme"] == "http"


def test_a_socket_s_peer_is_believed_only_where_that_is_said() -> None:
    assert client(None, b"203.0.113.7") is None
    assert client(None, b"203.0.113.7", by=ProxyCheck([], trusts_sockets=True)) == CLIENT


def test_nobody_is_believed_by_default() -> None:
    for peer in (PROXY, "127.0.0.1", STRANGER):
        assert client(peer, b"203.0.113.7", by=ProxyCheck([])) == peer
