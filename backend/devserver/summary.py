"""What the terminal shows once the API answers."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple
from urllib.parse import urlsplit

from devserver.settings import LauncherSettings

TIMEOUT_SECONDS = 2.0
DAYS_SHOWN = 6


class Answer(NamedTuple):
    status: int
    body: bytes


def fetch(url: str, path: str) -> Answer | None:
    """GET a page of the API; None if nobody answers. Proxy settings don't apply."""
    where = urlsplit(url)
    connection = HTTPConnection(where.hostname or "", where.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(response.status, response.read())
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def summary(
    settings: LauncherSettings, environment: Mapping[str, str], mail_page: str | None
) -> str:
    """Addresses, the first login and a first request to try."""
    given = settings.has("FIRST_SUPERUSER_PASSWORD")
    password = (
        "as you set it in FIRST_SUPERUSER_PASSWORD"
        if given
        else environment["FIRST_SUPERUSER_PASSWORD"]
    )
    rows = {
        "API": settings.url,
        "Docs": f"{settings.url}/docs",
        "Mail": mail_page or f"sent through {environment['MAIL_SERVER']}",
        "Admin": environment["FIRST_SUPERUSER"],
        "Password": password,
        "Data": str(settings.data_dir),
    }
    lines = [f"  {name:<10}{value}" for name, value in rows.items()]
    what, command = _first_request(settings)
    return "\n".join(["", *lines, "", f"  {what}:", f"  {command}", "", "  Ctrl-C stops it all."])


def _first_request(settings: LauncherSettings) -> tuple[str, str]:
    base = settings.url + settings.environment.get("API_V1_STR", "/api/v1")
    service = _first_service(base)
    if service is None:
        return "What can be booked", f"curl -s '{base}/services'"
    identifier, name = service
    today = datetime.now(UTC).date()
    query = f"service_id={identifier}&start={today}&end={today + timedelta(days=DAYS_SHOWN)}"
    return f"Free times for “{name}”", f"curl -s '{base}/availability?{query}'"


def _first_service(base: str) -> tuple[str, str] | None:
    answer = fetch(base, f"{urlsplit(base).path}/services?limit=1")
    if answer is None or answer.status != HTTPStatus.OK:
        return None
    try:
        service = json.loads(answer.body)["items"][0]
        return str(service["id"]), str(service["name"])
    except (ValueError, LookupError, TypeError):
        return None
