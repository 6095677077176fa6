import pytest
from starlette.types import Message

from app.core.errors import InvalidHost
from app.core.exchange import Exchange
from app.core.middleware.hosts import HostCheck, host_name

from .recorder import http_scope


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("example.com", "example.com"),
        ("Example.COM:8000", "example.com"),
        ("example.com.", "example.com"),
        ("example.com.:443", "example.com"),
        ("my_host", "my_host"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8::1]:8000", "[2001:db8::1]"),
    ],
)
def test_a_host_is_a_name_or_an_address_without_its_port(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":80",
        ".",
        ".example.com",
        "example..",
        "example.com:",
        "example.com:http",
        "example.com:123456",
        "a b",
        "a,b",
        "a/b",
        "user@example.com",
        "example.com\n",
        "ex\u00e4mple.com",
        "::1",
        "[::1",
        "[::g]",
        "[1:2]",
        "[127.0.0.1]x",
        "a" * 261,
    ],
)
def test_anything_else_is_malformed(host: str) -> None:
    assert host_name(host) is None


def admits(allowed: list[str], *hosts: bytes, path: str = "/") -> bool:
    async def send(message: Message) -> None:
        raise AssertionError

    scope = http_scope(path, headers=[(b"host", host) for host in hosts])
    try:
        HostCheck(allowed)(scope, Exchange(scope, send))
    except InvalidHost:
        return False
    return True


@pytest.mark.parametrize("host", [b"example.com", b"EXAMPLE.com:8000", b"example.com."])
def test_a_name_admits_itself_whatever_its_port(host: bytes) -> None:
    assert admits(["other.test", "Example.com"], host)


@pytest.mark.parametrize(
    "host",
    [b"evil.test", b"example.com.evil.test", b"api.example.com", b"notexample.com", b"127.0.0.1"],
)
def test_a_name_admits_no_other(host: bytes) -> None:
    assert not admits(["example.com"], host)


def test_a_wildcard_admits_what_is_below_it() -> None:
    assert admits(["*.example.com"], b"api.example.com:80")
    assert admits(["*.example.com"], b"a.b.example.com")
    for host in (b"example.com", b"evilexample.com", b"api.example.com.evil.test"):
        assert not admits(["*.example.com"], host)


def test_an_address_of_ipv6_is_allowed_as_it_is_written_in_a_url() -> None:
    assert admits(["[::1]"], b"[::1]:8000")
    assert not admits(["[::1]"], b"[::2]")


@pytest.mark.parametrize("allowed", ["*", "example.com"])
@pytest.mark.parametrize("path", ["/", "/health"])
def test_one_host_must_be_named_and_no_two(allowed: str, path: str) -> None:
    assert not admits([allowed], path=path)
    assert not admits([allowed], b"example.com", b"example.com", path=path)
    assert not admits([allowed], b"example.com", b"evil.test", path=path)
    assert not admits([allowed], b"", path=path)


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/metrics"])
def test_machines_may_ask_each_instance_by_its_address(path: str) -> None:
    assert admits(["example.com"], b"10.0.0.7:8000", path=path)
    assert admits(["example.com"], b"[fd00::7]:8000", path=path)
    assert not admits(["example.com"], b"evil.test", path=path)
    assert not admits(["example.com"], b"[fd00", path=path)


@pytest.mark.parametrize("path", ["/", "/api/v1/services", "/health/", "/healthy"])
def test_nothing_else_is_asked_by_address(path: str) -> None:
    assert not admits(["example.com"], b"10.0.0.7", path=path)
