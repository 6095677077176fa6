"""Where a message can end up: at the address that was judged, or nowhere."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from app.webhooks import sender as module
from app.webhooks.sender import EXCERPT_BYTES, Outcome, Resolve, Sender
from app.webhooks.targets import Address
from tests.receiver import Receiver, receiving

LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1")]

# Each stands for an address that only this machine, or its network, can reach.
HOSTILE_ADDRESSES = [
    "127.0.0.1",
    "127.1",
    "127.255.255.254",
    "0x7f000001",
    "0x7f.0.0.1",
    "2130706433",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",  # noqa: S104 - to be refused
    "localhost",
    "LOCALHOST",
    "localhost.",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "169.254.169.254",
    "[fd00:ec2::254]",
    "[::ffff:169.254.169.254]",
    "100.100.100.200",
    "192.168.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "198.18.0.1",
    "192.88.99.1",
    "255.255.255.255",
    "224.0.0.1",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[2001:db8::1]",
]
# What a name server may say of a name that looks like any other.
HOSTILE_ANSWERS = [
    ["127.0.0.1"],
    ["::1"],
    ["::ffff:127.0.0.1"],
    ["169.254.169.254"],
    ["64:ff9b::a9fe:a9fe"],
    ["93.184.215.14", "127.0.0.1"],
    ["2606:4700::6810:84e5", "::1"],
    [],
]


def saying(*answers: Sequence[str]) -> Resolve:
    """A name server that says one thing after the other, and then that again and again."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> list[Address]:
        said = left.pop(0) if len(left) > 1 else left[0]
        return [ip_address(address) for address in said]

    return resolve


async def send(sender: Sender, url: str) -> Outcome:
    return await sender.send(url, {"webhook-id": "1"}, b"{}")


@pytest.fixture
async def trap() -> AsyncIterator[Receiver]:
    """What nobody may reach, wherever on this machine it is looked for."""
    hosts = ["127.0.0.1", "::1"] if socket.has_ipv6 else ["127.0.0.1"]
    async with receiving(*hosts) as trap:
        yield trap
        # Who has connected and not been served yet is served before this is looked at.
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CONNECT_SECONDS", 1.0)


async def test_the_trap_is_reached_where_the_operator_allows_it(trap: Receiver) -> None:
    """Else the tests below would show nothing."""
    for host in ("127.0.0.1", "localhost", "0x7f000001"):
        assert (await send(Sender(LOOPBACK), trap.url(host))).status == 204
    assert trap.connections == 3


async def test_no_spelling_of_a_private_address_is_contacted(trap: Receiver) -> None:
    for host in HOSTILE_ADDRESSES:
        for scheme in ("http", "https"):
            outcome = await send(Sender(), trap.url(host, scheme=scheme))
            # A spelling that the system does not know leads nowhere either.
            assert outcome.error in {"unsafe_target", "unresolvable"}, host
    assert trap.connections == 0


@pytest.mark.parametrize("answers", HOSTILE_ANSWERS)
async def test_no_name_leads_to_a_private_address(trap: Receiver, answers: list[str]) -> None:
    sender = Sender(resolve=saying(answers))
    outcome = await send(sender, trap.url("hooks.example.com", scheme="https"))
    assert outcome.error == ("unsafe_target" if answers else "unresolvable")
    assert trap.connections == 0


async def test_a_name_that_is_bound_anew_does_not_lead_elsewhere(trap: Receiver) -> None:
    async with receiving("127.0.0.2") as judged:
        sender = Sender([ip_network("127.0.0.2")], resolve=saying(["127.0.0.2"], ["127.0.0.1"]))
        url = f"http://hooks.example.com:{judged.port}/hooks"
        assert (await send(sender, url)).status == 204
        assert (await send(sender, trap.url("hooks.example.com"))).error == "unsafe_target"
    assert (judged.connections, trap.connections) == (1, 0)


