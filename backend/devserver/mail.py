"""A mail server that delivers nothing: it keeps each mail as a file, and shows them on a page."""

import asyncio
import itertools
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from devserver.folders import make_private
from devserver.mail_page import MailPage
from devserver.ports import listen

# Loopback only: this server asks nobody for a password.
HOST = "127.0.0.1"
LARGEST_MAIL = 32 * 1024 * 1024


class MailCatcher:
    """Takes mail on one port and shows it on another, or on free ports where they are taken.

    Both servers run in threads of the launcher and end with it.
    """

    def __init__(self, folder: Path, *, smtp_port: int = 0, page_port: int = 0) -> None:
        self._folder = folder
        self._wanted_ports = (smtp_port, page_port)
        self._smtp: SmtpThread | None = None
        self._page: MailPage | None = None

    def start(self) -> None:
        make_private(self._folder)
        smtp_port, page_port = self._wanted_ports
        self._page = MailPage(self._folder, listen(HOST, page_port))
        self._page.start()
        self._smtp = SmtpThread(self._folder, listen(HOST, smtp_port))
        self._smtp.start()

    def stop(self) -> None:
        """Stop both servers; the mails stay. Nothing happens if they do not run."""
        if self._smtp is not None:
            self._smtp.stop()
            self._smtp = None
        if self._page is not None:
            self._page.stop()
            self._page = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which the app sends its mail here."""
        if self._smtp is None:
            raise RuntimeError("The mail catcher has not been started.")
        return {
            "MAIL_SERVER": HOST,
            "MAIL_PORT": str(self._smtp.port),
            "MAIL_USERNAME": "",
            "MAIL_PASSWORD": "",
            "MAIL_STARTTLS": "false",
            "MAIL_SSL_TLS": "false",
        }

    @property
    def page_url(self) -> str:
        if self._page is None:
            raise RuntimeError("The mail catcher has not been started.")
        return f"http://{HOST}:{self._page.port}/"


class SmtpThread:
    """aiosmtpd in a thread of its own, on a socket that listens already.

    (Its `Controller` cannot be given a socket, so it cannot be sure of the port it gets.)
    """

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self.port: int = listener.getsockname()[1]
        self._handler = _Handler(folder)
        self._listener = listener
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="smtp", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        with self._runner:  # leaving it cancels the connections that are still open
            self._runner.run(self._serve())

    async def _serve(self) -> None:
        server = await self._loop.create_server(self._session, sock=self._listener)
        await self._stopping.wait()
        server.close()

    def _session(self) -> SMTP:
        return SMTP(
            self._handler,
            loop=self._loop,
            hostname="localhost",
            enable_SMTPUTF8=True,
            data_size_limit=LARGEST_MAIL,
            # A MAIL_USERNAME that stands in a .env file must not keep mail from arriving.
            authenticator=_welcome,
            auth_require_tls=False,
        )


def _welcome(*_: object) -> AuthResult:
    return AuthResult(success=True)


class _Handler:
    """Keeps mails as files whose names sort by arrival. aiosmtpd finds the method by its name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    async def handle_DATA(  # noqa: N802 - the name is aiosmtpd's
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        # A mail does not name everyone it went to (Bcc).
        recipients = ", ".join(envelope.rcpt_tos).encode("utf-8", "replace")
        content = b"X-Envelope-To: " + recipients + b"\r\n" + (envelope.original_content or b"")
        arrival = datetime.now(UTC).strftime("%Y%m%dT%H%M%S-%f")
        path = self._folder / f"{arrival}-{next(self._numbers):06}.eml"
        # Readers never see a part of a mail.
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(content)
        unfinished.rename(path)
        return "250 Message accepted"
