import smtplib
import socket
from collections.abc import Iterator
from email.message import EmailMessage
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from devserver.mail import HOST, MailCatcher
from devserver.ports import listen

pytest_plugins = ["tests.devserver.fixtures"]


@pytest.fixture
def catcher(folder: Path) -> Iterator[MailCatcher]:
    with MailCatcher(folder / "mail") as catcher:
        yield catcher


def send(catcher: MailCatcher, mail: EmailMessage, *, user: str = "") -> None:
    environment = catcher.environment
    with smtplib.SMTP(environment["MAIL_SERVER"], int(environment["MAIL_PORT"])) as smtp:
        if user:
            smtp.login(user, "a password")
        smtp.send_message(mail)


def make_mail(subject: str = "Your booking") -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "practice@example.com"
    mail["To"] = "ada@example.com"
    mail["Bcc"] = "records@example.com"
    mail["Subject"] = subject
    mail.set_content("See https://example.com/bookings?a=1&b=2 <b>soon</b>")
    mail.add_alternative("<p onclick='alert(1)'>See you</p>", subtype="html")
    mail.add_attachment(b"BEGIN:VCALENDAR", "text", "calendar", filename="<invite>.ics")
    return mail


def get(catcher: MailCatcher, path: str, *, host: str | None = None) -> tuple[HTTPResponse, str]:
    connection = HTTPConnection(HOST, urlsplit(catcher.page_url).port or 0, timeout=10)
    connection.request("GET", path, headers={"Host": host} if host else {})
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response, body


def only_mail(folder: Path) -> Path:
    (path,) = (folder / "mail").glob("*.eml")
    return path


def test_a_mail_becomes_a_file_that_names_every_recipient(
    folder: Path, catcher: MailCatcher
) -> None:
    send(catcher, make_mail())
    content = only_mail(folder).read_text()
    assert "X-Envelope-To: ada@example.com, records@example.com" in content
    assert "Subject: Your booking" in content


def test_a_login_that_was_meant_for_another_server_is_welcome(
    folder: Path, catcher: MailCatcher
) -> None:
    send(catcher, make_mail(), user="from-a-dotenv-file")
    assert only_mail(folder).exists()


def test_the_list_shows_the_newest_first_and_escapes_subjects(catcher: MailCatcher) -> None:
    assert "No mail" in get(catcher, "/")[1]
    send(catcher, make_mail("<script>alert(1)</script>"))
    send(catcher, make_mail("The newest"))
    response, page = get(catcher, "/")
    assert "<script" not in page
    assert page.index("The newest") < page.index("&lt;script&gt;alert(1)&lt;/script&gt;")
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_a_mail_is_shown_without_trusting_it(folder: Path, catcher: MailCatcher) -> None:
    send(catcher, make_mail("<script>alert(1)</script>"))
    path = f"/mails/{only_mail(folder).stem}"
    _, page = get(catcher, path)
    assert "<script" not in page
    assert "&lt;b&gt;soon&lt;/b&gt;" in page
    assert 'href="https://example.com/bookings?a=1&amp;b=2"' in page
    assert "&lt;invite&gt;.ics (text/calendar)" in page
    assert f'src="{path}.html"' in page
    assert "onclick" not in page
    response, html = get(catcher, f"{path}.html")
    assert "See you" in html
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox ")
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy


def test_a_mail_that_no_parser_likes_does_not_break_the_page(
    folder: Path, catcher: MailCatcher
) -> None:
    broken = folder / "mail" / "20261120T101010-000000-000000.eml"
    broken.write_bytes(
        b"Subject: =?utf-8?q?=ff=fe?= \xff\r\nTo: <<>>@,;\r\n"
        b"Content-Type: text/plain; charset=klingon\r\n\r\n\xff\xfe body"
    )
    assert get(catcher, "/")[0].status == 200
    assert get(catcher, f"/mails/{broken.stem}")[0].status == 200


@pytest.mark.parametrize("path", ["/mails/../secrets.eml", "/mails/1", "/etc/passwd", "/?a"])
def test_nothing_else_is_served(folder: Path, catcher: MailCatcher, path: str) -> None:
    (folder / "secrets.eml").write_text("secret")
    response, page = get(catcher, path)
    assert response.status == 404
    assert "secret" not in page


def test_a_foreign_name_for_this_machine_is_refused(catcher: MailCatcher) -> None:
    assert get(catcher, "/", host="rebound.example.com:8025")[0].status == 403


def test_a_taken_port_is_replaced_by_a_free_one(folder: Path) -> None:
    with listen(HOST, 0) as taken:
        port = taken.getsockname()[1]
        with MailCatcher(folder / "mail", smtp_port=port, page_port=port) as catcher:
            assert catcher.environment["MAIL_PORT"] != str(port)
            send(catcher, make_mail())
            assert "Your booking" in get(catcher, "/")[1]


def test_stopping_does_not_wait_for_open_connections(folder: Path) -> None:
    catcher = MailCatcher(folder / "mail")
    catcher.start()
    port = int(catcher.environment["MAIL_PORT"])
    with socket.create_connection((HOST, port)) as connection:
        assert connection.recv(3) == b"220"
        catcher.stop()
        assert b"" in iter(lambda: connection.recv(1024), None)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))
