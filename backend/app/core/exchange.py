"""One request and its answer, as every layer between the socket and the endpoint sees them.

The outermost layer reads the request's headers once and wraps `send` once. Those further in ask
here for what was sent, say here what every answer is to carry, and see here what was answered: none
of them reads the headers again, or wraps `send` for itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from starlette.types import Message, Scope, Send

Field = tuple[bytes, bytes]
"""A header: its name in lower case, as ASGI has it, and its value."""

_KEY = "oneslot.exchange"
_NONE: Mapping[bytes, bytes] = {}
_REQUEST_ID = b"x-request-id"


class Exchange:
    """What was asked, what is added to the answer, and what has been answered so far."""

    __slots__ = (
        "_fields",
        "_send",
        "added",
        "defaults",
        "problem",
        "raw",
        "request_id",
        "size",
        "status",
    )

    def __init__(self, scope: Scope, send: Send) -> None:
        self.raw: Sequence[Field] = scope["headers"]
        # The last of each name: nearly always there is but one.
        self._fields: dict[bytes, bytes] = dict(self.raw)
        self._send = send
        self.request_id: bytes | None = None
        """Sent with the answer, which may bring no other."""
        self.added: tuple[Field, ...] = ()
        """What the answer carries besides its own headers, of the same name too."""
        self.defaults: Mapping[bytes, bytes] = _NONE
        """What it carries unless it has a header of that name itself."""
        self.status: int | None = None
        """None until an answer was started; then it is too late for another."""
        self.size = 0
        """Bytes of the answer's body so far."""
        self.problem: tuple[str, str] | None = None
        """Code and reason (or nothing) of the problem that was answered, for logs and metrics."""
        scope[_KEY] = self

    @property
    def header_bytes(self) -> int:
        """Bytes of all names and values."""
        return sum(map(len, chain.from_iterable(self.raw)))

    def has(self, name: bytes) -> bool:
        return name in self._fields

    def one(self, name: bytes) -> bytes | None:
        """The header's value; None where it is missing, or stands there more than once."""
        if len(self._fields) != len(self.raw) and len(self.all(name)) > 1:
            return None
        return self._fields.get(name)

    def all(self, name: bytes) -> list[bytes]:
        """The values of all headers of this name, in the order in which they came."""
        if name not in self._fields:
            return []
        return [value for key, value in self.raw if key == name]

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            # A new list: the old one may belong to a response object that is used again.
            message["headers"] = self._headers(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
        await self._send(message)

    def _headers(self, own: Iterable[Field]) -> list[Field]:
        headers, defaults = list(own), self.defaults
        for name, _ in headers:
            if name in defaults or name == _REQUEST_ID:
                break
        else:
            headers += defaults.items()
            return self._with_added(headers)
        named = {name for name, _ in headers}
        headers += [field for field in defaults.items() if field[0] not in named]
        if self.request_id is not None:
            headers = [field for field in headers if field[0] != _REQUEST_ID]
        return self._with_added(headers)

    def _with_added(self, headers: list[Field]) -> list[Field]:
        headers += self.added
        if self.request_id is not None:
            headers.append((_REQUEST_ID, self.request_id))
        return headers


def leave(scope: Scope) -> None:
    """Take the exchange out of the scope, to which the server's `send` refers.

    Else only the garbage collector could free them, which takes longer than all else here.
    """
    scope.pop(_KEY, None)


def note_problem(scope: Scope, code: str, reason: str) -> None:
    """Say which problem is answered; without an exchange (an application in parts) nobody asks."""
    exchange: Exchange | None = scope.get(_KEY)
    if exchange is not None:
        exchange.problem = (code, reason)


def exchange_of(scope: Scope) -> Exchange:
    """The exchange that this request is part of; `EdgeMiddleware` must stand further out."""
    exchange: Exchange = scope[_KEY]
    return exchange
