from ipaddress import ip_address, ip_network

import pytest

from app.webhooks.targets import is_allowed, is_public


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.215.14", "223.255.255.255", "2606:4700::6810:84e5", "2a00:1450:4001::1"],
)
def test_ordinary_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.1.2.3",
        "100.64.0.1",
        "192.0.0.8",
        "192.88.99.1",
        "198.19.255.255",
        "203.0.113.9",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::ffff:1.1.1.1",
        "64:ff9b::1.1.1.1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:101:101::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fe80::1",
        "2606:4700::1%eth0",
    ],
)
def test_special_ones_are_not(address: str) -> None:
    assert not is_public(ip_address(address))


def test_an_operator_allows_networks_by_the_kind_of_address_that_they_are() -> None:
    networks = [ip_network("127.0.0.0/8")]
    assert is_allowed(ip_address("127.9.9.9"), networks)
    assert not is_allowed(ip_address("::ffff:127.0.0.1"), networks)
    assert not is_allowed(ip_address("128.0.0.1"), networks)
