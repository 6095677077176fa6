"""A mail server in the test's own event loop, which can be told to refuse, or to take its time."""

import asyncio
import email
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

TAKEN = "250 Message accepted"
_TOKEN = re.compile(r"#token=([\w-]+)")


class Mailbox:
    """What arrived, in order. aiosmtpd finds the handlers by their names."""

    def __init__(self) -> None:
        self.port = 0
        self.mails: list[EmailMessage] = []
        self.attempts = 0
        # What to answer to the next recipients and contents, before all are taken again.
        self.recipient_answers: deque[str] = deque()
        self.content_answers: deque[str] = deque()
        self.begun = asyncio.Event()
        self.hung_up = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._arrivals: asyncio.Queue[EmailMessage] = asyncio.Queue()

    @property
    def settings(self) -> dict[str, Any]:
        return {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": self.port}

    async def next(self) -> EmailMessage:
        """Wait for the next mail."""
        return await self._arrivals.get()

    def to(self, address: str) -> list[EmailMessage]:
        return [mail for mail in self.mails if mail["To"] == address]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: object
    ) -> str:
        self.attempts += 1
        answer = self.recipient_answers.popleft() if self.recipient_answers else "250 OK"
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        self.begun.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:  # the client is gone
            self.hung_up.set()
            raise
        answer = self.content_answers.popleft() if self.content_answers else TAKEN
        if answer.startswith("2"):
            content = envelope.original_content
            assert content is not None
            mail = email.message_from_bytes(content, policy=default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
            self._arrivals.put_nowait(mail)
        return answer


@asynccontextmanager
async def serving_mail() -> AsyncIterator[Mailbox]:
    mailbox = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(mailbox, hostname="localhost", enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0
    )
    mailbox.port = server.sockets[0].getsockname()[1]
    yield mailbox
    server.close()
    await server.wait_closed()


def texts(mail: EmailMessage) -> tuple[str, str]:
    """The plain text and the HTML of a mail."""
    plain, html = mail.get_body(["plain"]), mail.get_body(["html"])
    assert plain is not None
    assert html is not None
    return plain.get_content(), html.get_content()


def token_of(mail: EmailMessage) -> str:
    """The token of the link in a mail; the text and the HTML hold the same one."""
    plain, html = texts(mail)
    (token,) = {match for text in (plain, html) for match in _TOKEN.findall(text)}
    return str(token)


def newest_token(mails: list[EmailMessage]) -> str:
    """The token of the last of these mails that has one: notices come without."""
    return token_of(next(mail for mail in reversed(mails) if "#token=" in texts(mail)[0]))
