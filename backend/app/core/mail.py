"""Mail: built by the standard library, sent through fastapi-mail's connection.

The standard library's header classes refuse line breaks, so no value can become a header of its
own; and it puts the HTML after the plain text, where clients look for the better version first.
"""

from contextlib import suppress
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

import structlog
from aiosmtplib.errors import SMTPDataError, SMTPException, SMTPRecipientsRefused
from fastapi_mail import ConnectionConfig
from fastapi_mail.connection import Connection
from fastapi_mail.errors import ConnectionErrors

from app.config import Settings
from app.core.clock import Clock
from app.core.jobs import GiveUp
from app.core.letters import Letter

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 20
_PERMANENT = 500  # RFC 5321, 4.2.1: codes from here on will not change by trying again


@dataclass(frozen=True, slots=True)
class Invitation:
    """A calendar's part of a mail, with what is asked of the calendar (RFC 5546).

    What is published, and asks nothing of anybody, is a file only.
    """

    method: str
    content: bytes


class MailNotSent(Exception):
    """The server could not be reached or did not take the mail; later it may."""


class MailRefused(MailNotSent, GiveUp):
    """The server will never take this mail: no such mailbox, or no such content."""


class Mailer:
    """Sends mails as the MAIL_* settings say."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        self._debug = settings.MAIL_DEBUG
        self._suppressed = settings.SUPPRESS_SEND
        self._sender = Address(
            settings.MAIL_FROM_NAME or settings.PROJECT_NAME, addr_spec=settings.MAIL_FROM
        )
        # Said in full: what is not said, it reads from the environment, where USE_CREDENTIALS is
        # a setting of our own and TIMEOUT could be anybody's.
        self._config = ConnectionConfig(
            MAIL_SERVER=settings.MAIL_SERVER,
            MAIL_PORT=settings.MAIL_PORT,
            MAIL_USERNAME=settings.MAIL_USERNAME,
            MAIL_PASSWORD=settings.MAIL_PASSWORD,
            MAIL_FROM=settings.MAIL_FROM,
            MAIL_FROM_NAME=settings.MAIL_FROM_NAME,
            MAIL_STARTTLS=settings.MAIL_STARTTLS,
            MAIL_SSL_TLS=settings.MAIL_SSL_TLS,
            MAIL_DEBUG=int(settings.MAIL_DEBUG),
            SUPPRESS_SEND=int(settings.SUPPRESS_SEND),
            USE_CREDENTIALS=bool(settings.MAIL_USERNAME),
            VALIDATE_CERTS=True,
            TIMEOUT=TIMEOUT_SECONDS,
            TEMPLATE_FOLDER=None,
            LOCAL_HOSTNAME=None,
            CERT_BUNDLE=None,
        )

    def compose(
        self,
        letter: Letter,
        *,
        to: str,
        reference: str,
        invitation: Invitation | None = None,
        unsubscribe: str | None = None,
    ) -> EmailMessage:
        """The mail as it will be sent.

        Args:
            letter: what it says.
            to: one address.
            reference: names this mail among all; sent twice, it is recognised by it.
            invitation: for the reader's calendar, which finds it within the message.
            unsubscribe: where a POST ends mails of this kind (RFC 8058).

        Raises:
            MailRefused: the address cannot stand in a mail.
        """
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        try:
            message["To"] = Address(addr_spec=_deliverable(to))
        except (ValueError, IndexError, MessageError):  # email's parser raises all of them
            raise MailRefused("The address is not deliverable.") from None
        message["Subject"] = letter.subject
        message["Date"] = format_datetime(self._clock())
        message["Message-ID"] = f"<{reference}@{self._sender.domain}>"
        # Nobody's holiday notice answers it (RFC 3834).
        message["Auto-Submitted"] = "auto-generated"
        if unsubscribe is not None:
            message["List-Unsubscribe"] = f"<{unsubscribe}>"
            message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        message.set_content(letter.text)
        message.add_alternative(letter.html, subtype="html")
        if invitation is not None:
            _invite(message, invitation)
        message["Content-Language"] = letter.language  # which setting the content would take away
        return message

    async def send(
        self,
        letter: Letter,
        *,
        to: str,
        reference: str,
        invitation: Invitation | None = None,
        unsubscribe: str | None = None,
    ) -> None:
        """Hand one mail to the server; what it takes is said in `compose`.

        Raises:
            MailNotSent: it may be tried again.
            MailRefused: trying again is of no use.
        """
        message = self.compose(
            letter, to=to, reference=reference, invitation=invitation, unsubscribe=unsubscribe
        )
        if self._suppressed:
            log.info("mail_suppressed", reference=reference)
            return
        reply = await _transmit(Connection(self._config), message)
        if self._debug:
            log.info("mail_accepted", reference=reference, reply=reply)


def _invite(message: EmailMessage, invitation: Invitation) -> None:
    """Put it where calendars look: last among the alternatives, and as a file for all others."""
    method, content = invitation.method, invitation.content
    if method != "PUBLISH":
        message.add_alternative(content.decode(), subtype="calendar", params={"method": method})
    message.add_attachment(content, maintype="application", subtype="ics", filename="invite.ics")


async def _transmit(connection: Connection, message: EmailMessage) -> str:
    """The server's answer to the mail. Errors are ours from here on: theirs quote addresses."""
    try:
        await connection.__aenter__()
        _, reply = await connection.session.send_message(message)
    except ConnectionErrors:
        raise MailNotSent("The mail server is away, or refused the login.") from None
    except SMTPRecipientsRefused as error:
        final = all(refused.code >= _PERMANENT for refused in error.recipients)
        raise _not_sent("recipient", final=final) from None
    except SMTPDataError as error:
        raise _not_sent("content", final=error.code >= _PERMANENT) from None
    except (SMTPException, OSError) as error:
        raise MailNotSent(type(error).__name__) from None
    else:
        # The mail is theirs now, however the farewell goes: an error here would send it again.
        with suppress(SMTPException, OSError):
            await connection.session.quit()
        return reply
    finally:
        if hasattr(connection, "session"):
            connection.session.close()


def _not_sent(what: str, *, final: bool) -> MailNotSent:
    kind = MailRefused if final else MailNotSent
    return kind(f"The mail server refused the {what}.")


def _deliverable(address: str) -> str:
    """The address with its domain in ASCII (RFC 5891), which every server understands."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain.encode('idna').decode()}"
