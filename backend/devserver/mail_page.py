"""The page that shows the caught mails. Read only, and nothing in a mail is trusted."""

import re
import socket
import threading
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

LONGEST_LIST = 200
MAIL_PATH = re.compile(r"/mails/([0-9T-]{1,64})(\.eml|\.html)?")
LINK = re.compile(r"https?://[^\s<>\"']+")
LOCAL_NAMES = {"127.0.0.1", "localhost"}

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'"
# An HTML mail runs no scripts, sends no forms and loads nothing; its links open in a new tab.
MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; "
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
)
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .4rem .6rem }
tr + tr { border-top: 1px solid #8884 } pre { white-space: pre-wrap; overflow-wrap: anywhere }
iframe { width: 100%; height: 36rem; border: 1px solid #8884; background: white }
"""


class Answer(NamedTuple):
    body: bytes
    content_type: str = "text/html; charset=utf-8"
    security_policy: str = PAGE_POLICY
    status: HTTPStatus = HTTPStatus.OK


class MailPage:
    """The HTTP server, in a thread of its own, on a socket that listens already."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        address = listener.getsockname()
        self.port: int = address[1]

        class Handler(_Handler):
            mails = folder

        self._server = ThreadingHTTPServer(address, Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listener
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="mail page", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    mails: Path
    timeout = 10

    def do_GET(self) -> None:
        """Answer one request."""
        answer = self._answer()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Content-Security-Policy", answer.security_policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Leave the terminal to the API."""

    def _answer(self) -> Answer:
        # Any web site can point a name of its own at 127.0.0.1, and read what answers to it.
        if self.headers.get("Host", "").partition(":")[0] not in LOCAL_NAMES:
            return _error(HTTPStatus.FORBIDDEN)
        if self.path == "/":
            return _page("Mails", _list(self.mails), refresh=True)
        asked = MAIL_PATH.fullmatch(self.path)
        path = self.mails / f"{asked[1]}.eml" if asked else None
        if asked is None or path is None or not path.is_file():
            return _error(HTTPStatus.NOT_FOUND)
        raw = path.read_bytes()
        if asked[2] == ".eml":
            return Answer(raw, "message/rfc822")
        mail = parse(raw)
        if asked[2] == ".html":
            html = '<base target="_blank">' + (_text(mail, "html") or "")
            return Answer(html.encode("utf-8", "replace"), security_policy=MAIL_POLICY)
        return _page(_header(mail, "Subject"), _show(asked[1], mail))


def parse(raw: bytes) -> EmailMessage:
    return BytesParser(EmailMessage, policy=policy.default).parsebytes(raw)


def _list(folder: Path) -> str:
    paths = sorted(folder.glob("*.eml"), reverse=True)[:LONGEST_LIST]
    if not paths:
        return "<p>No mail has been sent yet. This page looks for new ones by itself.</p>"
    rows = [_row(path.stem, parse(path.read_bytes())) for path in paths]
    head = "<tr><th>Arrived (UTC)</th><th>To</th><th>Subject</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _row(name: str, mail: EmailMessage) -> str:
    arrived = f"{name[0:4]}-{name[4:6]}-{name[6:8]} {name[9:11]}:{name[11:13]}:{name[13:15]}"
    link = f'<a href="/mails/{escape(name)}">{escape(_header(mail, "Subject"))}</a>'
    recipients = escape(_header(mail, "X-Envelope-To"))
    return f"<tr><td>{escape(arrived)}</td><td>{recipients}</td><td>{link}</td></tr>"


def _show(name: str, mail: EmailMessage) -> str:
    shown = ("From", "To", "X-Envelope-To", "Reply-To", "Date")
    rows = [f"<tr><th>{n}</th><td>{escape(_header(mail, n))}</td></tr>" for n in shown if n in mail]
    parts = ['<p><a href="/">All mails</a></p>', f"<table>{''.join(rows)}</table>"]
    attachments = [
        f"<li>{escape(part.get_filename() or 'unnamed')} ({escape(part.get_content_type())})</li>"
        for part in mail.iter_attachments()
    ]
    if attachments:
        parts.append(f"<h2>Attachments</h2><ul>{''.join(attachments)}</ul>")
    text = _text(mail, "plain")
    if text is not None:
        parts.append(f"<h2>Text</h2><pre>{_with_links(text)}</pre>")
    if _text(mail, "html") is not None:
        sandbox = "allow-popups allow-popups-to-escape-sandbox"
        frame = f'<iframe sandbox="{sandbox}" src="/mails/{escape(name)}.html"></iframe>'
        parts.append(f"<h2>HTML</h2>{frame}")
    parts.append(f'<p><a href="/mails/{escape(name)}.eml" download>The mail as a file</a></p>')
    return "".join(parts)


def _with_links(text: str) -> str:
    parts: list[str] = []
    end = 0
    for link in LINK.finditer(text):
        address = escape(link[0])
        parts += [escape(text[end : link.start()]), f'<a href="{address}">{address}</a>']
        end = link.end()
    return "".join([*parts, escape(text[end:])])


def _header(mail: EmailMessage, name: str) -> str:
    try:
        return str(mail.get(name, "")) or f"(no {name.lower()})"
    except (ValueError, LookupError):  # a header that the parser cannot make sense of
        return "(unreadable)"


def _text(mail: EmailMessage, kind: str) -> str | None:
    body = mail.get_body((kind,))
    if body is None:
        return None
    try:
        return str(body.get_content())
    except LookupError:  # an unknown character set
        return "(unreadable)"


def _page(title: str, content: str, *, refresh: bool = False) -> Answer:
    again = '<meta http-equiv="refresh" content="5">' if refresh else ""
    head = f'<meta charset="utf-8">{again}<title>{escape(title)}</title><style>{STYLE}</style>'
    body = f"<h1>{escape(title)}</h1>{content}"
    return Answer(f'<!doctype html><html lang="en">{head}{body}</html>'.encode("utf-8", "replace"))


def _error(status: HTTPStatus) -> Answer:
    return _page(status.phrase, '<p><a href="/">All mails</a></p>')._replace(status=status)