async def test_redirections_are_not_followed(trap: Receiver) -> None:
    async with receiving("127.0.0.2") as judged:
        for status in (301, 302, 303, 307, 308):
            judged.answer(status, location=trap.url())
            outcome = await send(Sender([ip_network("127.0.0.2")]), judged.url("127.0.0.2"))
            assert outcome.status == status
    assert trap.connections == 0


async def test_proxies_of_the_environment_are_not_used(
    trap: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, trap.url())
    async with receiving("127.0.0.2") as judged:
        outcome = await send(Sender([ip_network("127.0.0.2")]), judged.url("127.0.0.2"))
        assert (outcome.status, judged.connections) == (204, 1)
    assert trap.connections == 0


async def test_without_tls_nothing_is_sent_to_the_public() -> None:
    sender = Sender(LOOPBACK, resolve=saying(["93.184.215.14"]))
    assert (await send(sender, "http://example.com/")).error == "unsafe_target"


async def test_the_receiver_is_asked_by_its_name(trap: Receiver) -> None:
    sender = Sender(LOOPBACK, resolve=saying(["127.0.0.1"]))
    await send(sender, trap.url("hooks.example.com"))
    (received,) = trap.received
    assert received.line == "POST /hooks?a=b HTTP/1.1"
    assert received.headers["host"] == f"hooks.example.com:{trap.port}"
    assert received.headers["content-type"] == "application/json"
    assert (received.headers["webhook-id"], received.body) == ("1", b"{}")


async def test_an_address_that_does_not_answer_gives_way_to_the_next(trap: Receiver) -> None:
    async with receiving("127.0.0.1") as other:
        closed = other.port
    sender = Sender(LOOPBACK, resolve=saying(["127.0.0.9", "127.0.0.1"]))
    assert closed != trap.port
    assert (await send(sender, trap.url("hooks.example.com"))).status == 204


async def test_only_the_beginning_of_an_answer_is_read(trap: Receiver) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n"
    trap.answers.append(head + b"a\x00\xff" + b"b" * 5 * EXCERPT_BYTES)
    outcome = await send(Sender(LOOPBACK), trap.url())
    assert outcome.status == 200
    assert outcome.excerpt is not None
    assert outcome.excerpt.startswith("a��bbb")
    assert len(outcome.excerpt) == EXCERPT_BYTES


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000 + b"\r\n"]
)
async def test_a_broken_answer_is_an_outcome(trap: Receiver, answer: bytes) -> None:
    trap.answers.append(answer)
    assert (await send(Sender(LOOPBACK), trap.url())).error == "broken_answer"


async def test_who_does_not_answer_is_given_up(
    trap: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    never = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    outcome = await send(Sender(LOOPBACK), f"http://127.0.0.1:{port}/")
    assert (outcome.status, outcome.error) == (None, "timeout")
    assert outcome.milliseconds >= 200
    never.set()
    server.close()


async def test_who_refuses_a_connection_is_an_outcome() -> None:
    async with receiving("127.0.0.1") as gone:
        pass
    assert (await send(Sender(LOOPBACK), gone.url())).error == "connect_failed"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of hooks.example.com that nobody has signed but itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("hooks.example.com")]), critical=False
        )
        .sign(key, SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


async def test_the_certificate_has_to_be_the_names(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    sender = Sender(LOOPBACK, resolve=saying(["127.0.0.1"]))
    async with receiving(tls=context) as receiver:

        async def told(name: str) -> int | str | None:
            outcome = await send(sender, receiver.url(name, scheme="https"))
            return outcome.error or outcome.status

        assert await told("hooks.example.com") == "tls_failed"  # nobody has signed it
        trusting = ssl.create_default_context(cafile=certificate)
        monkeypatch.setattr(sender, "_tls", trusting)
        assert await told("hooks.example.com") == 204
        assert await told("other.example.com") == "tls_failed"
        assert await told("127.0.0.1") == "tls_failed"
        assert len(receiver.received) == 1
    assert asked_for == ["hooks.example.com"] * 2 + ["other.example.com", None]
